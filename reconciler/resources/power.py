"""Power: running, off or halted, and restarts and sleep that happen once for each token.

The rules of this kind:

1. Every act has a token, and is done at most once: a reboot's is its writer's, that of
   `off` is its generation. So a guest that somebody starts again stays on.
2. An act that was begun in an earlier boot was done. One that was begun in this boot,
   with nothing under way, is not repeated, and the condition says so.
3. Whoever holds a block inhibitor is waited for as long as `patience` says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, cast, get_args

from reconciler.errors import Fault, InvalidSpec
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

Verb = Literal["off", "halt", "reboot", "suspend", "hibernate"]
State = Literal["running", "off", "halted", "shutting-down", "going-to-sleep"]

_ONCE: tuple[Verb, ...] = ("reboot", "suspend", "hibernate")
_VERB_OF: Mapping[str, Verb] = {"off": "off", "halted": "halt"}
_SLEEP = frozenset({"suspend", "hibernate"})
_UNDER_WAY = {"shutting-down": "ShuttingDown", "going-to-sleep": "GoingToSleep"}


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What the machine should be, what it should do once, and how patiently."""

    state: Literal["running", "off", "halted"] | None = None  # None: not managed
    once: Verb | None = None  # reboot, suspend or hibernate
    token: str = ""  # of `once`
    message: str = ""
    patience_s: float | None = None  # None: for ever
    deadline_s: float | None = None  # None: the guest's own
    always: bool = False  # enforce: always


@dataclass(frozen=True)
class Due(Change):
    """An act that is to be done, and whether it heeds inhibitors."""

    heed: bool = True


@dataclass(frozen=True)
class Inhibitor:
    """Who keeps the guest from shutting down or sleeping; see org.freedesktop.login1(5)."""

    what: tuple[str, ...]  # shutdown, sleep, ...
    who: str
    why: str
    mode: str  # block, block-weak or delay
    user: str = ""


@dataclass(frozen=True)
class Scheduled:
    """A shutdown that somebody has announced."""

    verb: str  # in logind's words: poweroff, reboot, halt
    at: str  # RFC 3339


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the OS says; all of it keeps still in a guest that does."""

    boot_id: str
    booted_at: str  # RFC 3339
    state: State = "running"
    able: frozenset[str] = frozenset()  # verbs
    inhibitors: tuple[Inhibitor, ...] = ()
    scheduled: Scheduled | None = None


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The machine, and what was already done to it."""

    boot_clock_s: float
    machine: Machine
    generation: int = 0
    deeds: Mapping[str, Deed] = field(default_factory=dict)  # by token
    blocked_since_s: float | None = None  # since when inhibitors have kept us waiting, on the boot clock


class Switch(Driver, Protocol):
    """What this kind asks of the OS."""

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def machine(self) -> Machine: ...

    def bring(self, verb: Verb, *, message: str, heed: bool, deadline_s: float | None) -> None:
        """Have the OS begin, tell whoever is logged in, and return.

        With `heed` an inhibitor makes it fail. After `deadline_s` of orderly stopping the
        rest is cut short. Raises Unsupported or DriverError only when nothing was begun.
        """


_TEXT: Rules = {"type": "string", "regex": r"[^\x00-\x1f\x7f]+", "maxlength": 1000}


def _once(verb: str, description: str) -> Rules:
    token = {
        "type": "token",
        "required": True,
        "meta": {"description": f"A word that was never used before: one {verb} for each."},
    }
    return {
        "type": "dict",
        "schema": {"token": token},
        "excludes": [other for other in _ONCE if other != verb],
        "meta": {"description": description},
    }


