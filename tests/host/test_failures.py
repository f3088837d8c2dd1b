"""Every error has an exit code, and the codes are those of docs/cli.md."""

import re
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.host import child, failures
from reconciler.host.failures import Exit, exit_code

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidSpec("x"), 2),
        (failures.WrongGuest("x"), 2),
        (failures.Misused("x"), 2),
        (errors.Conflict("x"), 3),
        (errors.Forbidden("x"), 3),
        (errors.Unsupported("x"), 3),
        (errors.DriverError("x"), 3),
        (errors.NotHeld("x"), 3),
        (errors.RemoteProtocolError("x"), 3),
        (failures.Unreachable("x"), 4),
        (failures.TimedOut("x"), 5),
        (failures.NotFrozen("x"), 120),
        (failures.FreezeLost("x"), 121),
    ],
    ids=lambda value: type(value).__name__,
)
def test_codes(error: errors.ReconcilerError, code: int) -> None:
    assert exit_code(error) == code


def test_the_page_has_every_code() -> None:
    table = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(map(int, table)) == sorted(Exit)


def test_a_command_that_can_not_start_has_the_shells_code() -> None:
    assert child.NotStarted("x", Exit.NOT_FOUND).code == 127
