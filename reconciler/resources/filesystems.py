"""Filesystems: hold them still under a lease while the host takes a snapshot, and trim them.

The rules of a freeze:

1. It is a lease on the boot clock, given once for each generation: when it has ended,
   however it ended, only another document freezes again.
2. It has an epoch, a number never used twice in one boot. As long as that freeze is
   observed, every filesystem in it has been still since it began.
3. It belongs to the generation that asked for it: another document ends it first.
4. It is all or nothing, each filesystem once: a loop mount before the one that backs
   it, newest first among the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from reconciler.errors import DriverError
from reconciler.resource import (
    Action,
    Change,
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
from reconciler.subjects.mounts import FROZEN_MAX, Mount, choose, fitting, one_of_each, show

LEASE_S = 60.0  # long enough for a snapshot of disks, short enough for users to wait through
LEASE_S_MIN = 1.0  # below it, a lease ends before the host has heard of it

_ALL = "filesystems"  # the target of what is done to all of them at once
_STATES = ["frozen", "thawed"]


def _paths(description: str, default: str) -> Rules:
    meta = {"description": description, "default": default}
    return {"type": "list", "schema": {"type": "path"}, "minlength": 1, "maxlength": FROZEN_MAX, "meta": meta}


_STATE = "Whether writes are held back, so that a snapshot is consistent."
_LEASE = "How long a freeze lasts unless it is renewed; the guest's policy caps it."
_MINIMUM = "Free extents below this size are left alone."
SHORT: Rules = {"type": "string", "allowed": _STATES}
RULES: Rules = {
    "state": {"type": "string", "allowed": _STATES, "meta": {"description": _STATE}},
    "lease": {"type": "duration", "min": LEASE_S_MIN, "meta": {"description": _LEASE, "default": LEASE_S}},
    "mounts": _paths("Mount points to freeze.", "every filesystem that can freeze"),
    "trim": {
        "type": "dict",
        "schema": {
            "token": {"type": "token", "required": True, "meta": {"description": "Trims once for each."}},
            "minimum": {"type": "size", "meta": {"description": _MINIMUM, "default": 0}},
            "mounts": _paths("Mount points to trim.", "every filesystem that can freeze and trim"),
        },
        "meta": {"description": "Tell the disks which blocks are free."},
    },
}


@dataclass(frozen=True, kw_only=True)
class Trim:
    """What is to be trimmed, once for its token."""

    token: str
    minimum: int = 0  # bytes; free extents below it are left alone
    mounts: tuple[str, ...] = ()  # empty: every one that can


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Frozen or thawed, for how long and which, and what is to be trimmed."""

    state: Literal["frozen", "thawed"] | None = None  # None: a freeze is let go, as with "thawed"
    lease_s: float = LEASE_S
    mounts: tuple[str, ...] = ()  # empty: every one that can freeze
    trim: Trim | None = None


@dataclass(frozen=True)
class Freeze:
    """A freeze that holds."""

    epoch: int
    generation: int
    until_s: float  # on the boot clock
    devices: tuple[str, ...]
    mounts: tuple[str, ...]
    guarded: bool = True  # the process that thaws at the end of the lease is alive
    note: str = ""  # what that process lacks


@dataclass(frozen=True)
class PastFreeze:
    """The last freeze of this boot that holds no more."""

    epoch: int
    generation: int
    ended: str  # Thawed, LeaseEnded, AgentDied, GuardianDied, Broken, Refused
    message: str = ""


@dataclass(frozen=True)
class Seen:
    """What a driver sees."""

    boot_clock_s: float
    mounts: tuple[Mount, ...] = ()
    epoch: int = 0  # the last one given in this boot
    freeze: Freeze | None = None
    last: PastFreeze | None = None
    trimmed: Mapping[str, Json] = field(default_factory=dict)  # {token, trimmed: {path: bytes}, ...}


@dataclass(frozen=True)
class Observed:
    """The filesystems, and what this generation has already had."""

    seen: Seen
    generation: int = 0  # of the document in force
    frozen_before: bool = False  # this generation has had its freeze
    trim_token: str = ""  # that the document asks for
    trimmed: Literal["", "begun", "done"] = ""  # for that token; begun: nobody knows whether it was done
    lease_s_max: float = 600.0


@dataclass(frozen=True)
class Due(Change):
    """A change with the terms that the act needs."""

    terms: Json = None


class Freezer(Driver, Protocol):
    """What this kind asks of the OS."""

    lease_s_max: float  # the policy's cap

    def look(self) -> Seen: ...

    def prepare(self) -> None:
        """A freeze will follow soon: start what it needs, wait for nothing, fail in silence."""

    def freeze(self, generation: int, lease_s: float, mounts: Sequence[Mount]) -> None:
        """Freeze all of them in this order, or none: blocks until it is done or undone."""

    def thaw(self) -> None:
        """Let go whatever is frozen. To thaw what is thawed already is no error."""

    def renew(self, generation: int, lease_s: float) -> tuple[int, float]:
        """The epoch and its new end on the boot clock. Raises DriverError where no such freeze holds."""

    def trim(self, token: str, minimum: int, mounts: Sequence[Mount]) -> None:
        """Tell the disks which blocks are free."""


