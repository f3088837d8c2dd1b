"""How somebody is let in, step by step: what is missing, and what is done about it; pure.

1. Judge: PAM is asked first, so who is not let in costs nobody else a session or a lock.
2. Clear the seat: who else is there is locked, or ended where the document says so.
3. Log in, on what PAM has said; or bring to the front who is there already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.errors import DriverError, ReconcilerError, Terminal
from reconciler.resource import Action, Change, Deed, Json, Phase
from reconciler.subjects.seating import (
    LATER,
    REFUSALS,
    Desired,
    Door,
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


@dataclass(frozen=True)
class Admission(Change):
    """A judgement or a login that is to be done, and through which door."""

    door: Door | None = None
    token: str | None = None
    generation: int = 0  # whose login it is


def missing(desired: Desired, observed: Observed) -> tuple[Change, ...]:
    """In the order in which it is to be brought about; nothing where something is in the way."""
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
    user, door, generation = desired.name, door_for(desired, observed), observed.generation
    once = {act: None if desired.always else token_of(act, desired, observed) for act in ("judge", "login")}
    login = Admission(user, "state", "logged-in", "logged out", door, once["login"], generation)
    if desired.credential and observed.judged:
        return (*cleared, login)
    # An account alone may be judged as often as one likes.
    token = once["judge"] if desired.credential else None
    judgement = Admission(user, "account", "judged", "not judged", door, token, generation)
    return (judgement, *cleared, login)


def action_for(desired: Desired, change: Change) -> Action:
    if isinstance(change, Admission):
        assert change.door is not None
        terms: dict[str, Json] = {"credential": desired.credential, "generation": change.generation}
        if change.field == "account":
            terms["tty"] = change.door.tty
            return Action("judge", change.target, Phase.LEAVE, change.token, terms)
        terms |= {"door": dict(vars(change.door)), "replace": desired.replace, "always": desired.always}
        return Action("login", change.target, Phase.ENTER, change.token, terms)
    if change.field == "active":
        return Action("activate", change.target, Phase.ENTER)
    if change.want == "ended":
        return Action("end", change.target, Phase.LEAVE, value=desired.deadline_s)
    return Action("lock", change.target, Phase.LEAVE, value=change.have)


def after(observed: Observed, action: Action) -> Observed:
    """What would be observed once it was done."""
    if action.token is not None:
        deeds = {**observed.deeds, action.token: Deed("done", "", observed.generation)}
        observed = replace(observed, deeds=deeds)
    if action.verb == "judge":
        return replace(observed, judged=True)
    others = tuple(login for login in observed.logins if login.id != action.target)
    if action.verb == "end":
        return replace(observed, logins=others)
    if action.verb == "login":
        door = Door(**action.value["door"])
        kind = "wayland" if door.graphical else "tty"
        found = Login(id="new", user=action.target, seat=door.seat, tty=door.tty, type=kind)
    else:
        found = next(login for login in observed.logins if login.id == action.target)
    if action.verb == "lock":
        return replace(observed, logins=(*others, replace(found, locked=True)))
    behind = (replace(login, active=login.active and login.seat != found.seat) for login in others)
    return replace(observed, logins=(*behind, replace(found, active=True)))


def refusal(user: str, answer: str, detail: str = "") -> ReconcilerError:
    """An error whose class has the answer's name, as a condition's reason is its error's class."""
    base: type[ReconcilerError] = DriverError if answer in LATER else Terminal
    known: Mapping[str, str] = {**REFUSALS, **LATER}
    more = f" ({detail})" if detail else ""
    error: ReconcilerError = type(answer, (base,), {})(f"cannot log in {user}: {known[answer]}{more}")
    return error
