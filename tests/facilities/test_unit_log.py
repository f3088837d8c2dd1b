"""The last lines of a unit, from a journalctl that is made up; tests/vm reads a real journal."""

import time
from pathlib import Path

import pytest

from reconciler.facilities.unit_log import LINE_CHARS_MAX, last_lines

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
    assert last_lines("web.service", 10, journalctl=says(journalctl, **commands)) == lines


def test_ends_in_time(journalctl: Path) -> None:
    slow = says(journalctl, own="sleep 100", about="echo never")
    assert last_lines("web.service", 0.1, journalctl=slow) == ()


def test_waits_a_moment_for_the_journal(journalctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    program = says(journalctl, own="echo bye")
    for ago_s in (0.0, 0.25, 60.0, -3600.0):  # the last one where the clock was set back
        assert last_lines("web.service", 10, ago_s=ago_s, journalctl=program) == ("bye",)
    assert waited == [0.5, 0.25, 0.0, 0.5]


def test_there_may_be_no_journalctl(journalctl: Path) -> None:
    assert last_lines("web.service", 1, journalctl=str(journalctl)) == ()