class Power(Resource[Desired, Observed, Switch], kind="power"):
    summary = "Whether the guest runs, with restarts and sleep that happen once for each token."
    verbs = frozenset(get_args(Verb))
    enforce = "once"
    earliest = Phase.HOLD
    ends_all = True
    short: ClassVar[Rules] = {"type": "string", "allowed": ["running", "off"]}
    rules: ClassVar[Rules] = {
        "state": {
            "type": "string",
            "allowed": ["running", "off", "halted"],
            "meta": {
                "description": "What the guest should be; halted leaves it on, stopped.",
                "default": "running",
            },
        },
        "reboot": _once("reboot", "Restart the guest, once."),
        "suspend": _once("suspend", "Suspend the guest to memory, once."),
        "hibernate": _once("hibernate", "Suspend the guest to disk, once."),
        "message": {
            **_TEXT,
            "meta": {"description": "Told to whoever is logged in.", "expected": "one line of text"},
        },
        "patience": {
            "type": "duration",
            "meta": {
                "description": "How long to wait for whoever holds a block inhibitor; 0s ignores them.",
                "default": "as long as they hold it",
            },
        },
        "deadline": {
            "type": "duration",
            "min": 1,
            "meta": {
                "description": "How long an orderly stop may take before it is cut short.",
                "default": "the guest's own: 30 minutes with systemd",
            },
        },
    }

    def __init__(self, driver: Switch) -> None:
        super().__init__(driver)
        self._blocked: dict[str, float] = {}  # since when, by token

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"state": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        once = next((verb for verb in _ONCE if verb in normal), None)
        state = normal.get("state", "running")
        if once and state != "running":
            raise InvalidSpec(Fault(0, 0, once, f"does not go with state: {state}"))
        idle = [name for name in ("deadline", "message") if once in _SLEEP and name in normal]
        if idle:
            why = f"does not go with {once}: nothing is stopped"
            raise InvalidSpec(*(Fault(0, 0, name, why) for name in idle))
        return Desired(
            state=state,
            once=once,
            token=normal[once]["token"] if once else "",
            message=normal.get("message", ""),
            patience_s=normal.get("patience"),
            deadline_s=normal.get("deadline"),
            always=normal.get("enforce") == "always",
        )

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: Switch = self.driver
        observed = Observed(
            boot_clock_s=driver.boot_clock_s(),
            machine=driver.machine(),
            generation=past.generation,
            deeds=past.deeds,
        )
        goal = _goal(desired, observed)
        blocked = dict(self._blocked) if past.preview else self._blocked
        if goal is None or not _blockers(goal[0], observed):
            blocked.clear()
            return observed
        since_s = blocked.setdefault(goal[1], observed.boot_clock_s)
        return replace(observed, blocked_since_s=since_s)

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        goal = _goal(desired, observed)
        if goal is None or observed.machine.state != "running" or _spent(goal[1], observed):
            return ()
        # Whoever inhibits it only after this look is waited for as well.
        heed = not _out_of_patience(desired, observed)
        return (Due("guest", goal[0], want=goal[1], have=observed.machine.state, heed=heed),)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        terms: dict[str, Json] = {"message": desired.message}
        if desired.deadline_s is not None:
            terms["deadline"] = desired.deadline_s
        return tuple(
            Action(due.field, due.target, Phase.HOLD, str(due.want), terms | {"heed": due.heed})
            for due in changes
            if isinstance(due, Due)
        )

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        assert action.token is not None
        boot_id = observed.machine.boot_id if action.verb in _SLEEP else "before"
        deeds = {**observed.deeds, action.token: Deed("done", boot_id, observed.generation)}
        states: dict[str, State] = {"off": "off", "halt": "halted"}
        machine = replace(observed.machine, state=states.get(action.verb, observed.machine.state))
        return replace(observed, deeds=deeds, machine=machine, blocked_since_s=None)

    @staticmethod
    def holding(observed: Observed) -> bool:
        return observed.machine.state in _UNDER_WAY

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        state = observed.machine.state
        if state in _UNDER_WAY:
            return Verdict(False, _UNDER_WAY[state], waiting=True)
        goal = _goal(desired, observed)
        if goal is None or state == desired.state != "running":
            return Verdict(True, "InSync", state)
        if changes:
            blockers = _blockers(goal[0], observed)
            if blockers and not _out_of_patience(desired, observed):
                return Verdict(False, "Inhibited", "; ".join(map(_said, blockers)), waiting=True)
            return Verdict(False, "Drifted", f"{goal[0]} is still to be done")
        return _outcome(*goal, observed)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        if observed.blocked_since_s is None or desired.patience_s is None:
            return None
        end_s = observed.blocked_since_s + desired.patience_s
        return end_s if end_s > observed.boot_clock_s else None

    @staticmethod
    def show(observed: Observed) -> Json:
        machine = observed.machine
        shown: dict[str, Json] = {
            "state": machine.state,
            "bootId": machine.boot_id,
            "bootedAt": machine.booted_at,
            "able": sorted(machine.able),
            "inhibitors": [
                {"what": list(i.what), "who": i.who, "why": i.why, "mode": i.mode, "user": i.user}
                for i in machine.inhibitors
            ],
        }
        if machine.scheduled:
            shown["scheduled"] = {"verb": machine.scheduled.verb, "at": machine.scheduled.at}
        return shown

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        old, new = before.machine, after.machine
        out = []
        if old.state != new.state:
            reason = _UNDER_WAY.get(new.state, "WokeUp" if old.state == "going-to-sleep" else "")
            out += [Notice(reason, f"{new.state}, was {old.state}")] if reason else []
        if new.scheduled and old.scheduled != new.scheduled:
            out.append(Notice("ShutdownScheduled", f"{new.scheduled.verb} at {new.scheduled.at}"))
        if old.scheduled and not new.scheduled:
            out.append(Notice("ShutdownCancelled", f"{old.scheduled.verb} at {old.scheduled.at}"))
        return tuple(out)

    def act(self, action: Action) -> None:
        driver: Switch = self.driver
        driver.bring(
            cast(Verb, action.verb),
            message=action.value["message"],
            heed=action.value["heed"],
            deadline_s=action.value.get("deadline"),
        )


