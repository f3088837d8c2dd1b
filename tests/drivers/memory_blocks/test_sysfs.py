"""Memory of trees as machines have them; tests/vm switches and plugs real blocks."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.drivers.memory_blocks import sysfs
from reconciler.drivers.memory_blocks.sysfs import SysfsMemory
from reconciler.errors import DriverError, Unsupported
from reconciler.facilities.uevents import Uevents
from reconciler.resource import Watching
from reconciler.resources.memory_blocks import Block, Blocks, Observed

PORT: Blocks = SysfsMemory()  # holds the driver to its port, for the type checker
WATCHING: Watching = SysfsMemory()

MEMINFO = "MemTotal:        1024 kB\nMemFree:   300 kB\nMemAvailable:     512 kB\nHugePages_Total:   3\n"


@pytest.fixture
def machine(tmp_path: Path) -> SysfsMemory:
    rows = (
        (0, "online", "1", "none"),
        (1, "online", "0", "DMA32"),
        (2, "going-offline", "1", "Movable"),
        (10, "offline", "1", "Normal Movable"),
    )
    for id, state, removable, zones in rows:
        folder = tmp_path / f"memory{id}"
        folder.mkdir()
        for name, text in {"state": state, "removable": removable, "valid_zones": zones}.items():
            (folder / name).write_text(f"{text}\n")
    (tmp_path / "block_size_bytes").write_text("8000000\n")
    (tmp_path / "auto_online_blocks").write_text("offline\n")
    (tmp_path / "power").mkdir()
    (tmp_path / "meminfo").write_text(MEMINFO)
    return SysfsMemory(str(tmp_path), str(tmp_path / "meminfo"))


def state(tmp_path: Path, block: int) -> Path:
    return tmp_path / f"memory{block}/state"


def test_a_machine(machine: SysfsMemory) -> None:
    seen = machine.blocks()
    assert seen.boot_clock_s > 0
    assert replace(seen, boot_clock_s=0.0) == Observed(
        blocks=(
            Block(0, zone=""),
            Block(1, removable=False, zone="DMA32"),
            Block(2, zone="Movable"),
            Block(10, online=False, zone=""),
        ),
        block_bytes=128 << 20,
        auto="offline",
        total_bytes=1 << 20,
        available_bytes=512 << 10,
    )


def test_very_many_are_not_looked_at(machine: SysfsMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "BLOCKS_MAX", 3)
    with pytest.raises(Unsupported, match="more than 3 blocks"):
        machine.blocks()


def test_no_such_tree(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="No such file"):
        SysfsMemory(str(tmp_path / "none")).blocks()


def test_switches(machine: SysfsMemory, tmp_path: Path) -> None:
    state(tmp_path, 10).write_text("")
    machine.online(10, None)
    assert state(tmp_path, 10).read_text() == "online"
    state(tmp_path, 10).write_text("")
    machine.online(10, "movable")
    assert state(tmp_path, 10).read_text() == "online_movable"
    machine.offline(10)
    assert state(tmp_path, 10).read_text() == "offline"


def test_says_why_not(machine: SysfsMemory, tmp_path: Path) -> None:
    state(tmp_path, 10).unlink()
    state(tmp_path, 10).symlink_to("/dev/full")
    with pytest.raises(DriverError, match="cannot bring memory10 online as kernel: No space left"):
        machine.online(10, "kernel")
    with pytest.raises(DriverError, match="cannot take memory10 offline: No space left on device"):
        machine.offline(10)


def test_a_block_that_is_gone(machine: SysfsMemory, tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="cannot bring memory7 online: No such file"):
        machine.online(7, None)
    with pytest.raises(DriverError, match="cannot take memory7 offline: it was unplugged"):
        machine.offline(7)
    assert not (tmp_path / "memory7").exists()


def test_a_block_that_is_never_empty(
    machine: SysfsMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "_OFFLINE_S", 0.2)
    state(tmp_path, 10).unlink()
    os.mkfifo(state(tmp_path, 10))  # to open it waits for a reader
    with pytest.raises(DriverError, match=r"memory10 offline: it was not empty within 0\.2 s"):
        machine.offline(10)


def test_events_are_listened_to() -> None:
    (watch,) = SysfsMemory().watches()
    assert isinstance(watch, Uevents)
    with closing(watch):
        assert watch.fileno() >= 0
