"""Passwords given once, keys that are ours, and what is said where they cannot be."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import DriverError
from reconciler.resource import Deed, Past
from reconciler.resources.accounts import ASK_AGAIN_S, FAILED_S, Accounts
from reconciler.subjects.people.changes import Account, Keys
from reconciler.subjects.people.ssh_keys import content, identity
from tests.subjects.people.fake_people import ALICE, Guest, verbs
from tests.subjects.people.test_rules import SHA512
from tests.subjects.people.test_ssh_keys import ECDSA, ED25519, OTHER

PASSWORD = "{password: {fromFile: secrets/x}}"


def test_a_password_is_given_once_for_a_generation() -> None:
    guest = Guest()
    assert verbs(guest.settle(f"{{alice: {PASSWORD}}}", alice="hunter2")) == "set-password"
    assert guest.people.given == {"alice": "hunter2"}
    guest.people.held["alice"] = replace(guest.people.held["alice"], hash="$her-own")
    assert guest.settle() == []  # she may change it
    assert verbs(guest.settle(f"{{alice: {PASSWORD}}}", alice="hunter3")) == "set-password"


def test_a_secret_that_is_not_here_is_said_and_the_rest_is_done() -> None:
    guest = Guest()
    assert verbs(guest.settle(f"{{alice: {PASSWORD}, carol: present}}")) == "create make-home"
    ready, reason, message = guest.verdict()
    assert (ready, reason) == (False, "SecretMissing")
    assert "apply the document again" in message


def test_a_preview_counts_on_the_secret() -> None:
    guest = Guest()
    guest.write(f"{{alice: {PASSWORD}}}")
    seen = guest.kind.observe(guest.desired, Past(generation=1, boot_id="b", preview=True))
    assert [change.field for change in guest.kind.diff(guest.desired, seen)] == ["password"]


def test_a_password_that_pam_refused_is_said_with_its_reason() -> None:
    guest = Guest()
    guest.people.refuses["alice"] = "cannot set the password of alice: too short"
    guest.write(f"{{alice: {PASSWORD}}}", alice="x")
    (action,) = guest.plan()
    with pytest.raises(DriverError):
        guest.act(action)
    guest.people.refuses.clear()
    guest.people.now_s += FAILED_S
    assert guest.plan() == ()
    assert guest.verdict()[1] == "SecretMissing"
    assert "too short" in guest.verdict()[2]


def test_a_crash_while_a_password_is_set_is_said() -> None:
    guest = Guest()
    guest.write(f"{{alice: {PASSWORD}}}", alice="hunter2")
    token = guest.plan()[0].token
    assert token
    guest.deeds[token] = Deed("begun", "b", 1)
    assert guest.plan() == ()
    assert guest.verdict()[:2] == (False, "OutcomeUnknown")


def test_a_hash_is_given_once_and_is_its_owners_then() -> None:
    guest = Guest()
    guest.settle(f"{{alice: {{passwordHash: '{SHA512}'}}}}")
    assert guest.people.given == {"alice": SHA512}
    guest.people.held["alice"] = replace(guest.people.held["alice"], hash="$her-own")
    assert guest.settle(f"{{alice: {{passwordHash: '{SHA512}', comment: A}}}}") == [("modify", "alice")]
    other = SHA512.replace("salt", "pepper")
    assert verbs(guest.settle(f"{{alice: {{passwordHash: '{other}'}}}}")) == "set-hash"
    assert verbs(guest.settle(f"{{alice: {{passwordHash: '{SHA512}'}}}}")) == "set-hash"  # once more


def test_an_account_that_lost_its_password_gets_the_hash_again() -> None:
    guest = Guest()
    guest.settle(f"{{carol: {{passwordHash: '{SHA512}'}}}}")
    del guest.people.held["carol"]
    assert verbs(guest.settle()) == "create make-home set-hash"
    guest.people.held["carol"] = replace(guest.people.held["carol"], hash="")
    assert verbs(guest.settle()) == "set-hash"


def test_a_hash_that_a_crash_has_interrupted_is_given_again() -> None:
    guest = Guest()
    guest.write(f"{{alice: {{passwordHash: '{SHA512}'}}}}")
    first = guest.plan()[0].token
    assert first
    guest.deeds[first] = Deed("begun", "b", 1)
    assert verbs(guest.settle()) == "set-hash"


def test_a_hash_that_the_guest_does_not_know_is_said() -> None:
    guest = Guest()
    guest.people.strange_hashes = frozenset({SHA512})
    assert guest.settle(f"{{alice: {{passwordHash: '{SHA512}'}}}}") == []
    assert guest.verdict()[:2] == (False, "HashUnusable")
    assert SHA512 not in guest.verdict()[2]


def hashes(count: int) -> dict[str, str]:
    return {f"user{number}": SHA512[:-3] + f"{number:03}" for number in range(count)}


def test_many_slow_hashes_keep_nobody_waiting_and_each_is_asked_about_once() -> None:
    guest = Guest()
    guest.people.hash_takes_s = 2.0
    written = ", ".join(f"{name}: {{passwordHash: '{hash}'}}" for name, hash in hashes(8).items())
    guest.write(f"{{alice: locked, {written}}}")
    rounds = []
    while plan := guest.plan():
        rounds.append(verbs([(action.verb, action.target) for action in plan]))
        for action in plan:
            guest.act(action)
        if len(rounds) < 3:
            verdict = Accounts.verdict(guest.desired, replace(guest.seen, deeds=guest.deeds), ())
            assert (verdict.reason, verdict.waiting) == ("HashUnchecked", True)
            assert Accounts.due_s(guest.desired, guest.seen) == guest.seen.boot_clock_s  # at once
    # In each look until ASK_S was over, and what is not slow in the first one.
    assert [line.count("set-hash") for line in rounds] == [3, 3, 2]
    assert "lock" in rounds[0].split()
    assert guest.people.given == hashes(8)
    assert sorted(guest.people.asked) == sorted(hashes(8).values())
    assert guest.verdict()[0]


def test_a_hash_that_was_refused_is_asked_about_again_much_later() -> None:
    guest = Guest()
    guest.people.strange_hashes = frozenset({SHA512})
    guest.settle(f"{{alice: {{passwordHash: '{SHA512}'}}}}")
    assert guest.people.asked == [SHA512]
    guest.people.strange_hashes = frozenset()
    guest.people.now_s += ASK_AGAIN_S
    assert verbs(guest.settle()) == "set-hash"


def test_a_preview_leaves_no_answer_behind() -> None:
    guest = Guest()
    guest.write(f"{{alice: {{passwordHash: '{SHA512}'}}}}")
    for _ in range(2):
        guest.kind.observe(guest.desired, Past(generation=1, boot_id="b", preview=True))
    assert guest.people.asked == [SHA512, SHA512]


def test_to_change_the_password_is_asked_once_for_each_token() -> None:
    guest = Guest()
    guest.settle("{alice: {mustChangePassword: a}}")
    assert guest.people.held["alice"].changed == 0
    guest.people.held["alice"] = replace(guest.people.held["alice"], changed=20_000)
    assert guest.settle("{alice: {mustChangePassword: a, comment: A}}") == [("modify", "alice")]
    assert verbs(guest.settle("{alice: {mustChangePassword: b}}")) == "must-change"


# Keys


def keyed(*ours: str, others: tuple[str, ...] = (), **more: Any) -> Account:
    known, contents = frozenset(map(identity, others)), frozenset(map(content, others))
    return replace(ALICE, keys=Keys(ours=ours, others=known, mentioned=contents, **more))


@pytest.mark.parametrize(
    ("have", "written", "left"),
    [
        pytest.param(keyed(), f"{{present: ['{ED25519}']}}", [ED25519], id="one more"),
        pytest.param(keyed(ECDSA), f"{{present: ['{ED25519}']}}", [ED25519], id="another"),
        pytest.param(keyed(ED25519), "{present: []}", [], id="none of ours"),
        pytest.param(keyed(ED25519, ECDSA), f"{{absent: ['{ECDSA}']}}", [ED25519], id="this one not"),
        pytest.param(keyed(ED25519, loose=True), f"{{present: ['{ED25519}']}}", [ED25519], id="too open"),
        pytest.param(keyed(ED25519), f"{{present: ['{ED25519} new']}}", [f"{ED25519} new"], id="a comment"),
    ],
)
def test_keys_of_ours(have: Account, written: str, left: list[str]) -> None:
    guest = Guest(alice=have)
    assert verbs(guest.settle(f"{{alice: {{sshKeys: {written}}}}}")) == "write-keys"
    assert guest.people.held["alice"].keys.ours == tuple(left)
    assert guest.people.followed == {"/home/alice"}


def test_a_key_that_she_has_put_there_herself_is_hers() -> None:
    guest = Guest(alice=keyed(others=(OTHER,)))
    assert guest.settle(f"{{alice: {{sshKeys: {{present: ['{OTHER}']}}}}}}") == []
    assert guest.settle("{alice: {sshKeys: {present: []}}}") == []
    assert guest.verdict()[0]
    assert guest.settle(f"{{alice: {{sshKeys: {{absent: ['{OTHER}']}}}}}}") == []
    assert guest.verdict()[:2] == (False, "KeyNotOurs")
