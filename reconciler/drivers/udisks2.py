"""The health of disks, as udisks2 has read it by SMART; see its D-Bus API, Drive.Ata.

udisks reads it every ten minutes, and wakes no disk that sleeps. To read it ourselves would
take the right to send a disk any command.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from reconciler.errors import Unsupported
from reconciler.facilities.dbus import Bus, Peer
from reconciler.resource import Json
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

_NAME = "org.freedesktop.UDisks2"
_OBJECTS = Peer(_NAME, "/org/freedesktop/UDisks2", "org.freedesktop.DBus.ObjectManager")
_BUS = Peer("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_ATA, _NVME, _BLOCK, _PARTITION = (
    f"{_NAME}.{interface}" for interface in ("Drive.Ata", "NVMe.Controller", "Block", "Partition")
)
_CALL_S = 1.0  # it lists 50 disks in 20 ms
_DISKS_MAX = 256  # as many as are told of as disks
_KELVIN = 273.15

Objects = Mapping[str, Mapping[str, Mapping[str, tuple[str, Any]]]]  # a{oa{sa{sv}}}


class Udisks2(Source):
    """`smart`: `{name: {failing, readAt, temperatureC?, powerOnHours?, badSectors?, selfTest?, warnings?}}`.

    `name` is that of the disk under /dev. Disks without SMART, as virtual ones are, are left out.
    `warnings` are NVMe's: `spare`, `temperature`, `degraded`, `readonly`, `volatile_mem`, `pmr_readonly`.
    """

    items: ClassVar[tuple[str, ...]] = ("smart",)
    needs: ClassVar[str] = "udisks2 on the system bus"

    def __init__(self) -> None:
        self._bus = Bus()

    @classmethod
    def available(cls) -> bool:
        return Bus.there()

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def read(self, item: str) -> Json:
        assert item in self.items
        # Asked first, as a call would start it.
        (runs,) = self._bus.call(_BUS, "NameHasOwner", "s", _NAME, timeout_s=_CALL_S)
        if not runs:
            raise Unsupported("udisks2 does not run in this guest")
        (objects,) = self._bus.call(_OBJECTS, "GetManagedObjects", timeout_s=_CALL_S)
        return health(objects)


def health(objects: Objects) -> dict[str, Json]:
    """What GetManagedObjects returned, of each drive with SMART that was read at least once."""
    told: dict[str, Json] = {}
    for path, interfaces in objects.items():
        ata, nvme = _values(interfaces, _ATA), _values(interfaces, _NVME)
        read_s = ata.get("SmartUpdated") or nvme.get("SmartUpdated") or 0
        name = _disk(path, objects)
        if name and 0 < read_s < 2**33 and len(told) < _DISKS_MAX:
            read_at = stamp(read_s)
            told[name] = {**(_ata(ata) if ata.get("SmartUpdated") else _nvme(nvme)), "readAt": read_at}
    return dict(sorted(told.items()))


def _ata(known: Mapping[str, Any]) -> dict[str, Json]:
    told: dict[str, Json] = {"failing": bool(known.get("SmartFailing"))}
    if seconds := known.get("SmartPowerOnSeconds"):
        told["powerOnHours"] = int(seconds) // 3600
    if test := known.get("SmartSelftestStatus"):
        told["selfTest"] = str(test)[:64]
    if (bad := known.get("SmartNumBadSectors", -1)) >= 0:
        told["badSectors"] = int(bad)
    return told | _celsius(known)


def _nvme(known: Mapping[str, Any]) -> dict[str, Json]:
    warnings = sorted(str(word)[:64] for word in known.get("SmartCriticalWarning", ()))[:16]
    told: dict[str, Json] = {"failing": bool(warnings)}
    if warnings:
        told["warnings"] = warnings
    if hours := known.get("SmartPowerOnHours"):
        told["powerOnHours"] = int(hours)
    return told | _celsius(known)


def _celsius(known: Mapping[str, Any]) -> dict[str, Json]:
    kelvin = known.get("SmartTemperature") or 0
    return {"temperatureC": round(kelvin - _KELVIN)} if kelvin > 0 else {}


def _disk(drive: str, objects: Objects) -> str:
    """The name under /dev of the whole disk that a drive is; empty for a drive without one."""
    for interfaces in objects.values():
        block = _values(interfaces, _BLOCK)
        if block.get("Drive") == drive and _PARTITION not in interfaces:
            return bytes(block.get("Device", b"")).decode(errors="replace").strip("\0").removeprefix("/dev/")
    return ""


def _values(interfaces: Mapping[str, Mapping[str, tuple[str, Any]]], name: str) -> dict[str, Any]:
    return {key: value for key, (_, value) in interfaces.get(name, {}).items()}
