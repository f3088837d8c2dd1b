"""Accounts brought about in a guest that is made up: what is done, what is not, and what is said."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import DriverError
from reconciler.resource import Touch
from reconciler.resources.accounts import BUSY_S, FAILED_S, MENDED_S, Accounts, Desired
from reconciler.subjects.people.changes import Account, Keys, Observed
from reconciler.subjects.people.rules import LOCK_DAY, NEVER
from tests.subjects.people.fake_people import ALICE, Guest, verbs
from tests.subjects.people.test_rules import SHA512
from tests.subjects.people.test_ssh_keys import ECDSA, ED25519, OTHER


@pytest.mark.parametrize(
    ("written", "done"),
    [
        pytest.param("{alice: present}", "", id="there already"),
        pytest.param("{alice: {shell: /bin/sh, comment: Alice}}", "modify", id="one call for both"),
        pytest.param("{alice: {uid: 1000, home: /home/alice}}", "", id="as it is"),
        pytest.param("{alice: {groups: [adm]}}", "set-groups", id="groups"),
        pytest.param("{alice: {moreGroups: [adm]}}", "join", id="more groups"),
        pytest.param("{alice: locked}", "lock", id="lock"),
        pytest.param("{alice: {locked: false}}", "", id="open already"),
        pytest.param("{alice: {expires: 2030-12-31}}", "set-expires", id="expires"),
        pytest.param("{alice: {expires: never}}", "", id="never does"),
        pytest.param("{alice: {locked: true, expires: 2030-12-31}}", "lock", id="locked is before that day"),
        pytest.param("{alice: {mustChangePassword: 1}}", "must-change", id="must change"),
        pytest.param(f"{{alice: {{passwordHash: '{SHA512}'}}}}", "set-hash", id="hash"),
        pytest.param(
            f"{{alice: {{passwordHash: '{SHA512}', locked: true}}}}", "set-hash lock", id="then locked"
        ),
        pytest.param(f"{{alice: {{sshKeys: {{present: ['{ED25519}']}}}}}}", "write-keys", id="keys"),
        pytest.param("{alice: absent}", "remove", id="gone"),
        pytest.param("{nobody-here: absent}", "", id="gone already"),
        pytest.param("{carol: present}", "create make-home", id="new one"),
        pytest.param(
            "{carol: {uid: 2000, home: /srv/carol, shell: /bin/sh, comment: C}}", "create make-home", id="new"
        ),
        pytest.param(
            "{carol: {groups: [adm], locked: true}}", "create set-groups make-home", id="new and locked"
        ),
        pytest.param("{carol: {createHome: false}}", "create", id="new and without a home"),
        pytest.param("{carol: {expires: 2030-12-31}}", "create make-home", id="new, and expires"),
        pytest.param("{www-data: {comment: Web}}", "modify", id="no home for a service"),
        pytest.param("{www-data: {createHome: true}}", "make-home", id="unless it is written"),
        pytest.param("{dave: {system: true}}", "create", id="new service"),
    ],
)
def test_what_is_done(written: str, done: str) -> None:
    guest = Guest()
    assert verbs(guest.settle(written)) == done
    assert guest.verdict()[:2] == (True, "InSync")
    assert guest.settle() == []


def test_nothing_is_looked_at_that_no_document_names() -> None:
    guest = Guest()
    assert guest.plan() == ()
    assert (guest.people.looks, guest.seen, Accounts.show(guest.seen)) == (0, Observed(), {"users": {}})


def test_what_no_document_names_any_more_is_not_followed() -> None:
    guest = Guest()
    guest.settle("{alice: {sshKeys: {present: []}}}")
    assert guest.people.followed == {"/home/alice"}
    guest.desired = Desired()
    guest.plan()
    assert list(guest.people.followed) == []


def test_removal_comes_last_and_with_the_home_only_if_that_is_written() -> None:
    guest = Guest()
    guest.write("{alice: {state: absent, removeHome: true}, carol: present}")
    assert [(a.verb, a.target, a.value) for a in guest.plan() if a.verb == "remove"] == [
        ("remove", "alice", True)
    ]
    assert guest.plan()[-1].verb == "remove"


def test_what_a_crash_has_left_of_a_creation_is_completed() -> None:
    torn = Account(uid=1001, gid=1001, home="/home/carol", hash="x", whole=False)
    guest = Guest(carol=torn)
    assert verbs(guest.settle("{carol: {groups: [adm]}}")) == "complete set-groups make-home"


def test_a_group_of_its_name_that_a_crash_has_left_is_taken_on() -> None:
    guest = Guest()
    del guest.people.held["alice"]
    guest.write("{alice: present}")
    assert guest.plan()[0].value == {"system": False, "home": "/home/alice", "group": "alice"}


# Locks


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(replace(ALICE, hash="!$old"), id="only the password, as passwd -l does"),
        pytest.param(replace(ALICE, expires=LOCK_DAY), id="only the account"),
        pytest.param(replace(ALICE, hash=""), id="neither, and no password"),
    ],
)
def test_half_a_lock_is_none(half: Account) -> None:
    assert verbs(Guest(alice=half).settle("{alice: locked}")) == "lock"


def test_a_lock_that_somebody_opens_is_locked_again() -> None:
    guest = Guest()
    guest.settle("{alice: locked}")
    guest.people.held["alice"] = ALICE
    assert verbs(guest.settle()) == "lock"


@pytest.mark.parametrize(
    ("written", "expires"),
    [
        pytest.param("{locked: false}", NEVER, id="open"),
        pytest.param("{locked: false, expires: 2030-12-31}", 22_279, id="until a day"),
    ],
)
def test_what_was_locked_opens(written: str, expires: int) -> None:
    guest = Guest(alice=replace(ALICE, hash="!$old", expires=LOCK_DAY))
    assert verbs(guest.settle(f"{{alice: {written}}}")) == "unlock"
    assert (guest.people.held["alice"].hash, guest.people.held["alice"].expires) == ("$old", expires)


def test_a_password_that_is_locked_opens_and_keeps_its_day() -> None:
    guest = Guest(alice=replace(ALICE, hash="!$old", expires=22_000))
    guest.settle("{alice: {locked: false}}")
    assert guest.people.held["alice"].expires == 22_000


# Obstacles


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        pytest.param("{alice: {groups: [docker]}}", "NoSuchGroup", id="no such group"),
        pytest.param("{alice: {shell: /bin/zsh}}", "NoSuchShell", id="no such shell"),
        pytest.param("{carol: {shell: /bin/zsh, groups: [adm]}}", "NoSuchShell", id="nor for a new one"),
        pytest.param("{carol: {uid: 1000}}", "NumberTaken", id="number taken"),
        pytest.param("{alice: {uid: 33}}", "NumberTaken", id="number of a service"),
        pytest.param("{sudo: present}", "NameTaken", id="the name of a group that gives rights"),
        pytest.param("{dave: {shell: /bin/sh}}", "Unsupported", id="of a directory service"),
        pytest.param("{dave: absent}", "Unsupported", id="not to be removed there"),
        pytest.param("{toor: absent}", "Protected", id="another root"),
        pytest.param("{toor: locked}", "Protected", id="nor locked"),
        pytest.param("{www-data: {sshKeys: {present: ['KEY']}}}", "NoHome", id="keys without a home"),
        pytest.param("{linked: {sshKeys: {present: ['KEY']}}}", "KeysUnsafe", id="keys that are not safe"),
        pytest.param(
            "{erin: {sshKeys: {present: ['KEY']}}}", "HomeNotTheirs", id="a home of somebody else's"
        ),
    ],
)
def test_an_obstacle_is_said_and_others_go_on(written: str, reason: str) -> None:
    toor = Account(uid=0, gid=0, home="/root", home_there=True)
    erin = replace(ALICE, uid=1006, home_there=False, home_taken=True, keys=Keys(fault="somebody else's"))
    linked = replace(ALICE, uid=1005, keys=Keys(fault="it is a symbolic link"))
    guest = Guest(toor=toor, linked=linked, erin=erin)
    guest.people.directory = frozenset({"dave"})
    both = written.replace("KEY", ED25519)[:-1] + ", zoe: present}"
    assert guest.settle(both) == [("create", "zoe"), ("make-home", "zoe")]
    assert guest.verdict()[:2] == (False, reason)


def test_what_still_runs_is_waited_for() -> None:
    guest = Guest()
    guest.people.busy = frozenset({1000})
    assert guest.settle("{alice: absent}") == []
    verdict = Accounts.verdict(guest.desired, guest.seen, ())
    assert (verdict.reason, verdict.waiting, verdict.failed) == ("InUse", True, False)
    assert Accounts.due_s(guest.desired, guest.seen) == 100.0 + BUSY_S
    guest.people.busy = frozenset()
    assert verbs(guest.settle()) == "remove"
    assert Accounts.due_s(guest.desired, guest.seen) is None


def test_what_fails_for_one_account_does_not_keep_the_next_one_waiting() -> None:
    guest = Guest()
    guest.people.refuses["alice"] = "cannot lock alice: no"
    guest.write("{alice: locked, carol: present}")
    first = guest.plan()[0]
    with pytest.raises(DriverError):
        guest.act(first)
    assert guest.settle() == [("create", "carol"), ("make-home", "carol")]
    assert guest.verdict()[:2] == (False, "DriverError")
    assert Accounts.due_s(guest.desired, guest.seen) == 100.0 + FAILED_S
    guest.people.refuses.clear()
    guest.people.now_s += FAILED_S
    assert guest.settle() == [("lock", "alice")]


def test_a_new_document_is_tried_at_once() -> None:
    guest = Guest()
    guest.people.refuses["alice"] = "cannot lock alice: no"
    guest.write("{alice: locked}")
    with pytest.raises(DriverError):
        guest.act(guest.plan()[0])
    guest.people.refuses.clear()
    assert guest.settle("{alice: {locked: true}}") == [("lock", "alice")]


# What is told


def test_shows_what_is_and_no_secret() -> None:
    guest = Guest(
        alice=replace(ALICE, keys=Keys(ours=(ED25519,)), groups=("adm",), expires=22_279, comment="Alice")
    )
    guest.settle(f"{{alice: {{passwordHash: '{SHA512}'}}, gone: absent}}")
    assert Accounts.show(guest.seen) == {
        "users": {
            "alice": {
                "uid": 1000,
                "home": "/home/alice",
                "shell": "/bin/bash",
                "comment": "Alice",
                "groups": ["adm"],
                "expires": "2030-12-31",
                "locked": False,
                "password": True,
                "mustChangePassword": False,
                "sshKeys": {"ours": 1, "others": 0},
            }
        }
    }
    assert "$6$" not in repr(guest.seen)


def test_tells_of_what_happened() -> None:
    def told(before: Mapping[str, Account], after: Mapping[str, Account], named: str = "ab") -> list[str]:
        old = Observed(named=frozenset("ab"), accounts=before)
        return [n.reason for n in Accounts.notices(old, Observed(named=frozenset(named), accounts=after))]

    locked = replace(ALICE, hash="!$", expires=LOCK_DAY)
    assert told({}, {"a": ALICE}) == ["AccountCreated"]
    assert told({"a": ALICE}, {}) == ["AccountRemoved"]
    assert told({"a": ALICE}, {"a": locked}) == ["AccountLocked"]
    assert told({"a": locked}, {"a": ALICE}) == ["AccountUnlocked"]
    assert told({"a": ALICE}, {"a": ALICE}) == []
    assert told({"a": ALICE}, {}, named="b") == []  # no longer looked at


def test_reaches_for_users_and_homes() -> None:
    guest = Guest()
    guest.write("{alice: present, carol: {home: /srv/carol}}")
    assert set(Accounts.touches(guest.desired)) == {
        Touch("user", "alice"),
        Touch("user", "carol"),
        Touch("path", "/srv/carol"),
    }


def test_drifted_says_of_whom_and_what() -> None:
    guest = Guest()
    guest.write("{alice: {shell: /bin/sh, groups: [adm]}, carol: present}")
    guest.plan()
    assert guest.verdict() == (False, "Drifted", "alice: shell, groups; carol: state, homeFolder")


def test_a_directory_service_that_is_away_keeps_those_waiting_that_it_may_have_and_no_other() -> None:
    guest = Guest()
    guest.people.directory = DriverError("cannot look: it did not end in time")
    assert guest.settle("{alice: locked, carol: present, gone: absent}") == [("lock", "alice")]
    ready, reason, message = guest.verdict()
    assert (ready, reason, message.count("carol")) == (False, "DriverError", 1)
    assert "did not end in time" in message
    assert Accounts.due_s(guest.desired, guest.seen) == 100.0 + FAILED_S
    guest.people.directory = frozenset({"carol"})
    assert guest.settle() == []
    assert guest.verdict()[1] == "Unsupported"


def test_a_home_of_somebody_elses_is_looked_at_again_or_may_be_meant() -> None:
    guest = Guest(erin=replace(ALICE, uid=1006, home_there=False, home_taken=True))
    assert guest.settle("{erin: present}") == []
    assert Accounts.due_s(guest.desired, guest.seen) == 100.0 + MENDED_S
    assert guest.settle("{erin: {createHome: false}}") == []
    assert guest.verdict()[0]


# Whatever is written and whatever there is

written = st.fixed_dictionaries(
    {},
    optional={
        "uid": st.sampled_from([1000, 1001, 2000]),
        "home": st.just("/srv/home"),
        "shell": st.sampled_from(["/bin/sh", "/bin/zsh"]),
        "comment": st.sampled_from(["", "Carol"]),
        "system": st.booleans(),
        "createHome": st.booleans(),
        "passwordHash": st.just(SHA512),
        "mustChangePassword": st.just("1"),
        "locked": st.booleans(),
        "expires": st.sampled_from(["never", "2030-12-31"]),
        "sshKeys": st.sampled_from([{"present": [ED25519]}, {"present": []}, {"absent": [OTHER, ECDSA]}]),
    },
)
grouped = st.sampled_from([{}, {"groups": ["adm"]}, {"groups": []}, {"moreGroups": ["sudo", "docker"]}])
users = st.builds(lambda a, b: a | b, written, grouped) | st.just({"state": "absent"})
found = st.builds(
    Account,
    uid=st.sampled_from([0, 33, 1000, 1001]),
    gid=st.just(1000),
    home=st.sampled_from(["/home/a", "/srv/home"]),
    shell=st.sampled_from(["/bin/sh", ""]),
    groups=st.sampled_from([(), ("adm",), ("adm", "sudo")]),
    hash=st.sampled_from(["", "!", "!!", "*", "!*", "x", "$old", "!$old", SHA512]),
    expires=st.sampled_from([NEVER, 0, LOCK_DAY, 22_279]),
    changed=st.sampled_from([NEVER, 0, 20_000]),
    whole=st.booleans(),
    home_there=st.booleans(),
    home_taken=st.booleans(),
    keys=st.sampled_from([Keys(), Keys(ours=(ECDSA,), loose=True), Keys(fault="link")]),
)


@given(
    document=st.dictionaries(st.sampled_from(["alice", "carol", "dave"]), users, min_size=1),
    accounts=st.dictionaries(st.sampled_from(["alice", "carol"]), found),
    busy=st.frozensets(st.sampled_from([1000, 1001])),
)
def test_a_whole_plan_leaves_nothing_to_do(
    document: dict[str, Any], accounts: dict[str, Account], busy: frozenset[int]
) -> None:
    guest = Guest(**accounts)
    guest.people.busy = busy
    guest.desired = Accounts.parse({"users": document})
    plan = guest.plan()
    observed = Accounts.foresee_all(guest.seen, plan)
    assert Accounts.diff(guest.desired, observed) == ()
    for action in plan:
        guest.act(action)
    # What a number was taken by may have another now, or be gone: then it is free for the next plan.
    for action in guest.plan():
        guest.act(action)
    assert guest.plan() == ()
    assert guest.verdict()[1] != "Drifted"
