"""Units of systemd for the kind `services`, over D-Bus; see org.freedesktop.systemd1(5)."""

import os
import select
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, Protocol

from reconciler.errors import DriverError
from reconciler.facilities.dbus import Bus, BusError, NoAnswer, Peer
from reconciler.facilities.unit_log import last_lines
from reconciler.resource import Watch
from reconciler.resources.services import FileVerb, JobVerb, Units
from reconciler.subjects.units import Unit, nearest, type_of

_NAME = "org.freedesktop.systemd1"
_ROOT = "/org/freedesktop/systemd1"
_MANAGER = Peer(_NAME, _ROOT, f"{_NAME}.Manager")
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_SIGNAL = f"type='signal',sender='{_NAME}'"
_OF_MANAGER = f"{_SIGNAL},path='{_ROOT}',interface='{_NAME}.Manager'"
# Somebody enabled something, or installed it and had systemd reload.
_FILES = (f"{_OF_MANAGER},member='UnitFilesChanged'", f"{_OF_MANAGER},member='Reloading'")
_METHODS: Mapping[str, str] = {
    "start": "StartUnit",
    "stop": "StopUnit",
    "restart": "RestartUnit",
    "reload": "ReloadUnit",
}
# What stops with a unit: those that it keeps up by one of these; systemd.unit(5).
_STANDS_ON = ("Requires", "Requisite", "BindsTo", "PartOf")
_PILLARS = ("dbus.service", "systemd-logind.service")
_PILLARS_MAX = 64  # of all that these stand on in turn; some 20 on Debian
_JOB_S = 25.0  # then it goes on without us; nearly every unit starts within it
_RELOAD_S = 20.0  # generators run, on a busy guest
_LOG_S = 3.0
_EXITS: Mapping[int, str] = {1: "status", 2: "signal", 3: "signal"}  # CLD_EXITED, KILLED, DUMPED


class Heard(Protocol):
    """What `Bus.watch` gives."""

    def fileno(self) -> int: ...

    def hear(self) -> list[tuple[Any, ...]] | None: ...