def booted_s(stat: str) -> int:
    """When the kernel started, in seconds since 1970: btime of /proc/stat; see proc(5)."""
    return next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("btime "))


def _goal(desired: Desired, observed: Observed) -> tuple[Verb, str] | None:
    """What is to be done once, and its token."""
    if desired.once:
        return desired.once, f"{desired.once}:{desired.token}"
    verb = _VERB_OF.get(desired.state or "running")
    if verb is None:
        return None
    boot = f"@{observed.machine.boot_id}" if desired.always else ""
    return verb, f"{verb}@{observed.generation}{boot}"


def _spent(token: str, observed: Observed) -> bool:
    deed = observed.deeds.get(token)
    return deed is not None and deed.spent


def _blockers(verb: Verb, observed: Observed) -> list[Inhibitor]:
    what = "sleep" if verb in _SLEEP else "shutdown"
    return [i for i in observed.machine.inhibitors if what in i.what and i.mode != "delay"]


def _out_of_patience(desired: Desired, observed: Observed) -> bool:
    if desired.patience_s is None:
        return False
    since_s = observed.boot_clock_s if observed.blocked_since_s is None else observed.blocked_since_s
    return observed.boot_clock_s - since_s >= desired.patience_s


def _said(inhibitor: Inhibitor) -> str:
    by = f" ({inhibitor.user})" if inhibitor.user else ""
    return f"{inhibitor.who}{by}: {inhibitor.why}"


def _outcome(verb: Verb, token: str, observed: Observed) -> Verdict:
    """What became of an act that must not be done again."""
    deed = observed.deeds[token]
    elsewhere = deed.boot_id != observed.machine.boot_id
    if verb in ("off", "halt") and elsewhere:
        done = f"{verb} was done in generation {deed.generation}"
        return Verdict(False, "StartedAgain", f"{done}, and the guest was started since")
    if (verb == "reboot" and elsewhere) or (verb in _SLEEP and deed.state == "done"):
        return Verdict(True, "InSync", f"{verb} was done for its token")
    if deed.state == "begun":
        why = f"{verb} was begun, and whether it was done is not known"
        return Verdict(False, "OutcomeUnknown", why, failed=True)
    return Verdict(False, "NotConfirmed", f"{verb} was accepted, and nothing is under way")
