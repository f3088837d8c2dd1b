"""Services: units of systemd, running or stopped, enabled, masked, restarted on a token.

The rules of this kind; specs/services.md has the reasons:

1. Each unit stands for itself. What cannot be done to one is said, and tried again ever
   more slowly, and the others go on.
2. What is on its way is waited for: nothing is started while it starts.
3. Running means that systemd sees to it: active, or on call by a socket, path, automount
   or timer, or a oneshot that has done its work in this boot.
4. Stopped means that it does not come back by itself: who could start it is stopped too.
5. What the agent stands on is never stopped, whoever asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal, Protocol, cast

from reconciler.errors import DriverError, Fault, InvalidSpec
from reconciler.resource import (
    Action,
    Change,
    Deed,
    Driver,
    Json,
    Notice,
    Past,
    Phase,
    Resource,
    Rules,
    Touch,
    Verdict,
)
from reconciler.subjects.listing import first_few
from reconciler.subjects.unit_needs import Observed, Said, Step, Want, foreseen, found, refusal
from reconciler.subjects.unit_past import End, Spell, Try, came_about, run_of
from reconciler.subjects.units import NAME, NAME_CHARS_MAX, VITAL, Unit, folder_of, full_name, short_name

JobVerb = Literal["start", "stop", "restart", "reload"]
FileVerb = Literal["enable", "disable", "mask", "unmask"]

UNITS_MAX = 50  # a look asks systemd some ten times for each
LOG_AGAIN_S = 60.0  # what ends over and over mostly says the same
LOGS_MAX = 3  # in one look and one message: a person reads them, and each takes a process to read

# In this order over all units: what makes room comes first.
_VERBS = ("unmask", "disable", "enable", "stop", "mask", "restart", "start", "reload")
_JOBS = frozenset({"start", "stop", "restart", "reload"})


@dataclass(frozen=True)
class Log:
    """What a unit has written, as it was read."""

    since_us: int  # when its state had last changed then
    read_s: float  # on the boot clock
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Desired:
    """By full name."""

    units: Mapping[str, Want] = field(default_factory=dict)


class Units(Driver, Protocol):
    """What this kind asks of the OS."""

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def units(self, names: Sequence[str], *, follow: bool) -> tuple[Unit, ...]:
        """The units of these full names; with `follow`, changes of these alone wake us from now on."""

    def vital(self) -> frozenset[str]:
        """Ids of the agent's own unit, and of all that would take it down with them."""

    def log(self, unit: Unit) -> tuple[str, ...]:
        """The last lines that it wrote in this boot, up to its last change."""

    def nearest(self, name: str) -> str:
        """The installed unit that is called most like it, or nothing."""

    def job(self, verb: JobVerb, unit: str, *, reset: bool) -> End:
        """Have it done, and wait some time.

        With `reset`, what was counted of its starts is forgotten first. Raises OutcomeUnknown
        where systemd did not say whether it took it on, DriverError where nothing was done.
        """

    def change_file(self, verb: FileVerb, unit: str, *, runtime: bool, reload: bool) -> None:
        """Change its links in /etc, or in /run; with `reload`, systemd has reloaded when this returns."""


_UNIT: Mapping[str, Rules] = {
    "state": {
        "type": "string",
        "allowed": ["running", "stopped"],
        "meta": {"description": "running: systemd sees to it; stopped: nor does anything start it."},
    },
    "enabled": {"type": "boolean", "meta": {"description": "Whether it starts at boot."}},
    "masked": {"type": "boolean", "meta": {"description": "Whether nobody can start it at all."}},
    "restart": {
        "type": "token",
        "meta": {"description": "A word that was never used before: one restart for each."},
    },
    "reload": {
        "type": "token",
        "meta": {"description": "The same, and the unit reads its settings again."},
    },
}
_NAMES: Rules = {
    "type": "string",
    "regex": NAME,
    "maxlength": NAME_CHARS_MAX,
    "meta": {"expected": "a unit's name such as nginx, ssh.socket or getty@tty1"},
}
_BY_NAME = {"type": "dict", "minlength": 1, "maxlength": UNITS_MAX, "keysrules": _NAMES}


