"""Who sits where in a guest, who may be let in, and through which door; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.resource import Deed, Verdict

State = Literal["logged-in", "logged-out"]

DEADLINE_S = 10.0  # for programs to save what is open
# What PAM, or a door, answered for good. Each is a condition's reason, and the deed's.
REFUSALS: Mapping[str, str] = {
    "WrongPassword": "the password is wrong",
    "AccountLocked": "the account is locked",
    "AccountExpired": "the account has expired",
    "PasswordExpired": "the password has expired and must be changed",
    "UnknownUser": "the guest has no such user",
    "NoShell": "the account has no shell to log in with",
    "AccessDenied": "the guest's PAM rules deny it",
    "MoreAsked": "PAM asks for more than a password",
    "NotJudged": "PAM could not judge the credential",
    "NoSession": "PAM agreed, and no session came of it",
}
# What may be otherwise in a while; the credential was not looked at.
LATER: Mapping[str, str] = {"LoginsDisabled": "logins are disabled; see nologin(5)"}
# Why an act was surely not done, and may be done again. A reason that is not known is final.
_PASSING = (*LATER, "SeatBusy", "DriverError", "BusError", "NoAnswer", "Unsupported")


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Who should be logged in or out, and how to get there."""

    name: str = ""
    state: State | None = None  # None: not managed
    credential: bool = False  # the document names one
    seat: str = ""  # empty, for logged-out only: wherever
    tty: str = ""  # empty: any
    door: str = ""  # graphical, console, or empty: graphical where there is one
    replace: bool = False
    deadline_s: float = DEADLINE_S
    token: str = ""
    always: bool = False  # enforce: always


@dataclass(frozen=True, kw_only=True)
class Login:
    """One person's session, in logind's words; see org.freedesktop.login1(5)."""

    id: str
    user: str
    seat: str = ""
    tty: str = ""
    type: str = "tty"
    active: bool = False  # in the seat's foreground
    locked: bool = False
    forbidden: bool = False  # the guest's policy keeps its user from us

    def __str__(self) -> str:
        place = f"{self.seat} {self.tty}".strip() or self.type
        return f"{self.id} ({self.user}, {place})"


@dataclass(frozen=True, kw_only=True)
class Door:
    """A place where somebody can be let in."""

    way: str  # the name of its driver's
    seat: str
    tty: str = ""  # of a console; empty where its program finds one
    graphical: bool = False
    prompt: bool = False  # a login prompt waits there, and is put away for it
    shut: str = ""  # why nobody can be let in; empty: open
    opening: bool = False  # shut, but not for long: worth waiting for


@dataclass(frozen=True)
class Entry:
    """Whom a door is to let in."""

    user: str
    door: Door


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Who is there, which doors there are, and what was tried already."""

    generation: int = 0
    deeds: Mapping[str, Deed] = field(default_factory=dict)  # by token
    logins: tuple[Login, ...] = ()  # of people, not greeters; none that is closing
    doors: tuple[Door, ...] = ()
    secret: bool = False  # the credential is at hand
    judged: bool = False  # PAM has just agreed to this login
    trusted: bool = False  # the guest's policy lets this user in without one
    met: bool = False  # the user was logged in before, in this generation
    now_s: float = 0.0  # boot clock
    again_s: float = 0.0  # when who is kept logged in may be let in again: boot clock


def logins_of(desired: Desired, observed: Observed) -> list[Login]:
    return [
        login
        for login in observed.logins
        if login.user == desired.name and desired.seat in ("", login.seat) and not login.forbidden
    ]


def login_of(desired: Desired, observed: Observed) -> Login | None:
    """The user's session at the seat; the one in front where there are several."""
    found = [login for login in logins_of(desired, observed) if desired.tty in ("", login.tty)]
    if desired.door:
        found = [login for login in found if (login.type == "tty") is (desired.door == "console")]
    return max(found, key=lambda login: login.active, default=None)


def in_front(desired: Desired, observed: Observed) -> Login | None:
    found = login_of(desired, observed)
    return found if found and found.active else None


def _others(desired: Desired, observed: Observed) -> list[Login]:
    return [o for o in observed.logins if o.seat == desired.seat and o.user != desired.name]


def in_the_way(desired: Desired, observed: Observed) -> list[Login]:
    """Those to lock or to end before the user gets the screen."""
    return [other for other in _others(desired, observed) if desired.replace or not other.locked]


def token_of(act: str, desired: Desired, observed: Observed) -> str:
    """The name of an act that is done once: of judging the credential, or of the login itself."""
    return f"{act}:{desired.token}" if desired.token else f"{act}@{observed.generation}"


def door_for(desired: Desired, observed: Observed) -> Door | None:
    """The door to take, which may be shut: one that is open or about to, and rather a graphical one."""
    fitting = [
        door
        for door in observed.doors
        if door.seat == desired.seat
        and desired.tty in ("", door.tty)
        and desired.door in ("", "graphical" if door.graphical else "console")
    ]
    return min(fitting, key=_rank, default=None)


