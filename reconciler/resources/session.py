"""Session: the people at the guest's screens, locked, unlocked or sent away.

The rules of this kind:

1. Only people's sessions are meant, not greeters, background jobs or closing sessions.
   To lock or unlock reaches for those with a screen: an SSH login has none.
2. logind only passes on a wish to lock. Whether a locker heard it is seen by its hint,
   and an answer that does not come is said: `NotConfirmed`.
3. Nobody is fought: a session that was asked in this generation is not asked again,
   unless `lockedUntil` or `enforce: always` insists.
4. Without these a state is meant for the sessions that are there when the document comes
   to say it: whom the same document lets in, it does not lock out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from reconciler.errors import DriverError, Fault, InvalidSpec
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
from reconciler.subjects.listing import first_few
from reconciler.subjects.logins import Login, Station
from reconciler.subjects.refusals import Refusals
from reconciler.subjects.timestamps import epoch_s

State = Literal["locked", "unlocked", "ended"]

CONFIRM_S = 10.0  # a locker needs one or two seconds to draw, on a busy guest a few more
INSIST_S = 60.0  # between two wishes to one session that does not answer; rare enough to cost nothing
SHOWN_MAX = 256  # beyond that it is a terminal server, whose status would be a megabyte
_NAMED_MAX = 3  # in one message; all of them stand in what is observed
_VERBS = {"locked": "lock", "unlocked": "unlock", "ended": "end"}


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Empty filters match every session."""

    state: State | None = None  # None: not managed
    user: str = ""
    seat: str = ""
    id: str = ""
    locked_until: str = ""  # RFC 3339 in UTC, to the second; empty: does not insist
    always: bool = False  # enforce: always


@dataclass(frozen=True)
class Ask:
    """What was last asked of a session."""

    verb: str
    asked_s: float  # on the boot clock
    generation: int
    answered: bool = False  # it came to be, whatever its user did since


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Who is logged in, and what this generation has asked of each."""

    boot_clock_s: float
    now: str  # RFC 3339 in UTC, to the second
    began_s: float = 0.0  # CLOCK_MONOTONIC when the document came to say it; 0.0: in another boot
    sessions: tuple[Login, ...] = ()
    station: Station = field(default_factory=Station)
    refused: Collection[str] = ()  # sessions that logind would not ask: they come last
    asks: Mapping[str, Ask] = field(default_factory=dict)  # by session, of this generation
    pending: Mapping[str, str] = field(default_factory=dict)  # verbs of earlier ones, still to be answered


class Sessions(Driver, Protocol):
    """What this kind asks of the OS."""

    def clocks(self) -> tuple[float, str]:
        """CLOCK_BOOTTIME in seconds, and the wall clock as RFC 3339 in UTC, to the second."""

    def sessions(self) -> tuple[Login, ...]:
        """Every login session, with `forbidden` where the policy says so of its user."""

    def station(self) -> Station:
        """Possibly as of a few seconds ago; `again_s` then says when to look."""

    def lock(self, session: str) -> None:
        """Ask the session's locker; returns before it has answered."""

    def unlock(self, session: str) -> None:
        """Ask the session's locker; returns before it has answered."""

    def end(self, session: str) -> None:
        """Kill the session's processes, politely first. A session that is gone is no error."""


def _filter(description: str, expected: str) -> Rules:
    return {
        "type": "string",
        "regex": r"[^\x00-\x20/:\x7f]+",
        "maxlength": 256,  # LOGIN_NAME_MAX; seats and sessions have shorter names
        "meta": {"description": description, "expected": expected, "default": "all of them"},
    }


