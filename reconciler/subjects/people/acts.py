"""Which acts bring an account about, and what it is after each of them; pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.resource import Action, Change, Json, Phase
from reconciler.subjects.people.changes import ENTRY, Account, Creation, Opening, first_day, home_of
from reconciler.subjects.people.rules import LOCK_DAY, NEVER, User


def actions(name: str, user: User, changes: Sequence[Change]) -> Iterator[Action]:
    """The acts for one account, in the order in which they are to be done."""
    by_field = {change.field: change for change in changes}
    if (state := by_field.get("state")) is not None:
        yield _creation(name, user, state) if not user.absent else _act("remove", name, user.remove_home)
    if "entry" in by_field:
        yield _act("complete", name)
    if entry := {part: by_field[part].want for part in ENTRY if part in by_field}:
        yield _act("modify", name, entry)
    for part, verb in _VERB_OF.items():
        change = by_field.get(part)
        if change is None:
            continue
        if isinstance(change, Opening):
            yield _act("unlock", name, change.expires)
        elif part in _TOKENS:
            yield Action(verb, name, Phase.PEOPLE, token=str(change.want))
        else:
            want = change.want
            yield _act(verb, name, list(want) if isinstance(want, tuple) else want)


# In this order: who is in no group yet gets no password, and what a new password opens is locked after it.
_VERB_OF = {
    "groups": "set-groups",
    "moreGroups": "join",
    "homeFolder": "make-home",
    "password": "set-password",
    "passwordHash": "set-hash",
    "mustChangePassword": "must-change",
    "locked": "lock",
    "expires": "set-expires",
    "sshKeys": "write-keys",
}
_TOKENS = frozenset({"password", "passwordHash", "mustChangePassword"})
VERBS = frozenset({*_VERB_OF.values(), "create", "complete", "modify", "unlock", "remove"})


def _act(verb: str, name: str, value: Json = None) -> Action:
    return Action(verb, name, Phase.PEOPLE, value=value)


def _creation(name: str, user: User, change: Change) -> Action:
    fields = {part: getattr(user, part) for part in ENTRY if getattr(user, part) is not None}
    fields |= {"system": user.system, "home": home_of(name, user)}
    if (day := first_day(user)) != NEVER:
        fields["expires"] = day
    if isinstance(change, Creation) and change.group:
        fields["group"] = change.group
    return _act("create", name, fields)


def after(have: Account, action: Action) -> Account:
    """What an account is after an act, other than its removal."""
    value = action.value
    if action.verb == "create":
        entry = {part: value[part] for part in ENTRY if part in value}
        return Account(expires=value.get("expires", NEVER), **entry)
    if action.verb == "modify":
        return replace(have, **value)
    return _AFTER[action.verb](have, value)


_AFTER: Mapping[str, Callable[[Account, Json], Account]] = {
    "complete": lambda have, _: replace(have, whole=True),
    "set-groups": lambda have, groups: replace(have, groups=tuple(groups)),
    "join": lambda have, groups: replace(have, groups=tuple(sorted({*have.groups, *groups}))),
    "make-home": lambda have, _: replace(have, home_there=True),
    "set-password": lambda have, _: replace(have, hash="$"),
    "set-hash": lambda have, _: replace(have, hash="$"),
    "must-change": lambda have, _: replace(have, changed=0),
    "lock": lambda have, _: replace(have, hash="!" + have.hash.lstrip("!"), expires=LOCK_DAY),
    "unlock": lambda have, expires: replace(have, hash=_opened(have.hash), expires=expires),
    "set-expires": lambda have, expires: replace(have, expires=expires),
    "write-keys": lambda have, keys: replace(have, keys=replace(have.keys, ours=tuple(keys), loose=False)),
}


def _opened(hash: str) -> str:
    return hash.removeprefix("!") if hash.strip("!*") else hash
