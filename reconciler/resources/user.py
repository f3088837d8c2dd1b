"""User: one person, logged in at a seat with a credential that is used once, or logged out.

The rules of this kind:

1. A login is tried once for each change of the document, or for each token, and that is
   recorded first: a refused credential is never tried again, so no retry locks an account.
2. The credential opens no door. PAM judges it in a process of its own; then a door, which is
   a display manager's or a text console, lets the user in without asking again.
3. Who else has a session at the seat is locked first, or ended where the document says so.
   A session that cannot be locked keeps the seat.
4. Who logs out again is not fought, unless `enforce: always` says so for a user who needs
   no credential.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from reconciler.errors import DriverError, Fault, InvalidSpec, ReconcilerError, Terminal, Unsupported
from reconciler.resource import (
    Action,
    Change,
    Deed,
    Driver,
    Json,
    Past,
    Phase,
    Resource,
    Rules,
    Touch,
    Verdict,
)
from reconciler.secret import Secret, secret_field
from reconciler.subjects.seating import (
    DEADLINE_S,
    LATER,
    REFUSALS,
    Desired,
    Door,
    Entry,
    Login,
    Observed,
    door_for,
    in_front,
    in_the_way,
    login_of,
    logins_of,
    obstacle,
    token_of,
)

LOCK_S = 5.0  # a locker needs one or two seconds to draw, on a busy guest a few more
SESSION_S = 20.0  # from an open door to the session: one second, and ten in a guest that is just starting
DEADLINE_S_MAX = 30.0  # a login that waits for it has no more time: its credential is gone by then

TakeSecret = Callable[[], Secret]

_OF_A_LOGIN = ("credential", "door", "replace", "token", "tty")


@dataclass(frozen=True)
class Admission(Change):
    """A login that is to be done, and through which door."""

    door: Door | None = None
    token: str | None = None


class Way(Driver, Protocol):
    """What this kind asks of the OS: the ways in that one facility has, none for some guests."""

    name: ClassVar[str]  # `Door.way` of its doors

    def doors(self) -> tuple[Door, ...]:
        """As they are now. One that is out of order is shut; it costs no other."""

    def enter(self, entry: Entry) -> None:
        """Let the user in, whom PAM has already judged, without asking for anything.

        Returns once the door was opened; the session may follow. May wait some seconds for a
        door that is about to open, as that of a greeter after a session has ended. Raises
        DriverError or Unsupported only when nobody was let in.
        """


@runtime_checkable
class Logins(Protocol):
    """What one of the drivers can beside: tell who is there, and judge who may come."""

    def logins(self) -> tuple[Login, ...]: ...

    def trusted(self, user: str) -> bool:
        """Whether the guest's policy lets the user in without a credential."""

    def lock(self, session: str, within_s: float) -> bool:
        """Ask the session's locker, and wait; whether it has locked, or the session is gone."""

    def end(self, session: str, within_s: float) -> None:
        """End it politely, kill after `within_s` what is left, and return when it is gone."""

    def activate(self, session: str) -> None:
        """Bring it to its seat's foreground."""

    def await_login(self, user: str, seat: str, known: frozenset[str], within_s: float) -> str:
        """The user's first session at the seat that is not among the known; empty when none came."""

    def check(self, user: str, tty: str, take: TakeSecret | None) -> str:
        """What PAM says of the account and then, unless None, of the credential: `ok`, or why not.

        The reasons are those of this kind. `take` is called at most once, and only when the
        account may log in. Raises DriverError when PAM could not be asked at all and the
        credential was not taken.
        """


class SeatBusy(DriverError):
    """Somebody else is at the seat and cannot be locked; the condition bears this name."""


_NAME: Rules = {
    "type": "string",
    # Those that no shell, no program's arguments and no database of users takes for something else.
    "regex": r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*",
    "maxlength": 256,  # LOGIN_NAME_MAX
}


