"""The last lines of a unit, from a journalctl that is made up; tests/vm reads a real journal."""

from pathlib import Path

import pytest

from reconciler.unit_log import LINE_CHARS_MAX, last_lines

OWN = "*_SYSTEMD_UNIT=web.service*"
ABOUT = "*_PID=1*UNIT=web.service*"


@pytest.fixture
def journalctl(tmp_path: Path) -> Path:
    return tmp_path / "journalctl"


def says(journalctl: Path, **by_match: str) -> str:
    """Write the program: what it prints, by what it is asked for."""
    cases = {"own": OWN, "about": ABOUT}
    body = "\n".join(f"{cases[which]}) {command};;" for which, command in by_match.items())
    journalctl.write_text(f'#!/bin/sh\ncase "$*" in\n{body}\nesac\n')
    journalctl.chmod(0o755)
    return str(journalctl)


@pytest.mark.parametrize(
    ("commands", "lines"),
    [
        pytest.param({"own": "echo one; echo two"}, ("one", "two"), id="its own"),
        pytest.param({"own": ":", "about": "echo no such file"}, ("no such file",), id="systemd's about it"),
        pytest.param({"own": "exit 1", "about": "exit 1"}, (), id="no journal"),
        pytest.param({"own": r"printf '\033[31mred\033[0m\a!\n \n'"}, ("red !",), id="colours and bells"),
        pytest.param({"own": r"printf '\377x\n'"}, ("\N{REPLACEMENT CHARACTER}x",), id="not UTF-8"),
        pytest.param({"own": "seq 9"}, ("5", "6", "7", "8", "9"), id="more than asked for"),
        pytest.param({"own": "printf '%0500d\\n' 0"}, ("0" * LINE_CHARS_MAX,), id="a long line"),
        pytest.param({"own": "head -c 600000 /dev/zero"}, (), id="more than anybody reads"),
    ],
)
def test_lines(journalctl: Path, commands: dict[str, str], lines: tuple[str, ...]) -> None:
    assert last_lines("web.service", 10, says(journalctl, **commands)) == lines


def test_ends_in_time(journalctl: Path) -> None:
    assert last_lines("web.service", 0.1, says(journalctl, own="sleep 100", about="echo never")) == ()


def test_there_may_be_no_journalctl(journalctl: Path) -> None:
    assert last_lines("web.service", 1, str(journalctl)) == ()