class Systemd1Units(Units):
    needs = "systemd on the system bus"

    def __init__(self) -> None:
        self._bus = Bus()

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and os.path.exists(_BOOTED)

    def watches(self) -> tuple[Watch, ...]:
        return (self._bus.watch(),)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def units(self, names: Sequence[str], *, follow: bool) -> tuple[Unit, ...]:
        if not names:
            if follow:
                self._bus.expect()
            return ()
        _subscribe(self._bus)
        paths = {name: str(self._bus.call(_MANAGER, "LoadUnit", "s", name)[0]) for name in names}
        callers = {name: self._get(path, "Unit", "TriggeredBy") for name, path in paths.items()}
        theirs = sorted({caller for of_one in callers.values() for caller in of_one})
        if follow:
            self._bus.expect(*_FILES, *map(_changes_of, {*paths.values(), *map(path_of, theirs)}))
        up = self._active(theirs)
        return tuple(
            self._unit(name, path, {caller: up[caller] for caller in callers[name] if caller in up})
            for name, path in paths.items()
        )

    def vital(self) -> frozenset[str]:
        """Transitively: what the agent's unit, the bus and logind require, they cannot do without."""
        known: set[str] = set()
        open_names = [*_PILLARS]
        with suppress(BusError):  # the agent may run outside of any unit
            (path,) = self._bus.call(_MANAGER, "GetUnitByPID", "u", os.getpid())
            open_names.insert(0, str(self._get(path, "Unit", "Id")))
        while open_names and len(known) < _PILLARS_MAX:
            name = open_names.pop(0)
            if name in known:
                continue
            known.add(name)
            with suppress(BusError):  # not loaded: nothing stands on it
                (path,) = self._bus.call(_MANAGER, "GetUnit", "s", name)
                for relation in _STANDS_ON:
                    open_names += self._get(path, "Unit", relation)
        return frozenset(known)

    def log(self, unit: Unit) -> tuple[str, ...]:
        return last_lines(unit.id, _LOG_S, ago_s=time.monotonic() - unit.since_us / 1e6)

    def nearest(self, name: str) -> str:
        pattern = f"*.{type_of(name)}"
        (rows,) = self._bus.call(_MANAGER, "ListUnitFilesByPatterns", "asas", [], [pattern])
        return nearest(name, (os.path.basename(path) for path, _ in rows))

    def job(self, verb: JobVerb, unit: str, *, reset: bool) -> str:
        ends_s = time.monotonic() + _JOB_S
        with closing(Bus(f"{_OF_MANAGER},member='JobRemoved',arg2='{unit}'")) as bus:
            watch = bus.watch()
            _subscribe(bus)
            if reset:
                with suppress(BusError):  # nothing was counted
                    bus.call(_MANAGER, "ResetFailedUnit", "s", unit)
            try:
                # Else systemd forgets a unit that did not start, and why.
                (path,) = bus.call(_MANAGER, "LoadUnit", "s", unit)
                bus.call(Peer(_NAME, path, f"{_NAME}.Unit"), "Ref")
                (job,) = bus.call(_MANAGER, _METHODS[verb], "ss", unit, "replace")
            except BusError as error:
                raise _cannot(f"{verb} {unit}", error) from error
            except NoAnswer:
                return ""  # it may be under way: the next look will tell
            outcome = _end_of(job, watch, ends_s)
            if outcome == "done" and verb in ("start", "restart"):
                unmet = _unmet(bus.properties(Peer(_NAME, path, f"{_NAME}.Unit")))
                if unmet:
                    raise DriverError(f"cannot {verb} {unit}: its condition is not met: {unmet}")
            return outcome

    def change_file(self, verb: FileVerb, unit: str, *, runtime: bool) -> None:
        carries = True
        try:
            match verb:
                case "enable":
                    carries, _ = self._bus.call(_MANAGER, "EnableUnitFiles", "asbb", [unit], runtime, False)
                case "disable":
                    self._bus.call(_MANAGER, "DisableUnitFiles", "asb", [unit], runtime)
                case "mask":
                    self._bus.call(_MANAGER, "MaskUnitFiles", "asbb", [unit], runtime, False)
                case "unmask":
                    self._bus.call(_MANAGER, "UnmaskUnitFiles", "asb", [unit], runtime)
            with suppress(NoAnswer):  # it goes on reloading, and the next look waits for it
                self._bus.call(_MANAGER, "Reload", timeout_s=_RELOAD_S)
        except BusError as error:
            raise _cannot(f"{verb} {unit}", error) from error
        if not carries:
            raise DriverError(f"cannot enable {unit}: it has no [Install] section")

    def _unit(self, name: str, path: str, callers: Mapping[str, str]) -> Unit:
        found = self._bus.properties(Peer(_NAME, path, f"{_NAME}.Unit"))
        id, active = str(found["Id"]), str(found["ActiveState"])
        trouble = found["LoadError"][1] if found["LoadState"] not in ("loaded", "masked") else ""
        known: dict[str, Any] = {} if active == "active" else self._of_type(id, path)
        return Unit(
            name=name,
            id=id,
            load=found["LoadState"],
            trouble=trouble,
            active=active,
            sub=found["SubState"],
            job=self._job_of(*found["Job"]),
            file=self._file_of(id),
            can=frozenset(verb for verb in ("start", "stop", "reload") if found[f"Can{verb.title()}"]),
            callers=callers,
            since_us=found["StateChangeTimestampMonotonic"],
            **known,
        )

    def _of_type(self, id: str, path: str) -> dict[str, Any]:
        """What only units that are not active have to tell."""
        kind = type_of(id).title()
        known: dict[str, Any] = {"result": self._get(path, kind, "Result")}
        if kind == "Service":
            code = self._get(path, kind, "ExecMainCode")
            if code in _EXITS:
                known["exit"] = f"{_EXITS[code]} {self._get(path, kind, 'ExecMainStatus')}"
            known["ran"] = known["result"] == "success" and code in _EXITS
            known["restarts"] = self._get(path, kind, "NRestarts")
            oneshot = self._get(path, kind, "Type") == "oneshot"
            known["passing"] = oneshot and not self._get(path, kind, "RemainAfterExit")
        return known

    def _get(self, path: str, kind: str, name: str) -> Any:
        peer = Peer(_NAME, path, "org.freedesktop.DBus.Properties")
        ((_, value),) = self._bus.call(peer, "Get", "ss", f"{_NAME}.{kind}", name)
        return value

    def _job_of(self, number: int, path: str) -> str:
        if not number:
            return ""
        try:
            return str(self._get(path, "Job", "JobType"))
        except BusError:
            return ""  # it has ended since

    def _file_of(self, id: str) -> str:
        try:
            return str(self._bus.call(_MANAGER, "GetUnitFileState", "s", id)[0])
        except BusError:
            return ""  # it has none, as mounts that somebody made by hand

    def _active(self, names: Iterable[str]) -> dict[str, str]:
        """The low-level state of those that are active."""
        wanted = list(names)
        if not wanted:
            return {}
        (rows,) = self._bus.call(_MANAGER, "ListUnitsByNames", "as", wanted)
        return {row[0]: row[4] for row in rows if row[3] == "active"}


def _end_of(job: str, watch: Heard, ends_s: float) -> str:
    """The word for a job's end, or nothing where that did not come in time."""
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    while (left_s := ends_s - time.monotonic()) > 0:
        poll.poll(left_s * 1000)
        heard = watch.hear()
        if heard is None:
            return ""
        for _, path, _, outcome in heard:
            if path == job:
                return str(outcome)
    return ""


def path_of(unit: str) -> str:
    """Its object's path, as sd_bus_path_encode(3) makes it."""
    encoded = "".join(
        c if c.isalnum() and (place or not c.isdigit()) else f"_{ord(c):02x}" for place, c in enumerate(unit)
    )
    return f"{_ROOT}/unit/{encoded}"


def _changes_of(path: str) -> str:
    properties = "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
    return f"{_SIGNAL},path='{path}',{properties},arg0='{_NAME}.Unit'"


def _subscribe(bus: Bus) -> None:
    """Else systemd sends no signals; each time anew, as the connection may be another one."""
    with suppress(BusError):  # subscribed already
        bus.call(_MANAGER, "Subscribe")


def _cannot(what: str, error: BusError) -> DriverError:
    return DriverError(f"cannot {what}: {str(error).partition(': ')[2]}")


def _unmet(found: Mapping[str, Any]) -> str:
    """The first condition or assertion that failed just now, as one writes it; nothing for what is up."""
    if found["ActiveState"] != "inactive":
        return ""
    for word in ("Condition", "Assert"):
        if found[f"{word}Result"] or not found[f"{word}Timestamp"]:
            continue
        for name, _, negated, parameter, state in found[f"{word}s"]:
            if state < 0:
                return f"{name}={'!' if negated else ''}{parameter}"
    return ""
