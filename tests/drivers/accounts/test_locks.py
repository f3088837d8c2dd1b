"""Locks with the numbers of processes that hold them, that do not, and that are no more."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.drivers.accounts import locks
from reconciler.errors import DriverError


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """A process that is called like one of the tools."""
    tool = tmp_path / "usermod"
    tool.symlink_to("/bin/sleep")
    with subprocess.Popen([tool, "60"]) as process:
        while "(usermod)" not in Path(f"/proc/{process.pid}/stat").read_text():
            pass
        yield process.pid
        process.kill()


def test_a_lock_of_somebody_gone_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / "passwd.lock"
    lock.write_text("99999999\0")
    assert locks.clear(str(tmp_path))
    assert not lock.exists()
    assert not locks.clear(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"{os.getpid()}\0", id="a number that is another program's by now"),
        pytest.param("", id="nothing in it"),
        pytest.param("-1", id="no number"),
    ],
)
def test_a_lock_of_nobody_is_removed(tmp_path: Path, content: str) -> None:
    (tmp_path / "group.lock").write_text(content)
    assert locks.clear(str(tmp_path))


def test_the_lock_of_a_tool_at_work_stays(tmp_path: Path, holder: int) -> None:
    lock = tmp_path / "shadow.lock"
    lock.write_text(f"{holder}\0")
    assert not locks.clear(str(tmp_path))
    assert lock.exists()


def test_nothing_is_removed_while_somebody_has_the_outer_lock(tmp_path: Path) -> None:
    (tmp_path / "passwd.lock").write_text("99999999")
    take = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)"
    argv = ["python3", "-c", f"{take}; print(flush=True); input()", str(tmp_path / ".pwd.lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        assert not locks.clear(str(tmp_path))
        other.kill()
    assert locks.clear(str(tmp_path))
    with open(tmp_path / ".pwd.lock", "r+") as outer:
        fcntl.lockf(outer, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it was let go


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="cannot clear the locks"):
        locks.clear(str(tmp_path / "etc"))
