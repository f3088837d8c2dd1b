"""An agent is killed with all its tools at many moments; the next one makes it good."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from reconciler.drivers.accounts import databases
from reconciler.resource import Deed
from reconciler.subjects.people.changes import is_locked
from reconciler.subjects.people.ssh_keys import MARK
from tests.drivers.accounts.dying_agent import Killed, bring_about
from tests.drivers.accounts.test_crypt3 import SHA512
from tests.drivers.accounts.test_shadow import guest

assert guest  # the fixture

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[3]
MOMENTS = 12
STEPS = 8  # create, set-groups, make-home, set-hash between its two notes, lock, write-keys
MANY = 500  # files in /etc/skel: to copy them takes longer than to notice it


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """The agent and its tools, as systemd ends a unit whose main process has died."""
    with suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
    process.wait()


def start(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.drivers.accounts.dying_agent", str(folder)]
    return subprocess.Popen(argv, cwd=ROOT)


def changed(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until the databases were written `count` times, or the agent is through."""
    names = ("passwd", "shadow", "group", "gshadow")
    before, seen = [os.stat(folder / "etc" / name).st_ino for name in names], 0
    while seen < count and process.poll() is None:
        now = [os.stat(folder / "etc" / name).st_ino for name in names]
        seen += sum(old != new for old, new in zip(before, now, strict=True))
        before = now
        time.sleep(0)  # no wait: the process that is watched gets its turn


def assert_made_good(guest: Path, deeds: dict[str, Deed]) -> None:
    """By the next agent, which knows of these acts; after it nothing is left to do."""
    bring_about(str(guest), deeds)
    account = databases.read(f"{guest}/etc").accounts["carol"]
    assert account.whole
    assert is_locked(account)
    assert (account.hash, account.groups) == (f"!{SHA512}", ("adm",))
    assert MARK in (guest / "home/carol/.ssh/authorized_keys").read_text()
    for path in (guest / "home/carol", guest / "home/carol/.profile"):
        assert (path.stat().st_uid, path.stat().st_gid) == (account.uid, account.gid)
    assert os.listdir(guest / "home") == ["carol"]
    for check in ("pwck", "grpck"):
        said = subprocess.run([f"/usr/sbin/{check}", "-r", "-R", str(guest)], capture_output=True, text=True)
        assert "carol" not in said.stdout + said.stderr
    assert bring_about(str(guest), deeds) == 0


@pytest.mark.parametrize("writes", range(1, MOMENTS + 1))
def test_killed_after_a_write(guest: Path, writes: int) -> None:
    process = start(guest)
    changed(guest, writes, process)
    kill_all(process)
    assert_made_good(guest, {})


def test_killed_while_the_home_is_made(guest: Path) -> None:
    for number in range(MANY):
        (guest / "etc/skel" / str(number)).touch()
    process = start(guest)
    while not (guest / "home/.carol.new").exists():
        assert process.poll() is None
    kill_all(process)
    assert not (guest / "home/carol").exists()
    assert_made_good(guest, {})
    assert len(os.listdir(guest / "home/carol")) == MANY + 2


@pytest.mark.parametrize("steps", range(STEPS))
def test_killed_before_each_step(guest: Path, steps: int) -> None:
    deeds: dict[str, Deed] = {}
    with pytest.raises(Killed):
        bring_about(str(guest), deeds, steps=steps)
    assert_made_good(guest, deeds)


def test_there_are_no_more_steps(guest: Path) -> None:
    bring_about(str(guest), {}, steps=STEPS)
