"""Kernel files that tell of their changes, tried on the name of a namespace of our own."""

import os
import subprocess
import sys
from contextlib import closing

import pytest

from reconciler.facilities.polled import PolledFile
from reconciler.resource import Watch

NAME = "/proc/sys/kernel/hostname"

# With the selector that waits in the agent: it hears the kernel before the watch does.
RENAME = f"""
import selectors, socket
from reconciler.facilities.polled import PolledFile

watch = PolledFile({NAME!r})
loop = selectors.DefaultSelector()
loop.register(watch, selectors.EVENT_READ)
assert not loop.select(0), "readable at once"
assert not watch.drain()
for name in ("one", "two"):
    socket.sethostname(name)
    assert loop.select(5), "not told"
    assert watch.drain()
    assert not loop.select(0), "still readable"
    assert not watch.drain()
"""


@pytest.mark.root
def test_a_change_is_told_once() -> None:
    command = ["unshare", "--uts", sys.executable, "-c", RENAME]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr


def test_quiet_while_nothing_changes() -> None:
    with closing(PolledFile("/proc/swaps", items=("swap",))) as watch:
        held: Watch = watch
        assert not held.drain()
        assert watch.items == ("swap",)


def test_closes_what_it_opened() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    PolledFile(NAME).close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_no_such_file() -> None:
    with pytest.raises(FileNotFoundError):
        PolledFile("/proc/none")
