"""The acts for one account: in an order that is safe to stop in, and known by their verbs."""

import pytest

from reconciler.resource import Action, Change, Json
from reconciler.subjects.people.acts import VERBS, actions, after
from reconciler.subjects.people.changes import Account, Creation, Opening
from reconciler.subjects.people.rules import LOCK_DAY, NEVER, User
from tests.subjects.people.fake_people import ALICE


def all_at_once() -> list[Change]:
    fields = [
        "sshKeys",
        "locked",
        "mustChangePassword",
        "passwordHash",
        "homeFolder",
        "groups",
        "shell",
        "entry",
    ]
    return [Change("carol", field, (), None) for field in fields]


def test_an_account_is_locked_after_its_password_and_gets_keys_last() -> None:
    planned = [action.verb for action in actions("carol", User(), all_at_once())]
    order = "complete modify set-groups make-home set-hash must-change lock write-keys"
    assert planned == order.split()


def test_only_what_cannot_be_repeated_has_a_token() -> None:
    tokens = {action.verb for action in actions("carol", User(), all_at_once()) if action.token is not None}
    assert tokens == {"set-hash", "must-change"}


def test_a_creation_takes_what_is_written_and_no_more() -> None:
    change = Creation("carol", "state", "present", "absent")
    (action,) = actions("carol", User(shell="/bin/sh", system=True), [change])
    assert action.value == {"shell": "/bin/sh", "system": True, "home": "/home/carol"}
    assert after(Account(), action) == Account(shell="/bin/sh", home="/home/carol")


@pytest.mark.parametrize(
    ("user", "expires"),
    [
        pytest.param(User(locked=True), LOCK_DAY, id="locked"),
        pytest.param(User(locked=True, expires=22_279), LOCK_DAY, id="locked before that day"),
        pytest.param(User(expires=22_279), 22_279, id="until a day"),
        pytest.param(User(expires=NEVER), None, id="for ever"),
    ],
)
def test_who_is_to_be_kept_out_is_never_let_in(user: User, expires: int | None) -> None:
    (action,) = actions("carol", user, [Creation("carol", "state", "present", "absent")])
    assert action.value.get("expires") == expires
    assert after(Account(), action).expires == (NEVER if expires is None else expires)


def test_an_opening_knows_until_when() -> None:
    (action,) = actions("carol", User(), [Opening("carol", "locked", False, True, expires=22_279)])
    assert (action.verb, action.value) == ("unlock", 22_279)


@pytest.mark.parametrize("verb", sorted(VERBS - {"create", "modify", "remove"}))
def test_every_act_is_foreseen(verb: str) -> None:
    value: Json = {"unlock": NEVER, "set-expires": 1}.get(verb, [])
    assert isinstance(after(ALICE, Action(verb, "alice", value=value)), Account)


def test_two_locks_are_one() -> None:
    once = after(ALICE, Action("lock", "alice"))
    assert after(once, Action("lock", "alice")) == once
    assert (once.hash, once.expires) == ("!$old", LOCK_DAY)
    assert after(once, Action("unlock", "alice", value=NEVER)) == ALICE
