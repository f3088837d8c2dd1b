"""Memory, swap, load and pressure from /proc; see proc(5) and the kernel's psi.rst."""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from reconciler.errors import DriverError, Unsupported
from reconciler.facilities.polled import PolledFile
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_FILE_BYTES_MAX = 64 * 1024  # meminfo has 1.5 KiB, vmstat 4 KiB
_AREAS_MAX = 32  # MAX_SWAPFILES of linux/swap.h
_NAME_CHARS_MAX = 256  # of a swap area's path

_MEMORY = {
    "total": "MemTotal",
    "available": "MemAvailable",  # absent before Linux 3.14
    "free": "MemFree",
    "buffers": "Buffers",
    "cached": "Cached",
    "shared": "Shmem",
    "slab": "Slab",
    "dirty": "Dirty",
}
_PRESSED = ("cpu", "memory", "io", "irq")
_HUGE = {"size": "Hugepagesize", "total": "HugePages_Total", "free": "HugePages_Free"}


class Procfs(Source):
    """`memory`: bytes; `swap`: bytes, `in` and `out` since boot; `load`: processes, averaged.

    memory: `{total, available, free, buffers, cached, shared, slab, dirty, hugePages?: {size,
    total, free}}`, the pages counted. swap: `{total, free, used, in, out, areas: {path: {type,
    size, priority}}}`. load: `{one, five, fifteen}`, for so many minutes. pressure: `{resource: {some?,
    full?: {avg10, avg60, avg300, stalledS}}}`, percent of the last so many seconds, and seconds since boot.
    """

    items: ClassVar[tuple[str, ...]] = ("memory", "swap", "load", "pressure")
    needs: ClassVar[str] = "/proc"

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    @classmethod
    def available(cls) -> bool:
        return os.path.exists("/proc/meminfo")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        try:
            return (PolledFile(f"{self._proc}/swaps", items=("swap",)),)
        except OSError:
            return ()  # a kernel without swap

    def read(self, item: str) -> Json:
        match item:
            case "memory":
                return memory(self._text("meminfo"))
            case "swap":
                return self._swap()
            case "load":
                return load(self._text("loadavg"))
            case "pressure":
                return self._pressure()
            case _:
                raise AssertionError(item)

    def _swap(self) -> Json:
        moved = numbers(self._text("vmstat"))
        try:
            listed = self._text("swaps")
        except Unsupported:
            listed = ""  # a kernel without swap
        return {
            **swap(self._text("meminfo")),
            "in": moved.get("pswpin", 0) * self._page_bytes,
            "out": moved.get("pswpout", 0) * self._page_bytes,
            "areas": areas(listed),
        }

    def _pressure(self) -> Json:
        told: dict[str, Json] = {}
        for resource in _PRESSED:
            try:
                told[resource] = pressure(self._text(f"pressure/{resource}"))
            except Unsupported:
                continue  # irq is younger than the others
        if not any(told.values()):
            raise Unsupported("this kernel tells no pressure: it was built or started without psi=1")
        return told

    def _text(self, name: str) -> str:
        path = f"{self._proc}/{name}"
        try:
            with open(path, "rb") as file:
                return file.read(_FILE_BYTES_MAX).decode(errors="replace")
        except FileNotFoundError as error:
            raise Unsupported(f"there is no {path}") from error
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # pressure that was switched off as the kernel started
                raise Unsupported(f"cannot read {path}: {error.strerror}") from error
            raise DriverError(f"cannot read {path}: {error.strerror}") from error


def memory(meminfo: str) -> Json:
    """The item, from /proc/meminfo."""
    found = numbers(meminfo)
    if "MemTotal" not in found:
        raise DriverError("cannot tell the memory: /proc/meminfo has no MemTotal")
    told: dict[str, Json] = {name: found[field] for name, field in _MEMORY.items() if field in found}
    if found.get("HugePages_Total"):
        told["hugePages"] = {name: found[field] for name, field in _HUGE.items() if field in found}
    return told


def swap(meminfo: str) -> dict[str, Json]:
    """What /proc/meminfo knows of the item; all 0 without swap."""
    found = numbers(meminfo)
    total, free = found.get("SwapTotal", 0), found.get("SwapFree", 0)
    return {"total": total, "free": free, "used": max(0, total - free)}


def areas(swaps: str) -> dict[str, Json]:
    """Swap areas by path, from /proc/swaps, in which blanks of a path are octal escapes."""
    told: dict[str, Json] = {}
    for line in swaps.splitlines()[1 : 1 + _AREAS_MAX]:
        match line.split():
            case [name, kind, size, _, priority] if size.isdecimal() and priority.lstrip("-").isdecimal():
                path = name[:_NAME_CHARS_MAX].replace(r"\040", " ")
                told[path] = {"type": kind, "size": int(size) * 1024, "priority": int(priority)}
    return told


def load(loadavg: str) -> Json:
    """The item, from /proc/loadavg."""
    try:
        one, five, fifteen = map(float, loadavg.split()[:3])
    except ValueError:
        raise DriverError(f"cannot tell the load: {loadavg[:40]!r}") from None
    return {"one": one, "five": five, "fifteen": fifteen}


def pressure(text: str) -> dict[str, Json]:
    """What one file of /proc/pressure says; the kernel counts microseconds, and we tell seconds."""
    told: dict[str, Json] = {}
    for line in text.splitlines():
        share, *fields = line.split()[:5] or [""]
        try:
            found = {name: float(value) for name, _, value in (field.partition("=") for field in fields)}
            stalled_s = round(found.pop("total") / 1_000_000, 1)
        except (KeyError, ValueError):
            continue
        if share in ("some", "full"):
            averages = {name: found[name] for name in ("avg10", "avg60", "avg300") if name in found}
            told[share] = {**averages, "stalledS": stalled_s}
    return told


def numbers(text: str) -> dict[str, int]:
    """`Name: 12 kB` of meminfo, in bytes, and `name 12` of vmstat, as it stands."""
    return dict(_numbers(text))


def _numbers(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        match line.split():
            case [name, value, *unit] if value.isascii() and value.isdecimal():
                yield name.rstrip(":"), int(value) * (1024 if unit == ["kB"] else 1)