class Filesystems(Resource[Desired, Observed, Freezer], kind="filesystems"):
    summary = "Mounted filesystems: frozen under a lease for a snapshot, thawed, trimmed."
    verbs = frozenset({"freeze", "renew", "thaw", "trim"})
    rules = RULES
    short = SHORT
    # Hooks take up to 30 s each, and the flush of a slow disk as long as it takes. The lease, which
    # starts when the first filesystem stops, bounds the standstill.
    act_deadline_s = 300.0

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"state": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        trim = normal.get("trim")
        return Desired(
            state=normal.get("state"),
            lease_s=normal.get("lease", LEASE_S),
            mounts=tuple(normal.get("mounts", ())),
            trim=Trim(**(trim | {"mounts": tuple(trim.get("mounts", ()))})) if trim else None,
        )

    def observe(self, desired: Desired, past: Past) -> Observed:
        token = desired.trim.token if desired.trim else ""
        deed = past.deeds.get(f"trim@{token}")
        frozen_before = past.spent(f"freeze@{past.in_force}")
        if desired.state == "frozen" and not frozen_before and not past.preview:
            self.driver.prepare()
        return Observed(
            self.driver.look(),
            generation=past.in_force,
            frozen_before=frozen_before,
            trim_token=token,
            trimmed="" if deed is None or deed.state == "refused" else deed.state,
            lease_s_max=self.driver.lease_s_max,
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        freeze = observed.seen.freeze
        kept = freeze is not None and _is_kept(desired, observed, freeze)
        changes: list[Change] = []
        if freeze is not None and not kept:
            changes.append(Change(_ALL, "state", want="thawed", have="frozen"))
        if desired.trim and not observed.trimmed:
            terms = {"minimum": desired.trim.minimum, "mounts": list(desired.trim.mounts)}
            changes.append(Due(_ALL, "trim", want=desired.trim.token, have="", terms=terms))
        if desired.state == "frozen" and not kept and not observed.frozen_before:
            lease_s = min(desired.lease_s, observed.lease_s_max)
            terms = {
                "generation": observed.generation,
                "lease_s": lease_s,
                # Foreseen; the guardian counts for itself.
                "epoch": observed.seen.epoch + 1,
                "until_s": observed.seen.boot_clock_s + lease_s,
                "mounts": list(desired.mounts),
            }
            changes.append(Due(_ALL, "state", want="frozen", have="thawed", terms=terms))
        return tuple(changes)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(_action(change) for change in changes)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        seen, terms = observed.seen, action.value
        match action.verb:
            case "thaw":
                return replace(observed, seen=_let_go(seen, "Thawed"))
            case "trim":
                trimmed = {"token": terms["token"], "trimmed": {}}
                state = "done" if terms["token"] == observed.trim_token else observed.trimmed
                return replace(observed, seen=replace(seen, trimmed=trimmed), trimmed=state)
            case "freeze":
                return _foresee_freeze(observed, terms)
            case _:
                return observed

    @staticmethod
    def holding(observed: Observed) -> bool:
        return observed.seen.freeze is not None

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if changes:
            return Verdict(False, "Drifted", ", ".join(f"{c.field} is to be {c.want}" for c in changes))
        if desired.state != "frozen":
            if observed.trimmed == "begun":
                why = "a trim was begun, and may not have been done"
                return Verdict(False, "OutcomeUnknown", why, failed=True)
            return Verdict(True, "InSync", _trim_message(desired, observed))
        freeze, last = observed.seen.freeze, observed.seen.last
        if freeze is None:
            mine = last if last is not None and last.generation == observed.generation else None
            return Verdict(False, "LeaseEnded", _obituary(mine))
        now = fitting(observed.seen.mounts, desired.mounts)
        missing = [mount.path for mount in now if mount.device not in freeze.devices]
        count = len(freeze.devices)
        if missing:
            return Verdict(False, "MountedSince", f"mounted after the freeze: {', '.join(missing)}")
        message = f"{count} of {count} frozen"
        if desired.lease_s > observed.lease_s_max:
            message += f"; the guest's policy cut the lease to {observed.lease_s_max:g} s"
        message += f"; {freeze.note}" if freeze.note else ""
        return Verdict(True, "InSync", message)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        # The guardian tells by itself; this look is for the case that it can no longer.
        return observed.seen.freeze.until_s + 0.25 if observed.seen.freeze else None

    @staticmethod
    def show(observed: Observed) -> Json:
        seen = observed.seen
        frozen = seen.freeze.devices if seen.freeze else ()
        shown: dict[str, Json] = {
            "mounts": [show(mount, mount.device in frozen) for mount in one_of_each(seen.mounts)]
        }
        if seen.freeze:
            shown["freeze"] = {
                "epoch": seen.freeze.epoch,
                "generation": seen.freeze.generation,
                "until": round(seen.freeze.until_s, 3),
                "mounts": list(seen.freeze.mounts),
            }
        if seen.last:
            last = seen.last
            shown["lastFreeze"] = {"epoch": last.epoch, "generation": last.generation, "ended": last.ended}
            if last.message:
                shown["lastFreeze"]["message"] = last.message
        return shown | ({"lastTrim": dict(seen.trimmed)} if seen.trimmed else {})

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        notices = []
        last, freeze = after.seen.last, after.seen.freeze
        if last is not None and last != before.seen.last:
            notices.append(Notice(last.ended, f"freeze {last.epoch} is over{_because(last.message)}"))
        if freeze is not None and (before.seen.freeze is None or before.seen.freeze.epoch != freeze.epoch):
            notices.append(Notice("Frozen", f"freeze {freeze.epoch}: {', '.join(freeze.mounts)}"))
        return tuple(notices)

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        trimmed = desired.trim.mounts if desired.trim else ()
        return tuple(Touch("path", path) for path in (*desired.mounts, *trimmed))

    def act(self, action: Action) -> None:
        terms = action.value
        match action.verb:
            case "freeze":
                chosen = choose(self.driver.look().mounts, terms["mounts"])
                lease_s = min(terms["lease_s"], self.driver.lease_s_max)
                self.driver.freeze(terms["generation"], lease_s, chosen)
            case "thaw":
                self.driver.thaw()
            case "trim":
                chosen = fitting(self.driver.look().mounts, terms["mounts"])
                self.driver.trim(terms["token"], terms["minimum"], one_of_each(chosen))
            case "renew":
                self.renew(terms["generation"], terms["lease_s"])
            case verb:
                raise AssertionError(f"unplanned: {verb}")

    @staticmethod
    def foreseen_renewal(observed: Observed, generation: int, lease_s: float) -> Action:
        """The freeze to take the place of a rehearsed one that is renewed. Raises DriverError."""
        freeze = observed.seen.freeze
        if freeze is None or freeze.generation != generation:
            raise DriverError(f"cannot renew: no freeze of generation {generation} holds")
        until_s = observed.seen.boot_clock_s + min(lease_s, observed.lease_s_max)
        terms = {"generation": generation, "epoch": freeze.epoch, "until_s": until_s}
        return Action("freeze", _ALL, Phase.HOLD, value={**terms, "mounts": list(freeze.mounts)})

    def renew(self, generation: int, lease_s: float) -> dict[str, Json]:
        """Begin the lease anew, for {epoch, remaining}. Raises DriverError where no such freeze holds."""
        if lease_s < LEASE_S_MIN:
            raise DriverError(f"cannot renew: a lease lasts at least {LEASE_S_MIN:g} s")
        seen_s = self.driver.look().boot_clock_s
        epoch, until_s = self.driver.renew(generation, min(lease_s, self.driver.lease_s_max))
        return {"epoch": epoch, "remaining": round(until_s - seen_s, 3)}


def _is_kept(desired: Desired, observed: Observed, freeze: Freeze) -> bool:
    in_force = freeze.generation == observed.generation and observed.seen.boot_clock_s < freeze.until_s
    return desired.state == "frozen" and in_force and freeze.guarded


def _action(change: Change) -> Action:
    terms: Any = change.terms if isinstance(change, Due) else None
    if change.field == "trim":
        terms = {**terms, "token": change.want}
        return Action("trim", _ALL, token=f"trim@{change.want}", value=terms)
    if change.want == "frozen":
        return Action("freeze", _ALL, Phase.HOLD, f"freeze@{terms['generation']}", terms)
    return Action("thaw", _ALL, Phase.RELEASE)


def _foresee_freeze(observed: Observed, terms: Json) -> Observed:
    chosen = choose(observed.seen.mounts, terms["mounts"])
    freeze = Freeze(
        epoch=terms["epoch"],
        generation=terms["generation"],
        until_s=terms["until_s"],
        devices=tuple(mount.device for mount in chosen),
        mounts=tuple(mount.path for mount in chosen),
    )
    seen = replace(observed.seen, epoch=freeze.epoch, freeze=freeze)
    if seen.boot_clock_s >= freeze.until_s:
        seen = _let_go(seen, "LeaseEnded")
    before = observed.frozen_before or terms["generation"] == observed.generation
    return replace(observed, seen=seen, frozen_before=before)


def _let_go(seen: Seen, ended: str) -> Seen:
    if (freeze := seen.freeze) is None:
        return seen
    return replace(seen, freeze=None, last=PastFreeze(freeze.epoch, freeze.generation, ended))


def _obituary(last: PastFreeze | None) -> str:
    if last is None:
        return "the freeze of this document is spent"
    return f"freeze {last.epoch} is over ({last.ended}){_because(last.message)}"


def _because(message: str) -> str:
    return f": {message}" if message else ""


def _trim_message(desired: Desired, observed: Observed) -> str:
    trimmed = observed.seen.trimmed
    if desired.trim is None or trimmed.get("token") != desired.trim.token:
        return ""
    said = f"trimmed {sum(trimmed['trimmed'].values())} bytes"
    return said + "".join(f"; {path}: {why}" for path, why in sorted(trimmed.get("refused", {}).items()))
