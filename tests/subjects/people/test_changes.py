"""What is not as written of one account; the kind's own tests go through all of it."""

import pytest

from reconciler.resource import Deed
from reconciler.subjects.people.changes import (
    Account,
    Observed,
    Opening,
    has_home,
    hash_is_due,
    is_locked,
    judged,
)
from reconciler.subjects.people.rules import LOCK_DAY, User
from tests.subjects.people.fake_people import ALICE
from tests.subjects.people.test_rules import SHA512


@pytest.mark.parametrize(
    ("user", "uid", "home"),
    [
        pytest.param(User(), 1000, True, id="a person"),
        pytest.param(User(), -1, True, id="a person to be"),
        pytest.param(User(), 33, False, id="a service"),
        pytest.param(User(), 65_534, False, id="nobody"),
        pytest.param(User(system=True), -1, False, id="a service to be"),
        pytest.param(User(system=True, create_home=True), -1, True, id="a service that is to have one"),
        pytest.param(User(create_home=False), 1000, False, id="a person without"),
    ],
)
def test_who_has_a_home(user: User, uid: int, home: bool) -> None:
    assert has_home(user, uid) is home


@pytest.mark.parametrize(
    ("account", "locked"),
    [
        pytest.param(ALICE, False, id="open"),
        pytest.param(Account(hash="!$x", expires=LOCK_DAY), True, id="locked"),
        pytest.param(Account(hash="*", expires=LOCK_DAY), True, id="never had a password"),
        pytest.param(Account(hash="!$x"), False, id="a key would let in"),
        pytest.param(Account(hash="$x", expires=LOCK_DAY), False, id="the password waits for another day"),
        pytest.param(Account(hash="", expires=LOCK_DAY), False, id="no password is asked for"),
    ],
)
def test_locked_is_both(account: Account, locked: bool) -> None:
    assert is_locked(account) is locked


def test_changes_are_in_the_order_of_names_and_fields() -> None:
    users = {"b": User(comment="B"), "a": User(absent=True)}
    seen = Observed(accounts={"a": ALICE, "b": ALICE})
    changes, obstacles = judged(users, seen)
    assert [(change.target, change.field) for change in changes] == [("a", "state"), ("b", "comment")]
    assert obstacles == []


def test_to_open_keeps_another_day() -> None:
    seen = Observed(accounts={"a": Account(uid=5, hash="!$x", expires=20_000)})
    (change,) = judged({"a": User(locked=False)}, seen)[0]
    assert isinstance(change, Opening)
    assert change.expires == 20_000


@pytest.mark.parametrize(
    ("deeds", "due"),
    [
        pytest.param([], True, id="never given"),
        pytest.param([("hash.a@{crc}@1.0", "done")], False, id="given"),
        pytest.param([("hash.a@{crc}@1.0", "begun")], True, id="cut off"),
        pytest.param([("hash.a@{crc}@1.0", "refused")], True, id="refused"),
        pytest.param([("hash.a@{crc}@1.0", "done"), ("hash.a@0@2.0", "done")], True, id="another since"),
        pytest.param([("hash.aa@{crc}@1.0", "done")], True, id="given to somebody else"),
    ],
)
def test_when_a_hash_is_due(deeds: list[tuple[str, str]], due: bool) -> None:
    user = User(hash=SHA512)
    seen = Observed(accounts={"a": ALICE})
    (change,) = judged({"a": user}, seen)[0]
    crc = str(change.want).split("@")[1]
    done = {token.format(crc=crc): Deed(state, "b", 1) for token, state in deeds}  # type: ignore[arg-type]
    assert hash_is_due("a", user, Observed(accounts={"a": ALICE}, deeds=done)) is due
