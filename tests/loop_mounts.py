"""Real filesystems to freeze: loop mounts in a mount namespace that only the test sees."""

import ctypes
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000  # linux/sched.h
_MS_REC_PRIVATE = 0x44000  # linux/mount.h

PATIENCE_S = 20.0  # how long a test waits for what should take milliseconds

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_mounts() -> Iterator[None]:
    """Mounts made inside are seen by this process and its children only."""
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNS))
        _check(_libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
        yield
    finally:
        here = os.getcwd()
        _check(_libc.setns(home, CLONE_NEWNS))
        os.chdir(here)
        os.close(home)


def loop_mount(image: Path, mountpoint: Path, make: str, megabytes: int) -> Path:
    """Make a filesystem in a file and mount it; where it is mounted."""
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run(f"mkfs.{make}", "-q", str(image))
    mountpoint.mkdir()
    run("mount", "-o", "loop", str(image), str(mountpoint))
    # These are about to be frozen: the machine's own must never be.
    assert mountpoint.stat().st_dev != Path("/").stat().st_dev
    return mountpoint


def run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Writer:
    """A process that writes, and sleeps in the kernel for as long as it must not."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(["/bin/mkdir", str(folder / f"written-{time.monotonic_ns()}")])

    def is_blocked(self) -> bool:
        try:
            self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            return True
        return False

    def done_s(self) -> float:
        """When it got through, on the boot clock."""
        assert self.process.wait(PATIENCE_S) == 0
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_until(reached: Callable[[], bool]) -> None:
    """Until something that other processes do, and that no descriptor tells of, has come to pass."""
    ends_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < ends_s, "it did not come to pass"
        select.select([], [], [], 0.01)
