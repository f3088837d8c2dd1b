"""User: one person, logged in at a seat with a credential that is used once, or logged out.

The rules of this kind:

1. A login is tried once for each change of the document, or for each token, and that is
   recorded first: a refused credential is never tried again, so no retry locks an account.
2. The credential opens no door. PAM judges it in a process of its own; then a door, which is
   a display manager's or a text console, lets the user in without asking again.
3. PAM is asked before anything else happens: who may not come in costs nobody a session.
4. Who else has a session at the seat is then locked, or ended where the document says so.
   A session that cannot be locked keeps the seat, and PAM's consent expires in seconds.
5. Who logs out again is not fought, unless `enforce: always` says so for a user who needs
   no credential.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from reconciler.errors import DriverError, Fault, InvalidSpec, ReconcilerError, Unsupported
from reconciler.resource import (
    Action,
    Change,
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
from reconciler.subjects import admission, seating
from reconciler.subjects.seating import (
    DEADLINE_S,
    LATER,
    REFUSALS,
    Desired,
    Door,
    Entry,
    Login,
    Observed,
    in_front,
    login_of,
    logins_of,
    obstacle,
)

LOCK_S = 5.0  # a locker needs one or two seconds to draw, on a busy guest a few more
SESSION_S = 20.0  # from an open door to the session: one second, and ten in a guest that is just starting
DEADLINE_S_MAX = 60.0  # ends within the time of an act, and nobody waits longer for a seat
AGREED_S = 30.0  # of PAM's consent: for lockers, which need a second or two, and a few more tries
REST_S = 30.0  # between logins of who is kept logged in: a session that fails at once is no busy loop

TakeSecret = Callable[[], Secret]

_OF_A_LOGIN = ("credential", "door", "replace", "token", "tty")


@dataclass(frozen=True)
class Consent:
    """PAM's, to one login of one user; in memory alone, used once, and soon over."""

    user: str
    generation: int
    until_s: float  # boot clock


class Facility(Driver, Protocol):
    """What this kind asks of the OS: one facility of a guest, which is a Way, or knows the Logins."""


@runtime_checkable
class Way(Protocol):
    """The ways in that one facility has, none for some guests."""

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
    """Who is there, and who may come."""

    def now_s(self) -> float:
        """The boot clock."""

    def logins(self, user: str) -> tuple[Login, ...]:
        """The user's and those at seats, and of all others as many as there is room for."""

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


class User(Resource[Desired, Observed, Facility], kind="user"):
    summary = "One person, logged in at a seat with a credential that is used once, or logged out."
    verbs = frozenset({"judge", "lock", "end", "login", "activate"})
    enforce = "once"
    several = True
    earliest = Phase.LEAVE
    act_deadline_s: ClassVar[float] = 115.0  # a session that ends 65 s, a door and its session 100 s
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
                "description": "Where to log in, and only seat0 has doors; or where to end sessions.",
                "expected": "a seat such as seat0",
                "default": "seat0; with logged-out everywhere",
            },
        },
        "tty": {
            "type": "string",
            "regex": r"tty([1-9]|1[0-2])",  # those that a keyboard reaches
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

    def __init__(self, driver: Sequence[Facility]) -> None:
        super().__init__(driver)
        self._ways: Mapping[str, Way] = {way.name: way for way in driver if isinstance(way, Way)}
        known = next((facility for facility in driver if isinstance(facility, Logins)), None)
        if known is None:
            raise Unsupported("cannot do user: this guest has no logind")
        self._logins: Logins = known
        self._met = 0  # the generation in which the user was last seen logged in
        self._consent: Consent | None = None
        self._again_s = 0.0  # before which nobody is let in again who is kept logged in

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
        logins = self._logins
        entering = desired.state == "logged-in"
        observed = Observed(
            generation=past.generation,
            deeds=past.deeds,
            logins=logins.logins(desired.name),
            secret=desired.credential and (past.preview or self.secrets.has("credential")),
            judged=self._consents(desired.name, past.generation),
            trusted=entering and logins.trusted(desired.name),
            met=self._met == past.generation,
            now_s=logins.now_s(),
            again_s=self._again_s,
        )
        if entering and not login_of(desired, observed):
            return replace(observed, doors=tuple(door for way in self._ways.values() for door in way.doors()))
        if entering and not past.preview:
            self._met = past.generation
        return observed

    def _consents(self, user: str, generation: int) -> bool:
        given = self._consent
        return (
            given is not None
            and (given.user, given.generation) == (user, generation)
            and self._logins.now_s() < given.until_s
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        return admission.missing(desired, observed)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(admission.action_for(desired, change) for change in changes)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        return admission.after(observed, action)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        return seating.due_s(desired, observed)

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
        if action.verb == "judge":
            self._judge(action)
        elif action.verb == "lock":
            if not logins.lock(action.target, LOCK_S):
                raise SeatBusy(f"cannot give the seat away: {action.value} has not locked")
        elif action.verb == "end":
            self._end(action)
        elif action.verb == "activate":
            logins.activate(action.target)
        else:
            self._login(action)

    def _judge(self, action: Action) -> None:
        user, terms = action.target, action.value
        self._consent = None
        credential = partial(self.secrets.take, "credential") if terms["credential"] else None
        answer = self._logins.check(user, terms["tty"], credential)
        if answer != "ok":
            raise admission.refusal(user, answer if answer in {**REFUSALS, **LATER} else "NotJudged")
        self._consent = Consent(user, terms["generation"], self._logins.now_s() + AGREED_S)

    def _end(self, action: Action) -> None:
        began_s = self._logins.now_s()
        self._logins.end(action.target, action.value)
        if self._consent:  # it is the document that has it wait
            lasted_s = self._logins.now_s() - began_s
            self._consent = replace(self._consent, until_s=self._consent.until_s + lasted_s)

    def _login(self, action: Action) -> None:
        user, terms = action.target, action.value
        door = Door(**terms["door"])
        present = self._logins.logins(user)
        for other in present:
            # Meanwhile somebody may have unlocked, or come.
            if other.seat == door.seat and other.user != user and (terms["replace"] or not other.locked):
                raise SeatBusy(f"cannot give the seat away: {other} is there, and not locked")
        if not self._consents(user, terms["generation"]):
            raise DriverError(f"cannot log in {user}: what PAM has said is too old by now")
        self._consent = None
        if terms["always"]:
            self._again_s = self._logins.now_s() + REST_S
        try:
            self._ways[door.way].enter(Entry(user, door))
            known = frozenset(login.id for login in present)
            session = self._logins.await_login(user, door.seat, known, SESSION_S)
            if not session:
                raise DriverError(f"cannot log in {user}: {door.way} opened no session in {SESSION_S:g} s")
            self._logins.activate(session)
        except ReconcilerError as error:
            if not terms["credential"]:
                raise  # nothing was used up, so a later pass may try again
            raise admission.refusal(user, "NoSession", str(error)) from error


def _shown(login: Login) -> dict[str, Json]:
    texts = {"user": login.user, "seat": login.seat, "tty": login.tty, "type": login.type}
    facts = {"active": login.active, "locked": login.locked}
    return {key: text for key, text in texts.items() if text} | facts