class Services(Resource[Desired, Observed, Units], kind="services"):
    """Remembers what it tried with each unit: one that fails is left alone for a while."""

    summary = "Units of systemd: running or stopped, enabled, masked, restarted on a token."
    verbs = frozenset(_VERBS)
    earliest = Phase.PROGRAMS
    observe_deadline_s = 15.0  # three of them may have their log read
    act_deadline_s = 60.0  # a start is waited for, and systemd reloads itself
    short: ClassVar[Rules] = {
        **_BY_NAME,
        "valuesrules": {
            "anyof": [
                {"type": "string", "allowed": ["running", "stopped"]},
                {"type": "dict", "schema": _UNIT},
            ]
        },
        "meta": {"description": "services: {nginx: running, cron: stopped, ssh: {enabled: true}}."},
    }
    rules: ClassVar[Rules] = {
        "units": {
            **_BY_NAME,
            "valuesrules": {"type": "dict", "schema": _UNIT},
            "required": True,
            "meta": {"description": "By name; nginx is nginx.service, all others with their suffix."},
        },
    }

    def __init__(self, driver: Units) -> None:
        super().__init__(driver)
        self._generation = 0
        self._tries: dict[tuple[str, str], Try] = {}
        self._spells: dict[str, Spell] = {}  # by id
        self._logs: dict[str, Log] = {}  # by id
        self._vital: tuple[int, frozenset[str]] = (-1, VITAL)  # of a generation

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        wants = {name: want if isinstance(want, dict) else {"state": want} for name, want in short.items()}
        return {"units": wants}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        units: dict[str, Want] = {}
        faults = []
        for written, fields in normal["units"].items():
            name, want = full_name(written), Want(**fields)
            why = f"means the same as {short_name(name)}" if name in units else refusal(name, want)
            if why:
                faults.append(Fault(0, 0, "units", f"{written}: {why}"))
            units[name] = want
        if faults:
            raise InvalidSpec(*faults)
        return Desired(units=units)

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: Units = self.driver
        now_s = driver.boot_clock_s()
        units = {unit.name: unit for unit in driver.units(tuple(desired.units), follow=not past.preview)}
        if not past.preview:
            self._generation = past.generation
            self._remember(units, now_s)
        missing = [name for name, unit in units.items() if unit.load == "not-found" and not unit.up]
        return Observed(
            boot_clock_s=now_s,
            boot_id=past.boot_id,
            generation=past.generation,
            units=units,
            vital=self._stood_on(desired, past.generation),
            tries={} if past.preview else dict(self._tries),
            spells=dict(self._spells),
            deeds=past.deeds,
            logs=self._read_logs(desired, units, now_s),
            nearest={name: driver.nearest(name) for name in missing if desired.units[name].present},
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        return tuple(each for each in found(desired.units, observed) if isinstance(each, Step))

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        steps = [step for step in changes if isinstance(step, Step)]
        wanted: dict[tuple[str, str], Step] = {}  # a socket may start more than one that is to stop
        # One with a token that is refused ends the plan: what may be refused again comes last.
        for step in sorted(steps, key=lambda s: (s.again and s.token is not None, _VERBS.index(s.verb))):
            wanted.setdefault((step.verb, step.target), step)
        actions: list[Action] = []
        for step in wanted.values():
            options = dict(step.options) if step.options else {}
            if step.verb not in _JOBS:
                # Only after the last of several: systemd reads all its files anew.
                options["reload"] = True
                if actions and actions[-1].verb not in _JOBS:
                    actions[-1].value["reload"] = False
            actions.append(Action(step.verb, step.target, Phase.PROGRAMS, step.token, options or None))
        return tuple(actions)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        units = {name: foreseen(unit, action) for name, unit in observed.units.items()}
        deeds = dict(observed.deeds)
        if action.token:
            deeds[action.token] = Deed("done", observed.boot_id, observed.generation)
        return replace(observed, units=units, deeds=deeds)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        said = [each for each in found(desired.units, observed) if isinstance(each, Said)]
        words = {what: [each.words for each in said if each.what == what] for what in _PRESSING}
        if changes:
            return Verdict(False, "Drifted", _listed([*words["trouble"], *map(_drift, changes)]))
        if words["trouble"]:
            reason = next(each.reason for each in said if each.what == "trouble")
            return Verdict(False, reason, _listed(words["trouble"]), failed=True)
        if words["wait"]:
            return Verdict(False, "Waiting", _listed(words["wait"]), waiting=True)
        if words["unknown"]:
            return Verdict(False, "OutcomeUnknown", _listed(words["unknown"]), failed=True)
        count = "1 unit" if len(desired.units) == 1 else f"{len(desired.units)} units"
        return Verdict(True, "InSync", _listed([count, *words["note"]]))

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        return tuple(Touch("path", folder) for name in desired.units if (folder := folder_of(name)))

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        times = [each.again_s for each in observed.tries.values() if not each.given_up]
        now_s = observed.boot_clock_s
        times += [each.over_s for each in observed.spells.values() if each.restless(now_s)]
        return min((time_s for time_s in times if time_s > now_s), default=None)

    @staticmethod
    def show(observed: Observed) -> Json:
        if not observed.units:
            return {}
        return {"units": {short_name(name): _shown(unit) for name, unit in observed.units.items()}}

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        old = before.units
        return tuple(
            Notice("UnitFailed", f"{short_name(unit.id)}{run_of(unit)}")
            for name, unit in after.units.items()
            if unit.active == "failed"
            and name in old
            and old[name].active != "failed"
            # The condition has told of it, and each round would push another event out.
            and not after.restless(unit)
        )

    def act(self, action: Action) -> None:
        driver: Units = self.driver
        key, now_s = (action.verb, action.target), driver.boot_clock_s()
        old = self._tries.get(key)
        count = old.count + 1 if old and old.lasts(self._generation, now_s) else 1
        attempt = Try(count, now_s, self._generation)
        self._tries[key] = attempt  # first: whatever becomes of it, it was tried
        try:
            end = _do(driver, action)
        except DriverError as error:
            self._tries[key] = replace(attempt, why=str(error))
            if action.token:
                raise  # or the token would count as spent
            return  # it costs this unit, and no other one; the second look says so
        self._tries[key] = replace(attempt, why=end.why)
        if action.token and action.verb == "start" and end.outcome == "skipped":
            raise DriverError(f"cannot start {action.target}: {end.why}")  # nothing was done

    def _remember(self, units: Mapping[str, Unit], now_s: float) -> None:
        """Forget tries that no other one would follow on, and note what has come of the others."""
        generation = self._generation
        by_id = {unit.id: unit for unit in units.values()}
        self._spells = {id: Spell.of(unit, self._spells.get(id), now_s) for id, unit in by_id.items()}
        self._tries = {
            (verb, id): replace(each, held=True) if id in by_id and came_about(verb, by_id[id]) else each
            for (verb, id), each in self._tries.items()
            if each.lasts(generation, now_s)
        }
        for unit in units.values():
            tried = self._tries.get(("start", unit.id))
            if tried and unit.up and tried.given_up:
                del self._tries["start", unit.id]  # somebody has mended it
            elif tried and unit.given_up:
                self._tries["start", unit.id] = replace(tried, given_up=True)

    def _stood_on(self, desired: Desired, generation: int) -> frozenset[str]:
        if not any(want.takes_away for want in desired.units.values()):
            return VITAL
        if self._vital[0] != generation:
            self._vital = generation, VITAL | self.driver.vital()
        return self._vital[1]

    def _read_logs(
        self, desired: Desired, units: Mapping[str, Unit], now_s: float
    ) -> Mapping[str, tuple[str, ...]]:
        """Of those that should run and do not; of each once for each change, or once a minute."""
        failing = [
            unit
            for name, unit in units.items()
            if desired.units[name].state == "running"
            and (unit.active == "failed" or unit.sub == "auto-restart" or self._is_restless(unit, now_s))
        ]
        logs = {}
        for unit in failing[:LOGS_MAX]:
            log = self._logs.get(unit.id)
            recent = log and self._is_restless(unit, now_s) and now_s < log.read_s + LOG_AGAIN_S
            if log is None or not (recent or log.since_us == unit.since_us):
                log = Log(unit.since_us, now_s, self.driver.log(unit))
            logs[unit.id] = log
        self._logs = logs
        return {id: log.lines for id, log in logs.items()}

    def _is_restless(self, unit: Unit, now_s: float) -> bool:
        return unit.id in self._spells and self._spells[unit.id].restless(now_s)


_listed = partial(first_few, most=LOGS_MAX, between="; ")
_PRESSING = ("trouble", "wait", "unknown", "note")


def _do(driver: Units, action: Action) -> End:
    options: Mapping[str, bool] = action.value or {}
    if action.verb in _JOBS:
        return driver.job(cast(JobVerb, action.verb), action.target, reset=options.get("reset", False))
    verb, runtime = cast(FileVerb, action.verb), options.get("runtime", False)
    driver.change_file(verb, action.target, runtime=runtime, reload=options.get("reload", True))
    return End("done")


def _drift(change: Change) -> str:
    name = short_name(change.target)
    if change.field in ("restart", "reload"):
        return f"{name}: {change.field} {change.want} is still to be done"
    return f"{name} is {change.have}, not {change.want}"


def _shown(unit: Unit) -> dict[str, Json]:
    texts = {
        "id": unit.id if unit.id != unit.name else "",
        "load": unit.load if unit.load != "loaded" else "",
        "state": unit.active,
        "sub": unit.sub,
        "file": unit.file,
        "result": unit.result if unit.result != "success" else "",
    }
    shown: dict[str, Json] = {key: text for key, text in texts.items() if text}
    return shown | {"startedBy": dict(unit.callers)} if unit.callers else shown
