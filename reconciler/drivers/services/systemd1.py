"""Units of systemd for the kind `services`, over D-Bus; see org.freedesktop.systemd1(5)."""

import os
import select
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from reconciler.errors import DriverError, Forbidden, OutcomeUnknown
from reconciler.facilities.dbus import Bus, BusError, Call, NoAnswer, Peer
from reconciler.facilities.unit_log import last_lines
from reconciler.policy import covers, reaches
from reconciler.resource import Watch
from reconciler.resources.services import FileVerb, JobVerb, Units
from reconciler.subjects.unit_past import End
from reconciler.subjects.units import Unit, folder_of, nearest, object_path, short_name, type_of

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
_OF_SERVICES = ("ExecMainCode", "ExecMainStatus", "NRestarts", "Type", "RemainAfterExit")
_EXITS: Mapping[int, str] = {1: "status", 2: "signal", 3: "signal"}  # CLD_EXITED, KILLED, DUMPED


class Heard(Protocol):
    """What `Bus.watch` gives."""

    def fileno(self) -> int: ...

    def hear(self) -> list[tuple[Any, ...]] | None: ...


class Systemd1Units(Units):
    needs = "systemd on the system bus"
    forbidden_units: tuple[str, ...] = ()  # the policy's
    forbidden_paths: tuple[str, ...] = ()

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
        loaded = self._bus.call_all([Call(_MANAGER, "LoadUnit", "s", (name,)) for name in names])
        paths = {n: str(body[0]) for n, body in zip(names, loaded, strict=True) if isinstance(body, tuple)}
        asked = [_get(path, "Unit", "TriggeredBy") for path in paths.values()]
        callers = dict(zip(paths.values(), map(_value, self._bus.call_all(asked)), strict=True))
        theirs = sorted({caller for of_one in callers.values() for caller in of_one})
        if follow:
            self._bus.expect(*_FILES, *map(_changes_of, {*paths.values(), *map(object_path, theirs)}))
        up = self._active(theirs)
        looked = self._look([*dict.fromkeys(paths.values())])
        for name in (*names, *(unit.id for unit in looked.values())):
            self._check(name)
        return tuple(
            replace(
                looked[paths[name]],
                name=name,
                callers={caller: up[caller] for caller in callers[paths[name]] if caller in up},
            )
            if name in paths
            else Unit(name=name, id=name, load="error", trouble=str(body), can=frozenset())
            for name, body in zip(names, loaded, strict=True)
        )

    def vital(self) -> frozenset[str]:
        """Transitively: what the agent's unit, the bus and logind require, they cannot do without."""
        known: set[str] = set()
        fresh = {*_PILLARS}
        with suppress(BusError):  # the agent may run outside of any unit
            (path,) = self._bus.call(_MANAGER, "GetUnitByPID", "u", os.getpid())
            (body,) = self._bus.call_all([_get(path, "Unit", "Id")])
            fresh.add(_value(body))
        while fresh and len(known) < _PILLARS_MAX:
            known |= fresh
            loaded = self._bus.call_all([Call(_MANAGER, "GetUnit", "s", (name,)) for name in fresh])
            # On what is not loaded nothing stands.
            paths = [str(body[0]) for body in loaded if isinstance(body, tuple)]
            told = self._bus.call_all([_get(path, "Unit", each) for path in paths for each in _STANDS_ON])
            fresh = {name for body in told if isinstance(body, tuple) for name in _value(body)} - known
        return frozenset(known)

    def log(self, unit: Unit) -> tuple[str, ...]:
        return last_lines(unit.id, _LOG_S, ago_s=time.monotonic() - unit.since_us / 1e6)

    def nearest(self, name: str) -> str:
        pattern = f"*.{type_of(name)}"
        (rows,) = self._bus.call(_MANAGER, "ListUnitFilesByPatterns", "asas", [], [pattern])
        return nearest(name, (os.path.basename(path) for path, _ in rows))

    def job(self, verb: JobVerb, unit: str, *, reset: bool) -> End:
        self._check(unit)  # a document need not name who starts what it wants stopped
        ends_s = time.monotonic() + _JOB_S
        with closing(Bus(f"{_OF_MANAGER},member='JobRemoved',arg2='{unit}'")) as bus:
            watch = bus.watch()
            path, job = _begin(bus, verb, unit, reset)
            # From here on it is under way, and no answer that fails to come makes it undone.
            outcome = _end_of(job, watch, ends_s)
            if outcome == "done" and verb in ("start", "restart"):
                with suppress(DriverError):
                    unmet = _unmet(bus.properties(Peer(_NAME, path, f"{_NAME}.Unit")))
                    return End("skipped", unmet) if unmet else End(outcome)
            return End(outcome)

    def change_file(self, verb: FileVerb, unit: str, *, runtime: bool, reload: bool) -> None:
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
        except BusError as error:
            raise _cannot(f"{verb} {unit}", error) from error
        finally:
            if reload:  # also for those that were changed before
                self._reload()
        if not carries:
            raise DriverError(f"cannot enable {unit}: it has no [Install] section")

    def _check(self, name: str) -> None:
        """Raises Forbidden."""
        if any(fnmatchcase(n, each) for n in (name, short_name(name)) for each in self.forbidden_units):
            why = "forbid.units"
        elif (folder := folder_of(name)) and any(
            test(folder, self.forbidden_paths) for test in (covers, reaches)
        ):
            why = "forbid.paths"
        else:
            return
        raise Forbidden(f"cannot manage services of {name}: forbidden by the guest's policy ({why})")

    def _reload(self) -> None:
        try:
            self._bus.call(_MANAGER, "Reload", timeout_s=_RELOAD_S)
        except NoAnswer:
            pass  # it goes on reloading, and the next look waits for it
        except BusError as error:
            raise _cannot("have systemd reload", error) from error

    def _look(self, paths: Sequence[str]) -> dict[str, Unit]:
        """By path; without names and callers."""
        everything = self._bus.properties_of([Peer(_NAME, path, f"{_NAME}.Unit") for path in paths])
        seen = [found for found in everything if found is not None]
        if len(seen) < len(paths):
            raise DriverError("cannot look at units: one has gone just now")
        files = self._bus.call_all([Call(_MANAGER, "GetUnitFileState", "s", (each["Id"],)) for each in seen])
        jobs = self._bus.call_all([_get(each["Job"][1], "Job", "JobType") for each in seen if each["Job"][0]])
        asked = [
            _get(path, _kind(each), name)
            for path, each in zip(paths, seen, strict=True)
            for name in _telling(each)
        ]
        job, told = iter(jobs), map(_value, self._bus.call_all(asked))
        return {
            path: _unit(
                found,
                # Mounts that somebody made by hand have no file.
                file=str(file[0]) if isinstance(file, tuple) else "",
                job=_job(next(job)) if found["Job"][0] else "",
                told={name: next(told) for name in _telling(found)},
            )
            for path, found, file in zip(paths, seen, files, strict=True)
        }

    def _active(self, names: Iterable[str]) -> dict[str, str]:
        """The low-level state of those that are active."""
        wanted = list(names)
        if not wanted:
            return {}
        (rows,) = self._bus.call(_MANAGER, "ListUnitsByNames", "as", wanted)
        return {row[0]: row[4] for row in rows if row[3] == "active"}


