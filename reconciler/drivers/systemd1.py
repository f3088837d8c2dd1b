"""Units of type service, for the inventory, from systemd; see org.freedesktop.systemd1(5)."""

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from reconciler.dbus import Bus, BusError, Peer
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_NAME = "org.freedesktop.systemd1"
_MANAGER = Peer(_NAME, "/org/freedesktop/systemd1", f"{_NAME}.Manager")
_PROPERTIES = Peer(_NAME, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties")
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
# Of every unit the interface of its type changes with it, so this leaves out all but services.
_CHANGED = (
    f"type='signal',sender='{_NAME}',interface='org.freedesktop.DBus.Properties',"
    f"member='PropertiesChanged',arg0='{_NAME}.Service'"
)
_CALL_S = 0.5  # each of three calls; systemd lists 200 units in 5 ms
_SUFFIX = ".service"
_UNITS_MAX = 1000  # the first by name; a large server runs some 200
_FAILED_MAX = 100  # of those that failed, which a person reads
_NAME_CHARS_MAX = 255  # UNIT_NAME_MAX of systemd


class Systemd1(Source):
    """`services`: `{state, counts: {active: 40, failed: 1, …}, failed: [name], units: {name: state}}`.

    `state` is that of the whole system (`running`, `degraded`, …). `units` holds those that
    are not inactive, with systemd's low-level state: `running`, `exited`, `failed`, and so on.
    """

    items: ClassVar[tuple[str, ...]] = ("services",)
    needs: ClassVar[str] = "systemd on the system bus"

    def __init__(self) -> None:
        self._bus = Bus(_CHANGED)

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and os.path.exists(_BOOTED)

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        return (self._bus.watch(),)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def read(self, item: str) -> Json:
        assert item in self.items
        # Else systemd sends no signals; each time anew, as the connection may be another one.
        with suppress(BusError):  # subscribed already
            self._bus.call(_MANAGER, "Subscribe", timeout_s=_CALL_S)
        (rows,) = self._bus.call(
            _MANAGER, "ListUnitsByPatterns", "asas", [], [f"*{_SUFFIX}"], timeout_s=_CALL_S
        )
        ((_, state),) = self._bus.call(
            _PROPERTIES, "Get", "ss", _MANAGER.interface, "SystemState", timeout_s=_CALL_S
        )
        return {"state": str(state), **services(rows)}


def services(rows: Iterable[tuple[Any, ...]]) -> dict[str, Json]:
    """Counts and names of what ListUnitsByPatterns returned."""
    counts: dict[str, int] = {}
    failed: list[str] = []
    units: dict[str, str] = {}
    for full, _, loaded, active, low, *_ in sorted(rows):
        if loaded == "not-found" and active == "inactive":
            continue  # another unit speaks of it, and it is not installed
        name = str(full).removesuffix(_SUFFIX)[:_NAME_CHARS_MAX]
        counts[active] = counts.get(active, 0) + 1
        if active == "failed" and len(failed) < _FAILED_MAX:
            failed.append(name)
        if active != "inactive" and len(units) < _UNITS_MAX:
            units[name] = str(low)
    return {"counts": counts, "failed": failed, "units": units}
