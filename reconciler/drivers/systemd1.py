"""Services, and units that failed, for the inventory; see org.freedesktop.systemd1(5)."""

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from reconciler.facilities.dbus import Bus, BusError, Peer
from reconciler.facilities.unit_log import last_lines
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

_NAME = "org.freedesktop.systemd1"
_MANAGER = Peer(_NAME, "/org/freedesktop/systemd1", f"{_NAME}.Manager")
_PROPERTIES = Peer(_NAME, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties")
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
# Of every unit the interface of its type changes with it, so this leaves out all but services.
_CHANGED = (
    f"type='signal',sender='{_NAME}',interface='org.freedesktop.DBus.Properties',"
    f"member='PropertiesChanged',arg0='{_NAME}.Service'"
)
_CALL_S = 0.5  # each of some calls; systemd lists 200 units in 5 ms
_LOGS_S = 2.0  # for when and why, of all that failed; what is missing then comes with the next reading
_LOGS_MAX = 10  # each is a process, once for each failure; a guest with more has another problem
_SUFFIX = ".service"
_UNITS_MAX = 1000  # the first by name; a large server runs some 200
_FAILED_MAX = 100  # of those that failed, which a person reads
_NAME_CHARS_MAX = 255  # UNIT_NAME_MAX of systemd


class Systemd1(Source):
    """`services`: `{state, counts, units: {name: state}, failed: {name: {since?, log?}}}`.

    `state` is that of the whole system (`running`, `degraded`, …), `counts` are `{active: 40, …}`.
    `units` holds the services that are not inactive, with systemd's low-level state: `running`,
    `exited`, and so on; `failed` units of every type, since when, and their last lines.
    """

    items: ClassVar[tuple[str, ...]] = ("services",)
    needs: ClassVar[str] = "systemd on the system bus"

    def __init__(self) -> None:
        self._bus = Bus(_CHANGED)
        self._logs: dict[tuple[str, int], tuple[str, ...]] = {}  # by name and since when

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
        rows = self._list([], [f"*{_SUFFIX}"])
        failed = sorted(self._list(["failed"], []))[:_FAILED_MAX]
        ((_, state),) = self._bus.call(
            _PROPERTIES, "Get", "ss", _MANAGER.interface, "SystemState", timeout_s=_CALL_S
        )
        return {"state": str(state), **services(rows), "failed": self._failed(failed)}

    def _list(self, states: list[str], patterns: list[str]) -> list[tuple[Any, ...]]:
        (rows,) = self._bus.call(_MANAGER, "ListUnitsByPatterns", "asas", states, patterns, timeout_s=_CALL_S)
        return list(rows)

    def _failed(self, rows: Iterable[tuple[Any, ...]]) -> dict[str, Json]:
        """Lines are read once for each failure: who fails again says something else."""
        ends_s = time.monotonic() + _LOGS_S
        logs: dict[tuple[str, int], tuple[str, ...]] = {}
        out: dict[str, Json] = {}
        for full, _, _, _, _, _, path, *_ in rows:
            timely = time.monotonic() < ends_s
            since_us = self._since_us(path) if timely and len(logs) < _LOGS_MAX else 0
            left_s, ago_s = ends_s - time.monotonic(), time.time() - since_us / 1e6
            if (full, since_us) in self._logs:
                logs[full, since_us] = self._logs[full, since_us]
            elif since_us and left_s > 0:
                logs[full, since_us] = last_lines(full, left_s, ago_s=ago_s)
            out[_short(full)] = {"since": stamp(since_us // 1_000_000)} if since_us else {}
            if lines := logs.get((full, since_us)):
                out[_short(full)]["log"] = list(lines)
        self._logs = logs
        return out

    def _since_us(self, path: str) -> int:
        """When a unit's state last changed, on the wall clock; 0 where that is not known."""
        peer = Peer(_NAME, path, _PROPERTIES.interface)
        what = (f"{_NAME}.Unit", "StateChangeTimestamp")
        try:
            ((_, at_us),) = self._bus.call(peer, "Get", "ss", *what, timeout_s=_CALL_S)
        except BusError:
            return 0  # it is gone since it was listed
        return int(at_us)


def services(rows: Iterable[tuple[Any, ...]]) -> dict[str, Json]:
    """Counts and names of what ListUnitsByPatterns returned."""
    counts: dict[str, int] = {}
    units: dict[str, str] = {}
    for full, _, loaded, active, low, *_ in sorted(rows):
        if loaded == "not-found" and active == "inactive":
            continue  # another unit speaks of it, and it is not installed
        counts[active] = counts.get(active, 0) + 1
        if active != "inactive" and len(units) < _UNITS_MAX:
            units[_short(full)] = str(low)
    return {"counts": counts, "units": units}


def _short(name: str) -> str:
    return name.removesuffix(_SUFFIX)[:_NAME_CHARS_MAX]
