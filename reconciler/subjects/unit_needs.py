"""What a unit of systemd needs to become as it is wanted, or why that cannot be; pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.resource import Action, Change, Deed
from reconciler.subjects.unit_past import Spell, Try, run_of
from reconciler.subjects.units import EVERYTHING, MASKED, VITAL, Unit, is_power, short_name, why_not

State = Literal["running", "stopped"]

_CANNOT_ENABLE: Mapping[str, str] = {
    "static": "it has no [Install] section: other units start it, or nobody",
    "indirect": "its [Install] section only names other units",
    "generated": "it was generated, from /etc/fstab or an init script",
    "transient": "it was made at run time, without a file",
    "bad": "its file is not valid",
    "": "it has no file",
}
_REASONS: Mapping[str, str] = {"start": "NotStarted", "restart": "NotStarted", "stop": "NotStopped"}
_CHARS_MAX = 800  # of one unit's words; the condition has room for some


@dataclass(frozen=True, kw_only=True)
class Want:
    """What one unit should be; None and empty: not managed."""

    state: State | None = None
    enabled: bool | None = None
    masked: bool | None = None
    restart: str = ""  # tokens
    reload: str = ""

    @property
    def present(self) -> bool:
        """Whether it asks for something that only an installed unit can be."""
        return self.state == "running" or self.enabled is True

    @property
    def takes_away(self) -> bool:
        return self.state == "stopped" or self.enabled is False or self.masked is True or bool(self.restart)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The units of the document, and what was done to them."""

    boot_clock_s: float
    boot_id: str = ""
    generation: int = 0
    units: Mapping[str, Unit] = field(default_factory=dict)  # by full name, as written
    vital: frozenset[str] = VITAL  # ids of what the agent stands on
    tries: Mapping[tuple[str, str], Try] = field(default_factory=dict)  # by verb and id
    spells: Mapping[str, Spell] = field(default_factory=dict)  # by id
    deeds: Mapping[str, Deed] = field(default_factory=dict)
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by id, of those that do not run
    nearest: Mapping[str, str] = field(default_factory=dict)  # of names that there are not

    def spent(self, token: str) -> bool:
        return token in self.deeds and self.deeds[token].spent

    def restless(self, unit: Unit) -> bool:
        """Whether it ends and is started again, over and over."""
        return unit.id in self.spells and self.spells[unit.id].restless(self.boot_clock_s)


@dataclass(frozen=True)
class Step(Change):
    """Something to do to a unit, which is the change's target."""

    verb: str = ""
    token: str | None = None
    options: Mapping[str, bool] | None = None
    again: bool = False  # it was tried lately, and did not come about


@dataclass(frozen=True)
class Said:
    """Something about a unit that calls for no act now."""

    what: Literal["trouble", "wait", "unknown", "note"]
    words: str
    reason: str = ""


Found = Step | Said


def refusal(name: str, want: Want) -> str:
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


def deed_of(verb: str, unit: Unit, token: str) -> str:
    """By the unit's id, whatever name is written; what would be taken for the end of the id is escaped."""
    id = unit.id.replace("\\", r"\x5c").replace(":", r"\x3a")
    return f"{verb}:{id}:{token}"


def found(wants: Mapping[str, Want], observed: Observed) -> list[Found]:
    """All that is to be done or said, unit by unit."""
    out: list[Found] = []
    names: dict[str, str] = {}  # by id
    for name, want in wants.items():
        unit = observed.units.get(name)
        if unit is None:
            continue
        if unit.id in names:
            words = f"{short_name(name)} is another name of {short_name(names[unit.id])}: write one of them"
            out.append(Said("trouble", words, "WrittenTwice"))
            continue
        names[unit.id] = name
        for each in _of_unit(name, want, unit, wants, observed):
            out.append(_put_off(each, unit, observed) if isinstance(each, Step) else each)
    return out


def _put_off(step: Step, unit: Unit, observed: Observed) -> Found:
    """A step, unless it was tried just now and is to be left alone for a while."""
    tried = observed.tries.get((step.verb, step.target))
    if tried is None or not tried.lasts(observed.generation, observed.boot_clock_s):
        return step
    if tried.given_up:
        words = _why(unit, observed, "started too often, given up until the document changes")
        return Said("trouble", words, "GivenUp")
    if observed.boot_clock_s >= tried.again_s:
        return replace(step, again=True)
    if tried.held and step.verb != "start" and not tried.why:
        undone = f"{step.verb} was done, and undone since"
        return Said("trouble", _why(unit, observed, undone), "Undone")
    return Said("trouble", _why(unit, observed, tried.why), _REASONS.get(step.verb, "NotChanged"))


