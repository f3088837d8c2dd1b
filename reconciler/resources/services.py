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
    Verdict,
)
from reconciler.subjects.unit_needs import OUTCOMES, Observed, Said, Step, Try, Want, foreseen, found, run_of
from reconciler.subjects.units import NAME, NAME_CHARS_MAX, VITAL, Unit, full_name, short_name, why_not

JobVerb = Literal["start", "stop", "restart", "reload"]
FileVerb = Literal["enable", "disable", "mask", "unmask"]

UNITS_MAX = 50  # a look asks systemd some ten times for each
LOGS_MAX = 3  # in one look and one message: a person reads them, and each takes a process to read

# In this order over all units: what makes room comes first.
_VERBS = ("unmask", "disable", "enable", "stop", "mask", "restart", "start", "reload")
_JOBS = frozenset({"start", "stop", "restart", "reload"})


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

    def job(self, verb: JobVerb, unit: str, *, reset: bool) -> str:
        """Have it done, and wait some time; systemd's word for its end, empty while it goes on.

        With `reset`, what was counted of its starts is forgotten first. Raises DriverError
        where nothing was done, as its conditions are not met.
        """

    def change_file(self, verb: FileVerb, unit: str, *, runtime: bool) -> None:
        """Change its links in /etc, or in /run; systemd has reloaded when this returns."""


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
        self._logs: dict[str, tuple[int, tuple[str, ...]]] = {}  # by id, with when its state changed
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
            why = f"means the same as {short_name(name)}" if name in units else _refusal(name, want)
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
            deeds=past.deeds,
            logs=self._read_logs(desired, units),
            nearest={name: driver.nearest(name) for name in missing if desired.units[name].present},
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        return tuple(each for each in found(desired.units, observed) if isinstance(each, Step))

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        steps = [step for step in changes if isinstance(step, Step)]
        actions: dict[tuple[str, str], Action] = {}  # a socket may start more than one that is to stop
        for step in sorted(steps, key=lambda step: _VERBS.index(step.verb)):
            options = dict(step.options) if step.options else None
            action = Action(step.verb, step.target, Phase.PROGRAMS, step.token, options)
            actions.setdefault((step.verb, step.target), action)
        return tuple(actions.values())

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
            return Verdict(False, "Drifted", _joined([*words["trouble"], *map(_drift, changes)]))
        if words["trouble"]:
            reason = next(each.reason for each in said if each.what == "trouble")
            return Verdict(False, reason, _joined(words["trouble"]), failed=True)
        if words["wait"]:
            return Verdict(False, "Waiting", _joined(words["wait"]), waiting=True)
        if words["unknown"]:
            return Verdict(False, "OutcomeUnknown", _joined(words["unknown"]))
        count = "1 unit" if len(desired.units) == 1 else f"{len(desired.units)} units"
        return Verdict(True, "InSync", _joined([count, *words["note"]]))

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        times = [each.again_s for each in observed.tries.values() if not each.given_up]
        return min((time_s for time_s in times if time_s > observed.boot_clock_s), default=None)

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
            if unit.active == "failed" and name in old and old[name].active != "failed"
        )

    def act(self, action: Action) -> None:
        driver: Units = self.driver
        key, now_s = (action.verb, action.target), driver.boot_clock_s()
        old = self._tries.get(key)
        count = old.count + 1 if old and old.lasts(self._generation, now_s) else 1
        attempt = Try(count, now_s, self._generation)
        self._tries[key] = attempt  # first: whatever becomes of it, it was tried
        try:
            outcome = _do(driver, action)
        except DriverError as error:
            self._tries[key] = replace(attempt, why=str(error))
            if action.token:
                raise  # or the token would count as spent
            return  # it costs this unit, and no other one; the second look says so
        self._tries[key] = replace(attempt, why=OUTCOMES.get(outcome, ""))

    def _remember(self, units: Mapping[str, Unit], now_s: float) -> None:
        """Forget tries that no other one would follow on, and note which units systemd has given up."""
        generation = self._generation
        self._tries = {key: each for key, each in self._tries.items() if each.lasts(generation, now_s)}
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

    def _read_logs(self, desired: Desired, units: Mapping[str, Unit]) -> Mapping[str, tuple[str, ...]]:
        """Of those that should run and do not; of each once for each change of its state."""
        failing = [
            unit
            for name, unit in units.items()
            if desired.units[name].state == "running"
            and (unit.active == "failed" or unit.sub == "auto-restart")
        ]
        logs = {}
        for unit in failing[:LOGS_MAX]:
            at_us, lines = self._logs.get(unit.id, (-1, ()))
            logs[unit.id] = unit.since_us, lines if at_us == unit.since_us else self.driver.log(unit)
        self._logs = logs
        return {id: lines for id, (_, lines) in logs.items()}


_PRESSING = ("trouble", "wait", "unknown", "note")


def _refusal(name: str, want: Want) -> str:
    """Why a unit cannot be wanted so, or nothing."""
    if why := why_not(name):
        return why
    if want == Want():
        return "says nothing: write its state, enabled or masked"
    if want.takes_away and name in VITAL:
        return "is not to be stopped, disabled, masked or restarted: the agent stands on it"
    tokens = [verb for verb in ("restart", "reload") if getattr(want, verb)]
    if tokens and want.state != "running":
        return f"{tokens[0]} goes only with state: running"
    if want.masked and want.state == "running":
        return "what is masked cannot be running"
    return "what is masked cannot be enabled" if want.masked and want.enabled else ""


def _do(driver: Units, action: Action) -> str:
    options: Mapping[str, bool] = action.value or {}
    if action.verb in _JOBS:
        return driver.job(cast(JobVerb, action.verb), action.target, reset=options.get("reset", False))
    driver.change_file(cast(FileVerb, action.verb), action.target, runtime=options.get("runtime", False))
    return ""


def _drift(change: Change) -> str:
    name = short_name(change.target)
    if change.field in ("restart", "reload"):
        return f"{name}: {change.field} {change.want} is still to be done"
    return f"{name} is {change.have}, not {change.want}"


def _joined(words: Sequence[str]) -> str:
    more = f"; and {len(words) - LOGS_MAX} more" if len(words) > LOGS_MAX else ""
    return "; ".join(words[:LOGS_MAX]) + more


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