def _begin(bus: Bus, verb: JobVerb, unit: str, reset: bool) -> tuple[str, str]:
    """Paths of the unit and of its job. Raises OutcomeUnknown where only the answer to the job is lost."""
    try:
        _subscribe(bus)
        if reset:
            with suppress(BusError):  # nothing was counted
                bus.call(_MANAGER, "ResetFailedUnit", "s", unit)
        # Else systemd forgets a unit that did not start, and why.
        (path,) = bus.call(_MANAGER, "LoadUnit", "s", unit)
        bus.call(Peer(_NAME, path, f"{_NAME}.Unit"), "Ref")
    except DriverError as error:
        raise _cannot(f"{verb} {unit}", error) from error
    try:
        (job,) = bus.call(_MANAGER, _METHODS[verb], "ss", unit, "replace")
    except NoAnswer as error:
        raise OutcomeUnknown(f"cannot tell what became of {verb} {unit}: {_why(error)}") from error
    except DriverError as error:
        raise _cannot(f"{verb} {unit}", error) from error
    return str(path), str(job)


def _get(path: str, kind: str, name: str) -> Call:
    """The question for one property; `_value` takes it from the answer."""
    return Call(Peer(_NAME, path, "org.freedesktop.DBus.Properties"), "Get", "ss", (f"{_NAME}.{kind}", name))


def _value(body: tuple[Any, ...] | BusError) -> Any:
    if isinstance(body, BusError):
        raise body
    ((_, value),) = body
    return value


def _job(body: tuple[Any, ...] | BusError) -> str:
    return "" if isinstance(body, BusError) else str(_value(body))  # it has ended since


def _kind(found: Mapping[str, Any]) -> str:
    return type_of(found["Id"]).title()


def _telling(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The properties of its type that tell something, other ones of what is active."""
    service = _kind(found) == "Service"
    if found["ActiveState"] == "active":
        return ("NRestarts", "ReloadResult") if service else ()
    return ("Result", *_OF_SERVICES) if service else ("Result",)


def _unit(found: Mapping[str, Any], *, file: str, job: str, told: Mapping[str, Any]) -> Unit:
    trouble = found["LoadError"][1] if found["LoadState"] not in ("loaded", "masked") else ""
    code, result = told.get("ExecMainCode", 0), told.get("Result", "success")
    return Unit(
        name=found["Id"],
        id=found["Id"],
        load=found["LoadState"],
        trouble=trouble,
        active=found["ActiveState"],
        sub=found["SubState"],
        job=job,
        file=file,
        can=frozenset(verb for verb in ("start", "stop", "reload") if found[f"Can{verb.title()}"]),
        since_us=found["StateChangeTimestampMonotonic"],
        result=result,
        exit=f"{_EXITS[code]} {told['ExecMainStatus']}" if code in _EXITS else "",
        ran=result == "success" and code in _EXITS,
        restarts=told.get("NRestarts", 0),
        reloaded=told.get("ReloadResult", "success"),
        passing=told.get("Type") == "oneshot" and not told["RemainAfterExit"],
    )


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


def _changes_of(path: str) -> str:
    properties = "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
    return f"{_SIGNAL},path='{path}',{properties},arg0='{_NAME}.Unit'"


def _subscribe(bus: Bus) -> None:
    """Else systemd sends no signals; each time anew, as the connection may be another one."""
    with suppress(BusError):  # subscribed already
        bus.call(_MANAGER, "Subscribe")


def _cannot(what: str, error: DriverError) -> DriverError:
    return DriverError(f"cannot {what}: {_why(error)}")


def _why(error: DriverError) -> str:
    """What the other side said, without what we said of it."""
    return str(error).partition(": ")[2]


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