class User(Resource[Desired, Observed, Way], kind="user"):
    summary = "One person, logged in at a seat with a credential that is used once, or logged out."
    verbs = frozenset({"lock", "end", "login", "activate"})
    enforce = "once"
    several = True
    earliest = Phase.LEAVE
    act_deadline_s: ClassVar[float] = 75.0  # PAM 20 s, a door 20 s, its session 20 s, and some air
    short: ClassVar[Rules] = {
        "type": "string",
        "regex": r"[A-Za-z0-9_][A-Za-z0-9_.@+-]* logged-(?:in|out)",
        "maxlength": 256 + 11,
        "meta": {"expected": "a user's name with logged-in or logged-out: alice logged-in"},
    }
    rules: ClassVar[Rules] = {
        "name": {
            **_NAME,
            "required": True,
            "meta": {"description": "The user's name.", "expected": "a user's name such as alice"},
        },
        "state": {
            "type": "string",
            "allowed": ["logged-in", "logged-out"],
            "required": True,
            "meta": {"description": "What the user should be; logged-out ends the user's sessions."},
        },
        "credential": secret_field("The user's password. It is used once and never stored in the guest."),
        "seat": {
            "type": "string",
            "regex": r"seat[A-Za-z0-9_-]+",
            "maxlength": 255,  # a file's name in /run/systemd/seats
            "meta": {
                "description": "Where the user is to sit; with logged-out, where to end sessions.",
                "expected": "a seat such as seat0",
                "default": "seat0; with logged-out everywhere",
            },
        },
        "tty": {
            "type": "string",
            "regex": r"tty[1-9][0-9]?",
            "maxlength": 5,
            "meta": {
                "description": "The text console to log in on.",
                "expected": "a virtual console such as tty3",
                "default": "one that is free",
            },
        },
        "door": {
            "type": "string",
            "allowed": ["graphical", "console"],
            "excludes": "tty",
            "meta": {
                "description": "Which kind of session to open.",
                "default": "graphical where the seat has a display manager",
            },
        },
        "replace": {
            "type": "boolean",
            "meta": {
                "description": "End other people's sessions at the seat instead of locking them.",
                "default": False,
            },
        },
        "deadline": {
            "type": "duration",
            "min": 1,
            "max": DEADLINE_S_MAX,
            "meta": {
                "description": "How long a session may take to end before it is killed.",
                "default": "10s",
            },
        },
        "token": {
            "type": "token",
            "meta": {
                "description": "A word that was never used before: one login for each.",
                "default": "one login for each change of the document",
            },
        },
    }

    def __init__(self, driver: Sequence[Way]) -> None:
        super().__init__(driver)
        self._ways: Mapping[str, Way] = {way.name: way for way in driver}
        known = next((way for way in driver if isinstance(way, Logins)), None)
        if known is None:
            raise Unsupported("cannot do user: this guest has no logind")
        self._logins: Logins = known
        self._met = 0  # the generation in which the user was last seen logged in

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        name, state = short.split()
        return {"name": name, "state": state}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        entering = normal["state"] == "logged-in"
        faults = [
            Fault(0, 0, name, "goes only with state: logged-in")
            for name in _OF_A_LOGIN
            if name in normal and not entering
        ]
        if "deadline" in normal and entering and not normal.get("replace"):
            faults.append(Fault(0, 0, "deadline", "goes only with state: logged-out or replace: true"))
        always = normal.get("enforce") == "always"
        if always and ("credential" in normal or "token" in normal):
            faults.append(Fault(0, 0, "enforce", "always does not go with what is used once"))
        if faults:
            raise InvalidSpec(*faults)
        return Desired(
            name=normal["name"],
            state=normal["state"],
            credential="credential" in normal,
            seat=normal.get("seat", "seat0" if entering else ""),
            tty=normal.get("tty", ""),
            door=normal.get("door", ""),
            replace=normal.get("replace", False),
            deadline_s=normal.get("deadline", DEADLINE_S),
            token=normal.get("token", ""),
            always=always,
        )

    def observe(self, desired: Desired, past: Past) -> Observed:
        if desired.state is None:
            return Observed()
        logins = self._logins.logins()
        entering = desired.state == "logged-in"
        observed = Observed(
            generation=past.generation,
            deeds=past.deeds,
            logins=logins,
            doors=tuple(door for way in self._ways.values() for door in way.doors()) if entering else (),
            secret=desired.credential and (past.preview or self.secrets.has("credential")),
            trusted=entering and self._logins.trusted(desired.name),
            met=self._met == past.generation,
        )
        if entering and not past.preview and login_of(desired, observed):
            self._met = past.generation
        return observed

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        if desired.state == "logged-out":
            theirs = logins_of(desired, observed)
            return tuple(Change(login.id, "state", "ended", "logged in") for login in theirs)
        if desired.state is None or in_front(desired, observed) or obstacle(desired, observed):
            return ()
        change = "ended" if desired.replace else "locked"
        cleared = tuple(Change(o.id, "state", change, str(o)) for o in in_the_way(desired, observed))
        here = login_of(desired, observed)
        if here:
            return (*cleared, Change(here.id, "active", want=True, have=False))
        token = None if desired.always else token_of(desired, observed)
        door = door_for(desired, observed)
        return (*cleared, Admission(desired.name, "state", "logged-in", "logged out", door, token))

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(_action(desired, change) for change in changes)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        others = tuple(login for login in observed.logins if login.id != action.target)
        if action.verb == "end":
            return replace(observed, logins=others)
        if action.verb == "login":
            door = Door(**action.value["door"])
            kind = "wayland" if door.graphical else "tty"
            found = Login(id="new", user=action.target, seat=door.seat, tty=door.tty, type=kind)
            if action.token is not None:
                deed = Deed("done", "", observed.generation)
                observed = replace(observed, deeds={**observed.deeds, action.token: deed})
        else:
            found = next(login for login in observed.logins if login.id == action.target)
        if action.verb == "lock":
            return replace(observed, logins=(*others, replace(found, locked=True)))
        behind = (replace(login, active=login.active and login.seat != found.seat) for login in others)
        return replace(observed, logins=(*behind, replace(found, active=True)))

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if desired.state is None:
            return Verdict(True, "InSync")
        if desired.state == "logged-out":
            theirs = ", ".join(str(login) for login in logins_of(desired, observed)[:3])
            return Verdict(not theirs, "Drifted" if theirs else "InSync", theirs or f"{desired.name} is out")
        front = in_front(desired, observed)
        if front:
            return Verdict(True, "InSync", str(front))
        if changes:
            here = login_of(desired, observed)
            what = f"{here} is in the background" if here else f"{desired.name} is not at {desired.seat}"
            return Verdict(False, "Drifted", what)
        return obstacle(desired, observed) or Verdict(True, "InSync")

    @staticmethod
    def show(observed: Observed) -> Json:
        doors: dict[str, dict[str, str]] = {}
        for door in sorted(observed.doors, key=lambda door: not door.shut):
            doors.setdefault(door.seat, {})[door.way] = door.shut or "open"  # the open ones come last
        logins = {login.id: _shown(login) for login in observed.logins}
        return ({"loggedIn": logins} if logins else {}) | ({"doors": doors} if doors else {})

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        return (Touch("user", desired.name),) if desired.name else ()

    def act(self, action: Action) -> None:
        logins = self._logins
        if action.verb == "lock":
            if not logins.lock(action.target, LOCK_S):
                raise SeatBusy(f"cannot give the seat away: {action.value} has not locked")
        elif action.verb == "end":
            logins.end(action.target, action.value)
        elif action.verb == "activate":
            logins.activate(action.target)
        else:
            self._login(action)

    def _login(self, action: Action) -> None:
        user, terms = action.target, action.value
        door = Door(**terms["door"])
        credential = partial(self.secrets.take, "credential") if terms["credential"] else None
        known = frozenset(login.id for login in self._logins.logins())
        answer = self._logins.check(user, door.tty, credential)
        if answer != "ok":
            raise _refusal(user, answer)
        try:
            self._ways[door.way].enter(Entry(user, door))
            session = self._logins.await_login(user, door.seat, known, SESSION_S)
            if not session:
                raise DriverError(f"cannot log in {user}: {door.way} opened no session in {SESSION_S:g} s")
            self._logins.activate(session)
        except ReconcilerError as error:
            if credential is None:
                raise  # nothing was used up, so a later pass may try again
            raise _refusal(user, "NoSession", str(error)) from error


def _refusal(user: str, answer: str, detail: str = "") -> ReconcilerError:
    """An error whose class has the answer's name, as a condition's reason is its error's class."""
    base, words = (DriverError, LATER[answer]) if answer in LATER else (Terminal, REFUSALS[answer])
    more = f" ({detail})" if detail else ""
    error: ReconcilerError = type(answer, (base,), {})(f"cannot log in {user}: {words}{more}")
    return error


def _action(desired: Desired, change: Change) -> Action:
    if isinstance(change, Admission):
        assert change.door is not None
        terms: dict[str, Json] = {"door": dict(vars(change.door)), "credential": desired.credential}
        return Action("login", change.target, Phase.ENTER, change.token, terms)
    if change.field == "active":
        return Action("activate", change.target, Phase.ENTER)
    if change.want == "ended":
        return Action("end", change.target, Phase.LEAVE, value=desired.deadline_s)
    return Action("lock", change.target, Phase.LEAVE, value=change.have)


def _shown(login: Login) -> dict[str, Json]:
    texts = {"user": login.user, "seat": login.seat, "tty": login.tty, "type": login.type}
    facts = {"active": login.active, "locked": login.locked}
    return {key: text for key, text in texts.items() if text} | facts