def _of_unit(
    name: str, want: Want, unit: Unit, wants: Mapping[str, Want], observed: Observed
) -> Iterator[Found]:
    if want.takes_away and unit.id in observed.vital:
        words = f"{short_name(name)} is not to be stopped, disabled or restarted: the agent stands on it"
        yield Said("trouble", words, "Protected")
        return
    if want.state == "running" and is_power(unit.id):
        yield Said("trouble", f"{short_name(name)} is for the kind power to start", "Protected")
        return
    if unit.load == "not-found" and not unit.up and want.present:
        near = observed.nearest.get(name, "")
        hint = f" (did you mean {short_name(near)}?)" if near else ""
        yield Said("trouble", f"{short_name(name)}: no such unit{hint}", "NoSuchUnit")
        return
    yield from _masked(want, unit)
    yield from _enabled(want, unit)
    if want.state == "stopped":
        yield from _stopped(unit, wants, observed)
    if want.state == "running":
        yield from _running(want, unit, observed)


def _masked(want: Want, unit: Unit) -> Iterator[Found]:
    # Before systemd has reloaded it may know nothing of it.
    if want.masked is True and not (unit.file == unit.load == "masked"):
        have = "not reloaded" if unit.file == "masked" else unit.file or "without a file"
        yield Step(unit.id, "masked", "masked", have, "mask", options={"runtime": False})
    if want.masked is False and (unit.file in MASKED or unit.load == "masked"):
        runtime = unit.file == "masked-runtime"
        have = unit.file if unit.file in MASKED else "not reloaded"
        yield Step(unit.id, "masked", "unmasked", have, "unmask", options={"runtime": runtime})


def _enabled(want: Want, unit: Unit) -> Iterator[Found]:
    masked = unit.file in MASKED and want.masked is not False
    if want.enabled is True and unit.file != "enabled":
        if masked:
            words = f"{short_name(unit.id)} cannot be enabled: it is masked, and the document leaves it so"
            yield Said("trouble", words, "Masked")
        elif unit.file in _CANNOT_ENABLE:
            words = f"{short_name(unit.id)} cannot be enabled: {_CANNOT_ENABLE[unit.file]}"
            yield Said("trouble", words, "CannotEnable")
        else:
            yield Step(unit.id, "enabled", "enabled", unit.file, "enable", options={"runtime": False})
    if want.enabled is False and unit.file in ("enabled", "enabled-runtime"):
        runtime = unit.file == "enabled-runtime"
        yield Step(unit.id, "enabled", "disabled", unit.file, "disable", options={"runtime": runtime})


def _stopped(unit: Unit, wants: Mapping[str, Want], observed: Observed) -> Iterator[Found]:
    for caller in unit.on_call:
        wanted = wants.get(caller)
        if wanted is not None and wanted.state is not None:
            if wanted.state == "running":
                yield Said("note", f"{short_name(unit.id)} comes back when {caller} is called")
        elif caller in observed.vital:
            words = f"{short_name(unit.id)} comes back by {caller}, which the agent stands on"
            yield Said("trouble", words, "Protected")
        else:
            yield Step(caller, "state", "stopped", f"active for {short_name(unit.id)}", "stop")
    if unit.active in ("inactive", "failed", "deactivating") or unit.job == "stop":
        if unit.under_way:
            yield Said("wait", f"{short_name(unit.id)} is {_now(unit)}")
    elif "stop" not in unit.can:
        yield Said("trouble", f"{short_name(unit.id)} cannot be stopped: systemd refuses it", "NotStopped")
    else:
        yield Step(unit.id, "state", "stopped", _now(unit), "stop")


def _running(want: Want, unit: Unit, observed: Observed) -> Iterator[Found]:
    freed = "masked" in unit.file + unit.load and want.masked is False  # by the step before
    if not unit.up and unit.load != "loaded" and not freed:
        why = "it is masked" if unit.load == "masked" else unit.trouble or unit.load
        reason = "Masked" if unit.load == "masked" else "BadUnit"
        yield Said("trouble", f"{short_name(unit.id)} cannot start: {why}", reason)
        return
    if unit.under_way and not unit.up:
        logs = _logs(unit, observed) if unit.sub == "auto-restart" else ""
        waits = Said("wait", f"{short_name(unit.id)} is {_now(unit)}{logs}")
        yield _restless(unit, observed) if observed.restless(unit) else waits
        return
    restart = deed_of("restart", unit, want.restart)
    if want.restart and not observed.spent(restart):
        yield Step(unit.id, "restart", want.restart, "not done", "restart", restart, _reset(unit, observed))
        return
    if want.restart and observed.deeds[restart].state == "begun":
        words = f"whether {short_name(unit.id)} was restarted for {want.restart} is not known"
        yield Said("unknown", words)
    if unit.up:
        if observed.restless(unit):
            yield _restless(unit, observed)
        yield from _reloaded(want, unit, observed)
    elif unit.active == "inactive" and unit.on_call:
        yield Said("note", f"{short_name(unit.id)} waits for {', '.join(unit.on_call)}")
    elif unit.passing:
        yield _passed(want, unit, observed)
    elif "start" not in unit.can and not freed:
        words = f"{short_name(unit.id)} cannot be started by hand: other units start it"
        yield Said("trouble", words, "NotStarted")
    else:
        yield Step(unit.id, "state", "running", _now(unit), "start", options=_reset(unit, observed))