def _rank(door: Door) -> tuple[bool, ...]:
    return bool(door.shut) and not door.opening, not door.graphical, bool(door.shut), door.prompt


def due_s(desired: Desired, observed: Observed) -> float | None:
    """When who is kept logged in may be let in again, if that is all that is waited for: boot clock."""
    resting = desired.always and observed.now_s < observed.again_s
    return observed.again_s if resting and not login_of(desired, observed) else None


def obstacle(desired: Desired, observed: Observed) -> Verdict | None:
    """Why the user is not let in, or not brought to the front; None where nothing is in the way."""
    user = desired.name
    blockers = [other for other in in_the_way(desired, observed) if other.forbidden]
    if blockers:
        why = f"{blockers[0]} must not be touched: the guest's policy forbids it (forbid.users)"
        return Verdict(False, "SeatBusy", why, failed=True)
    if login_of(desired, observed):
        return None
    tried = _tried(desired, observed)
    if tried:
        return tried
    if due_s(desired, observed) is not None:
        return Verdict(
            False, "LoggedOut", f"{user} has left soon, and is let in again in a while", waiting=True
        )
    if observed.met and not desired.always:
        return Verdict(False, "LoggedOut", f"{user} was logged in before, and is not since")
    if not desired.credential and not observed.trusted:
        why = f"{user} needs a credential: the guest's policy does not let that user in without one"
        return Verdict(False, "CredentialNeeded", f"{why} (allow-passwordless-login)", failed=True)
    shut = _shut(desired, observed)
    if shut and shut.failed:
        return shut
    spent = _is_judged(desired, observed) or not observed.secret
    if desired.credential and spent and not observed.judged:
        return Verdict(False, "SecretMissing", _gone(desired, observed, shut), failed=True)
    return shut


def _deeds(desired: Desired, observed: Observed) -> list[Deed]:
    """What is known of this very login, the last first: of the login itself, and of the judgement."""
    tokens = (token_of(act, desired, observed) for act in ("login", "judge"))
    return [observed.deeds[token] for token in tokens if token in observed.deeds and not desired.always]


def _is_judged(desired: Desired, observed: Observed) -> bool:
    """Whether PAM was asked for this very login: not to be done again with a credential given anew."""
    deed = observed.deeds.get(token_of("judge", desired, observed))
    return deed is not None and deed.state == "done"


def _tried(desired: Desired, observed: Observed) -> Verdict | None:
    """What became of a login that must not be tried again."""
    for deed in _deeds(desired, observed):
        if deed.state == "refused" and deed.reason not in _PASSING:
            return Verdict(False, deed.reason or "OutcomeUnknown", deed.message, failed=True)
        if deed.state == "begun":
            why = f"a login of {desired.name} was begun, and whether it was done is not known"
            return Verdict(False, "OutcomeUnknown", why, failed=True)
    done = observed.deeds.get(token_of("login", desired, observed))
    if desired.always or done is None or done.state != "done":
        return None
    why = f"{desired.name} was logged in by generation {done.generation}, and is not since"
    return Verdict(False, "LoggedOut", why)


def _gone(desired: Desired, observed: Observed, shut: Verdict | None) -> str:
    """That the credential is gone, and what the login was waiting for meanwhile."""
    deeds, waiting = _deeds(desired, observed), in_the_way(desired, observed)
    why = ""
    if any(deed.state == "done" for deed in deeds) and waiting:
        why = f"{waiting[0]} has not {'ended' if desired.replace else 'locked'}"
    elif any(deed.message for deed in deeds):
        why = next(deed.message for deed in deeds if deed.message)
    elif shut:
        why = shut.message
    gone = f"the credential of {desired.name} is used or too old"
    anew = desired.token and _is_judged(desired, observed)
    advice = f"write another token than {desired.token}" if anew else "apply the document again"
    return f"{gone}{f' ({why})' if why else ''}: {advice}"


def _shut(desired: Desired, observed: Observed) -> Verdict | None:
    door = door_for(desired, observed)
    if door is None:
        what = desired.tty or f"{desired.door} door".strip()
        return Verdict(False, "NoDoor", f"there is no {what} at {desired.seat}", failed=True)
    if not door.shut:
        return None
    holder = next((o for o in _others(desired, observed) if door.tty and o.tty == door.tty), None)
    if holder and desired.replace:
        return None  # it opens once that session has ended
    if holder:
        return Verdict(False, "SeatBusy", f"{holder} is there, and {door.shut}", failed=True)
    why = f"{door.way} at {door.seat}: {door.shut}"
    return Verdict(False, "DoorShut", why, waiting=door.opening, failed=not door.opening)
