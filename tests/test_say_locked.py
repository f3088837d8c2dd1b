"""`examples/lockers/say-locked`: with lockers that are made up, and a busctl that only notes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "examples/lockers/say-locked"
END_S = 20.0
BUSCTL = '#!/bin/sh\nfor word; do last=$word; done\necho "$5 $last" >>"$NOTES"\n'
LOCKED, UNLOCKED = "SetLockedHint true", "SetLockedHint false"

Say = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    busctl = tmp_path / "busctl"
    busctl.write_text(BUSCTL)
    busctl.chmod(0o755)
    notes = tmp_path / "notes"
    notes.touch()
    return notes


@pytest.fixture
def say(notes: Path) -> Say:
    environment = os.environ | {"PATH": f"{notes.parent}:{os.environ['PATH']}", "NOTES": str(notes)}

    def start(locker: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(PROGRAM), "/bin/sh", "-c", locker]
        return subprocess.Popen(command, env=environment, cwd=notes.parent)

    return start


def heard(notes: Path) -> list[str]:
    return notes.read_text().splitlines()


def wait_locked(notes: Path) -> None:
    deadline = time.monotonic() + END_S
    while LOCKED not in heard(notes):
        assert time.monotonic() < deadline, "never locked"
        time.sleep(0.01)


def test_locked_from_when_it_covers_the_screen_until_it_ends(say: Say, notes: Path) -> None:
    os.mkfifo(notes.parent / "typed")
    # Two processes in the background, as swaylock has; the first to end does not unlock.
    process = say("cat typed >/dev/null & sleep 0.01 &")
    wait_locked(notes)
    assert heard(notes) == [LOCKED]
    (notes.parent / "typed").write_text("the password")
    assert process.wait(END_S) == 0
    assert heard(notes) == [LOCKED, UNLOCKED]


def test_a_locker_that_fails_says_nothing(say: Say, notes: Path) -> None:
    assert say("exit 3").wait(END_S) == 1
    assert heard(notes) == []


def test_sigterm_ends_the_locker(say: Say, notes: Path) -> None:
    process = say("sleep 1000 & echo $! >pid")
    wait_locked(notes)
    process.send_signal(signal.SIGTERM)
    assert process.wait(END_S) == 0
    assert heard(notes) == [LOCKED, UNLOCKED]
    assert not Path(f"/proc/{(notes.parent / 'pid').read_text().strip()}").exists()


def test_a_killed_locker_is_not_locked(say: Say, notes: Path) -> None:
    process = say("sleep 1000 & echo $! >pid")
    wait_locked(notes)
    os.kill(int((notes.parent / "pid").read_text()), signal.SIGKILL)
    assert process.wait(END_S) == 0
    assert heard(notes) == [LOCKED, UNLOCKED]


def test_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: say-locked LOCKER")