def _restless(unit: Unit, observed: Observed) -> Said:
    """In words that stay the same, whether it happens to be up at this look or not."""
    ended = observed.spells[unit.id].ended
    words = f"{short_name(unit.id)} ends, and systemd starts it again and again{ended}{_logs(unit, observed)}"
    return Said("trouble", words[:_CHARS_MAX], "Restarting")


def _restarted(want: Want, unit: Unit, observed: Observed) -> bool:
    """Whether it was surely restarted in this boot; systemd forgets it."""
    deed = observed.deeds.get(deed_of("restart", unit, want.restart))
    return deed is not None and deed.state == "done" and deed.boot_id == observed.boot_id


def _passed(want: Want, unit: Unit, observed: Observed) -> Found:
    """A oneshot that does not stay active: it runs once in each boot, unless somebody had it run."""
    token = deed_of("start", unit, observed.boot_id)
    begun = observed.spent(token) and observed.deeds[token].state == "begun"
    if unit.active == "inactive" and begun and not (unit.ran or _restarted(want, unit, observed)):
        return Said("unknown", f"whether {short_name(unit.id)} was started in this boot is not known")
    if unit.active == "inactive" and (unit.ran or observed.spent(token)):
        return Said("note", f"{short_name(unit.id)} has run")
    if observed.spent(token):
        words = _why(unit, observed, "it runs once in each boot, or for a restart token")
        return Said("trouble", words, "NotStarted")
    return Step(unit.id, "state", "running", _now(unit), "start", token, _reset(unit, observed))


def _reloaded(want: Want, unit: Unit, observed: Observed) -> Iterator[Found]:
    token = deed_of("reload", unit, want.reload)
    if not want.reload:
        return
    if observed.spent(token):
        if observed.deeds[token].state == "begun":
            words = f"whether {short_name(unit.id)} was reloaded for {want.reload} is not known"
            yield Said("unknown", words)
        elif unit.reloaded != "success":
            words = f"{short_name(unit.id)} was reloaded for {want.reload} and failed at it ({unit.reloaded})"
            yield Said("trouble", words, "NotReloaded")
    elif "reload" not in unit.can:
        words = f"{short_name(unit.id)} cannot reload: its unit has no ExecReload="
        yield Said("trouble", words, "CannotReload")
    else:
        yield Step(unit.id, "reload", want.reload, "not done", "reload", token)


def _reset(unit: Unit, observed: Observed) -> Mapping[str, bool] | None:
    """A new document is a new beginning, also for what systemd has started too often."""
    tried = observed.tries.get(("start", unit.id))
    anew = tried is None or tried.generation != observed.generation
    return {"reset": True} if unit.active == "failed" and anew else None


def _now(unit: Unit) -> str:
    state = unit.active if unit.sub in (unit.active, "dead") else f"{unit.active} ({unit.sub})"
    return f"{state}, to {unit.job}" if unit.job else state


def _why(unit: Unit, observed: Observed, why: str) -> str:
    words = f"{short_name(unit.id)} is {_now(unit)}{run_of(unit)}"
    return (words + (f": {why}" if why else "") + _logs(unit, observed))[:_CHARS_MAX]


def _logs(unit: Unit, observed: Observed) -> str:
    lines = observed.logs.get(unit.id, ())
    return f"; it said: {' | '.join(lines)}" if lines else ""


def foreseen(unit: Unit, action: Action) -> Unit:
    """What would be seen of a unit once `action` had succeeded."""
    if action.verb == "stop" and action.target in unit.callers:
        unit = replace(unit, callers={n: sub for n, sub in unit.callers.items() if n != action.target})
    if action.target != unit.id:
        return unit
    match action.verb:
        case "start" | "restart" if unit.passing:
            return replace(unit, active="inactive", sub="dead", job="", result="success", ran=True)
        case "start" | "restart":
            unit = replace(unit, active="active", sub="running", job="", restarts=0)
            return replace(unit, result="success", reloaded="success")
        case "stop":
            return replace(unit, active="inactive", sub="dead", job="")
        case "enable":
            return replace(unit, file="enabled")
        case "disable":
            return replace(unit, file="disabled")
        case "mask":
            return replace(unit, file="masked", load="masked")
        case "unmask":
            return replace(unit, file="disabled", load="loaded", can=EVERYTHING)
    return unit
