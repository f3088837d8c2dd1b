"""Uevents: a disk's real ones, and what a socket may bring."""

import select
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.facilities.uevents import Uevents
from reconciler.resource import Watch

CPU = b"offline@/devices/system/cpu/cpu1\0ACTION=offline\0SUBSYSTEM=cpu\0SEQNUM=1\0"
DISK = b"change@/devices/vda\0ACTION=change\0SUBSYSTEM=block\0SEQNUM=2\0"


class Heard:
    """A socket that has received some datagrams."""

    def __init__(self, *data: bytes | OSError) -> None:
        self._data = list(data)

    def close(self) -> None:
        self._data.clear()

    def recv(self, size: int) -> bytes:
        first = self._data.pop(0) if self._data else BlockingIOError()
        if isinstance(first, OSError):
            raise first
        return first


@pytest.mark.parametrize(
    ("heard", "wakes"),
    [
        pytest.param(Heard(), False, id="nothing"),
        pytest.param(Heard(DISK), False, id="of a disk"),
        pytest.param(Heard(DISK, CPU, DISK), True, id="of a processor among others"),
        pytest.param(Heard(OSError(105, "no buffer space")), True, id="some were lost"),
        pytest.param(Heard(*[DISK] * 256, CPU), False, id="no more at once than the limit"),
    ],
)
def test_events(heard: Heard, wakes: bool) -> None:
    watch: Any = Uevents("cpu", ("cpus",))
    with closing(watch):
        watch._socket.close()
        watch._socket = heard
        assert watch.drain() is wakes


@pytest.fixture
def disks() -> Iterator[Uevents]:
    with closing(Uevents("block", ("disks",))) as watch:
        held: Watch = watch  # to the protocol, for the type checker
        held.drain()
        yield watch


@pytest.mark.root
def test_a_disk_that_changes_wakes_the_loop(disks: Uevents) -> None:
    assert disks.items == ("disks",)
    Path("/sys/block/loop0/uevent").write_text("change")
    assert select.select([disks], [], [], 30)[0]
    assert disks.drain()
    assert not disks.drain()


@pytest.mark.root
def test_another_device_that_changes_does_not(disks: Uevents) -> None:
    Path("/sys/class/mem/null/uevent").write_text("change")
    assert select.select([disks], [], [], 30)[0]
    assert not disks.drain()


@pytest.mark.root
def test_events_that_were_lost_read_as_a_change(disks: Uevents) -> None:
    disks._socket.setsockopt(1, 8, 0)  # SOL_SOCKET, SO_RCVBUF: the least there is
    for _ in range(64):
        Path("/sys/class/mem/null/uevent").write_text("change")
    assert disks.drain()
