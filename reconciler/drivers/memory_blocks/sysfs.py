"""Memory blocks through /sys/devices/system/memory; see the kernel's memory-hotplug.rst.

Theory of operation. To switch a block off, the kernel moves what is in it elsewhere, and
tries so for ever where something cannot be moved, until the writer gets a signal. So that write is
a child's, which is killed at the end of its time; the kernel then leaves the block as it was.
"""

import os
import re
import time
from collections.abc import Sequence

from reconciler.errors import DriverError, Unsupported
from reconciler.facilities.child import run
from reconciler.facilities.kernel_files import content
from reconciler.facilities.uevents import Uevents
from reconciler.resource import Watch
from reconciler.resources.memory_blocks import BLOCKS_MAX, Block, Blocks, Observed, Zone

FOLDER = "/sys/devices/system/memory"

_OFFLINE_S = 5.0  # a block that can be emptied at all takes some tenths of a second
_WORDS_BYTES_MAX = 1000  # of what tee complains about
_ZONES = {"movable": "online_movable", "kernel": "online_kernel"}
_BLOCK = re.compile(r"memory([0-9]{1,9})")
# tee, for a shell's own echo does not say why a write has failed.
_WRITE = ("/bin/sh", "-c", 'printf offline | tee -- "$1" 2>&1 >/dev/null', "sh")


class SysfsMemory(Blocks):
    needs = "/sys/devices/system/memory/block_size_bytes"

    def __init__(self, folder: str = FOLDER, meminfo: str = "/proc/meminfo") -> None:
        self._folder = folder
        self._meminfo = meminfo

    @classmethod
    def available(cls) -> bool:
        return os.path.exists(f"{FOLDER}/block_size_bytes")

    def watches(self) -> Sequence[Watch]:
        """Blocks that are plugged in or out, and those that somebody switches."""
        try:
            return (Uevents("memory"),)
        except OSError:
            return ()  # without rights to it, the slow pass is left

    def blocks(self) -> Observed:
        ids = sorted(int(match[1]) for name in self._names() if (match := _BLOCK.fullmatch(name)))
        if len(ids) > BLOCKS_MAX:
            raise Unsupported(f"cannot look at memory: it has more than {BLOCKS_MAX} blocks")
        sizes = self._sizes()
        return Observed(
            blocks=tuple(self._block(id) for id in ids),
            block_bytes=int(self._text("block_size_bytes") or "0", 16),
            auto=self._text("auto_online_blocks"),
            total_bytes=sizes.get("MemTotal", 0),
            available_bytes=sizes.get("MemAvailable", 0),
            boot_clock_s=time.clock_gettime(time.CLOCK_BOOTTIME),
        )

    def online(self, block: int, zone: Zone | None) -> None:
        path = f"{self._folder}/memory{block}/state"
        try:
            # Nothing is made where there is no such file.
            with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb", buffering=0) as file:
                file.write((_ZONES[zone] if zone else "online").encode())
        except OSError as error:
            where = f" as {zone}" if zone else ""
            raise DriverError(f"cannot bring memory{block} online{where}: {error.strerror}") from error

    def offline(self, block: int) -> None:
        path = f"{self._folder}/memory{block}/state"
        if not os.path.exists(path):
            raise DriverError(f"cannot take memory{block} offline: it was unplugged")
        ended = run((*_WRITE, path), deadline_s=_OFFLINE_S, output_bytes_max=_WORDS_BYTES_MAX)
        if not ended.fault:
            return
        why = ended.output.decode(errors="replace").strip().rpartition(": ")[2]
        if not why:
            why = f"it was not empty within {_OFFLINE_S:g} s" if "in time" in ended.fault else ended.fault
        raise DriverError(f"cannot take memory{block} offline: {why}")

    def _block(self, id: int) -> Block:
        # `going-offline` is online still: somebody tries to empty it.
        online = self._text(f"memory{id}/state") != "offline"
        zone = self._text(f"memory{id}/valid_zones").partition(" ")[0] if online else ""
        removable = self._text(f"memory{id}/removable") != "0"
        return Block(id, online, removable, "" if zone == "none" else zone)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError as error:
            raise Unsupported(f"cannot look at memory: {self._folder}: {error.strerror}") from error

    def _sizes(self) -> dict[str, int]:
        """Bytes, by the names of meminfo."""
        rows = (line.split() for line in content(self._meminfo).splitlines())
        return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[1].isdigit()}

    def _text(self, name: str) -> str:
        return content(f"{self._folder}/{name}")
