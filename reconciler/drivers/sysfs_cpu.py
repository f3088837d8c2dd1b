"""Processors from /sys/devices/system/cpu and /proc/cpuinfo, as cputopology.rst has them."""

import os
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.errors import Unsupported
from reconciler.facilities.kernel_files import content
from reconciler.facilities.uevents import Uevents
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.numbers import members

_TOPOLOGY_CPUS_MAX = 512  # two small files for each: 10 ms in all
_TEXT_CHARS_MAX = 128  # CPUID's brand string has 48

_MODEL = ("model name", "cpu model", "Model", "Processor", "cpu")  # x86; MIPS; ARM; old ARM; POWER
_VENDOR = ("vendor_id", "CPU implementer")


class SysfsCpu(Source):
    """`cpus`: `{logical, present, possible, onlineList, cores?, sockets?, model?, vendor?, maxHz?}`.

    `logical` counts those online, `possible` those for which the kernel has made room, and
    `cores` and `sockets` those that have a processor online. Times are not told: they never
    stand still, and the load says as much.
    """

    items: ClassVar[tuple[str, ...]] = ("cpus",)
    needs: ClassVar[str] = "/sys/devices/system/cpu"

    def __init__(self, root: str = "") -> None:
        self._cpus = f"{root}/sys/devices/system/cpu"
        self._info = f"{root}/proc/cpuinfo"

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir("/sys/devices/system/cpu")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        try:
            return (Uevents("cpu", self.items),)
        except OSError:
            return ()  # without rights to it, the period is left

    def read(self, item: str) -> Json:
        assert item in self.items
        listed = self._text("online")
        if not listed:
            raise Unsupported(f"cannot count processors: there is no {self._cpus}/online")
        online = tuple(members(listed))
        told: dict[str, Json] = {
            "logical": len(online),
            "present": sum(1 for _ in members(self._text("present"))) or len(online),
            "possible": sum(1 for _ in members(self._text("possible"))) or len(online),
            "onlineList": listed,
        }
        told |= self._topology(online) | model(content(self._info))
        khz = self._text(f"cpu{online[0]}/cpufreq/cpuinfo_max_freq") if online else ""
        return told | ({"maxHz": int(khz) * 1000} if khz.isascii() and khz.isdecimal() else {})

    def _topology(self, online: Sequence[int]) -> dict[str, int]:
        if len(online) > _TOPOLOGY_CPUS_MAX:
            return {}
        sockets = {self._text(f"cpu{cpu}/topology/physical_package_id") for cpu in online}
        # The older name of core_cpus_list says the same, and is there in every kernel.
        cores = {self._text(f"cpu{cpu}/topology/thread_siblings_list") for cpu in online}
        told = {"cores": len(cores - {""}), "sockets": len(sockets - {"", "-1"})}
        return {name: count for name, count in told.items() if count}

    def _text(self, name: str) -> str:
        return content(f"{self._cpus}/{name}")


def model(cpuinfo: str) -> dict[str, str]:
    """Model and vendor of the first processor in /proc/cpuinfo, whose fields differ by architecture."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip()[:_TEXT_CHARS_MAX])
    told = {
        "model": next((found[name] for name in _MODEL if found.get(name)), ""),
        "vendor": next((found[name] for name in _VENDOR if found.get(name)), ""),
    }
    return {name: value for name, value in told.items() if value}