class Session(Resource[Desired, Observed, Sessions], kind="session"):
    summary = "The people at the guest's screens: locked, unlocked or sent away."
    verbs = frozenset({"lock", "unlock", "end"})
    enforce = "once"
    awaited = True
    short: ClassVar[Rules] = {"type": "string", "allowed": list(_VERBS)}
    rules: ClassVar[Rules] = {
        "state": {
            "type": "string",
            "allowed": list(_VERBS),
            "required": True,
            "meta": {"description": "What sessions should be; ended kills all that runs in them."},
        },
        "user": _filter("Only this user's sessions.", "a user's name such as alice"),
        "seat": _filter("Only sessions at this seat.", "a seat such as seat0"),
        "id": _filter("Only this session.", "a session's id such as c2"),
        "lockedUntil": {
            "type": "timestamp",
            "meta": {
                "description": "Until then, whoever unlocks or logs in is locked again.",
                "default": "who was locked once is free to unlock",
            },
        },
    }

    def __init__(self, driver: Sessions) -> None:
        super().__init__(driver)
        self._generation = 0
        self._asks: dict[str, Ask] = {}
        self._refusals = Refusals[str]()

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"state": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        if "lockedUntil" in normal and normal["state"] != "locked":
            raise InvalidSpec(Fault(0, 0, "lockedUntil", "goes only with state: locked"))
        return Desired(
            state=normal["state"],
            user=normal.get("user", ""),
            seat=normal.get("seat", ""),
            id=normal.get("id", ""),
            locked_until=normal.get("lockedUntil", ""),
            always=normal.get("enforce") == "always",
        )

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: Sessions = self.driver
        sessions = driver.sessions()
        boot_clock_s, now = driver.clocks()
        if not past.preview:  # an act may follow, on behalf of the document in force
            self._generation = past.generation
        self._asks = {s.id: self._asks[s.id] for s in sessions if s.id in self._asks}
        for login in sessions:
            ask = self._asks.get(login.id)
            if ask and ask.verb == ("lock" if login.locked else "unlock"):
                self._asks[login.id] = replace(ask, answered=True)
        asks = {id: ask for id, ask in self._asks.items() if ask.generation == past.generation}
        pending = {
            id: ask.verb
            for id, ask in self._asks.items()
            if id not in asks and not ask.answered and boot_clock_s < ask.asked_s + CONFIRM_S
        }
        return Observed(
            boot_clock_s=boot_clock_s,
            now=now,
            began_s=past.began_s,
            sessions=sessions,
            refused=self._refusals.standing(past).keys(),
            station=driver.station(),
            asks=asks,
            pending=pending,
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        return tuple(
            Change(login.id, "state", desired.state, _state(login))
            for login in sorted(_wrong(desired, observed), key=lambda login: login.id in observed.refused)
            if _may_ask(desired, observed, login)
        )

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        phase = Phase.RELEASE if desired.state == "unlocked" else Phase.LEAVE
        return tuple(Action(_VERBS[str(change.want)], change.target, phase) for change in changes)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        others = tuple(login for login in observed.sessions if login.id != action.target)
        if action.verb == "end":
            return replace(observed, sessions=others)
        locked = action.verb == "lock"
        return replace(
            observed,
            pending={id: verb for id, verb in observed.pending.items() if id != action.target},
            sessions=tuple(
                replace(login, locked=locked) if login.id == action.target else login
                for login in observed.sessions
            ),
        )

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        targets, wrong = _targets(desired, observed), _wrong(desired, observed)
        if not wrong:
            if desired.locked_until and not _insists(desired, observed):
                return Verdict(True, "Elapsed", f"the lock was asked for until {desired.locked_until}")
            count = {0: "no session", 1: "1 session"}.get(len(targets), f"{len(targets)} sessions")
            if kept := {login.id for login in targets if _state(login) != desired.state}:
                words = _said("the guest's policy forbids (forbid.users)", targets, kept)
                return Verdict(False, "Forbidden", words, failed=True)
            text = f"{count} {desired.state}" if targets else count
            return Verdict(True, "InSync", text + _came_since(desired, observed))
        if changes:
            asked = {change.target for change in changes}
            return Verdict(False, "Drifted", _said(f"not {desired.state}", wrong, asked))
        silent = {login.id for login in wrong if not observed.asks[login.id].answered}
        if any(observed.boot_clock_s < observed.asks[id].asked_s + CONFIRM_S for id in silent):
            return Verdict(False, "Asked", _said("asked, no answer yet", wrong, silent), waiting=True)
        if silent:
            return Verdict(False, "NotConfirmed", _said("asked, and no locker answered", wrong, silent))
        changed = {login.id for login in wrong}
        return Verdict(False, "Drifted", _said(f"{desired.state} before, and changed since", wrong, changed))

    @staticmethod
    def insists(desired: Desired, observed: Observed) -> bool:
        return _insists(desired, observed)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        now_s, times = observed.boot_clock_s, [observed.station.again_s]
        for login in _wrong(desired, observed):
            ask = observed.asks.get(login.id)
            if ask:
                times += [ask.asked_s + CONFIRM_S]
                times += [ask.asked_s + INSIST_S] if desired.always or _insists(desired, observed) else []
        if _insists(desired, observed):
            times.append(now_s + epoch_s(desired.locked_until) - epoch_s(observed.now))
        return min((time_s for time_s in times if time_s > now_s), default=None)

    @staticmethod
    def show(observed: Observed) -> Json:
        station = observed.station
        shown: dict[str, Json] = {"lidClosed": station.lid_closed, "docked": station.docked}
        shown["externalPower"] = station.mains
        shown |= {"idleSince": station.idle_since} if station.idle_since else {}
        people_first = sorted(observed.sessions, key=lambda login: not login.personal)
        left_out = len(people_first[SHOWN_MAX:])
        shown |= {"leftOut": left_out} if left_out else {}
        return shown | {"sessions": {login.id: _shown(login) for login in people_first[:SHOWN_MAX]}}

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        old = {login.id: login for login in before.sessions if login.personal}
        new = {login.id: login for login in after.sessions if login.personal}
        out = [Notice("SessionClosed", str(old[id])) for id in old if id not in new]
        out += [Notice("SessionOpened", str(new[id])) for id in new if id not in old]
        for id in new:
            if id in old and old[id].locked is not new[id].locked:
                out.append(Notice("SessionLocked" if new[id].locked else "SessionUnlocked", str(new[id])))
        return tuple(out)

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        return (Touch("user", desired.user),) if desired.user else ()

    def act(self, action: Action) -> None:
        driver: Sessions = self.driver
        verbs = {"lock": driver.lock, "unlock": driver.unlock, "end": driver.end}
        try:
            verbs[action.verb](action.target)
        except DriverError as error:
            self._refusals.note(action.target, str(error))
            raise
        self._asks[action.target] = Ask(action.verb, driver.clocks()[0], self._generation)


def _insists(desired: Desired, observed: Observed) -> bool:
    # Both are UTC to the second in one format, so they compare as text.
    return observed.now < desired.locked_until


def _targets(desired: Desired, observed: Observed) -> list[Login]:
    """Those whom the document means; later ones only where it insists."""
    matching = _matching(desired, observed)
    if desired.always or _insists(desired, observed):
        return matching
    return [login for login in matching if login.since_s <= observed.began_s]


def _came_since(desired: Desired, observed: Observed) -> str:
    """A remark on who is as the document does not say, and is not meant."""
    targets = _targets(desired, observed)
    others = [login for login in _matching(desired, observed) if login not in targets]
    names = [str(login) for login in others if _state(login) != desired.state]
    return f"; {first_few(names, _NAMED_MAX)} came since" if names else ""


def _matching(desired: Desired, observed: Observed) -> list[Login]:
    if desired.state is None or (desired.locked_until and not _insists(desired, observed)):
        return []
    return [
        login
        for login in observed.sessions
        if login.personal
        and (login.lockable or desired.state == "ended" or bool(desired.id))
        and desired.user in ("", login.user)
        and desired.seat in ("", login.seat)
        and desired.id in ("", login.id)
    ]


def _state(login: Login) -> State:
    return "locked" if login.locked else "unlocked"


def _wrong(desired: Desired, observed: Observed) -> list[Login]:
    """Those not as desired, and those that a late answer to an earlier document would make so."""
    want = _VERBS.get(str(desired.state))
    return [
        login
        for login in _targets(desired, observed)
        if (_state(login) != desired.state or observed.pending.get(login.id, want) != want)
        and not login.forbidden
    ]


def _may_ask(desired: Desired, observed: Observed, login: Login) -> bool:
    ask = observed.asks.get(login.id)
    if ask is None or ask.verb != _VERBS[str(desired.state)]:
        return True
    waited_s = observed.boot_clock_s - ask.asked_s
    if desired.state == "ended":
        return waited_s >= CONFIRM_S
    return (desired.always or _insists(desired, observed)) and (ask.answered or waited_s >= INSIST_S)


def _said(what: str, logins: Sequence[Login], ids: Collection[str]) -> str:
    return f"{what}: {first_few((str(login) for login in logins if login.id in ids), _NAMED_MAX)}"


def _shown(login: Login) -> dict[str, Json]:
    texts = {
        "user": login.user,
        "seat": login.seat,
        "tty": login.tty,
        "display": login.display,
        "type": login.type,
        "class": login.group,
        "state": login.state,
        "remoteHost": login.host,
        "service": login.service,
        "scope": login.scope,
        "since": login.since,
        "idleSince": login.idle_since,
    }
    facts = {"uid": login.uid, "active": login.active, "remote": login.remote, "locked": login.locked}
    return {key: text for key, text in texts.items() if text} | facts
