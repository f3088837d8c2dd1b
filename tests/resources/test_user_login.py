"""What a login does: who is judged, locked or ended for it, and what is never done twice."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import DriverError, ReconcilerError
from reconciler.resource import Deed, Past
from reconciler.resources.user import AGREED_S, REST_S, Facility, Logins, SeatBusy, User, Way
from reconciler.secret import Safe, Secret
from reconciler.subjects.seating import REFUSALS, Desired, Login, Observed
from tests.resources.user_fake import PASSWORD, FakeGuest

ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", active=True)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
IN = Desired(name="alice", state="logged-in", credential=True, seat="seat0")
OUT = Desired(name="alice", state="logged-out")
KIOSK = replace(IN, credential=False)


def kind_of(guest: FakeGuest, password: bytes | None = PASSWORD) -> User:
    facilities: tuple[Facility, ...] = (guest,)
    assert isinstance(guest, Way)
    assert isinstance(guest, Logins)
    kind = User(facilities)
    safe = Safe()
    if password is not None:
        safe.put({("user", "credential"): Secret(password)}, 0.0)
    kind.secrets = safe.of("user")
    return kind


def go(kind: User, desired: Desired, deeds: dict[str, Deed] | None = None, generation: int = 7) -> str:
    """One pass as the loop makes it, deeds and all; the reason after it."""
    deeds = {} if deeds is None else deeds
    past = Past(generation=generation, deeds=deeds)
    error: ReconcilerError | None = None
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, past))):
        try:
            kind.act(action)
        except ReconcilerError as raised:
            error = raised
        if action.token is not None:
            state: Any = "refused" if error else "done"
            reason = type(error).__name__ if error else ""
            deeds[action.token] = Deed(state, "boot", 7, str(error or ""), reason)
        if error:
            break
    observed = kind.observe(desired, past)
    changes = kind.diff(desired, observed)
    return type(error).__name__ if error and changes else kind.verdict(desired, observed, changes).reason


def test_logs_in_once_and_fights_nobody() -> None:
    guest, deeds = FakeGuest(), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "InSync"
    assert guest.did == [("enter", "alice"), ("activate", "9")]
    assert go(kind, IN, deeds) == "InSync"
    assert len(guest.did) == 2
    del guest.held["9"]
    assert go(kind, IN, deeds) == "LoggedOut"
    assert guest.judged == 1


def test_asks_for_doors_only_where_one_is_needed() -> None:
    guest = FakeGuest({"2": replace(ALICE, active=False)})
    go(kind_of(guest), IN)
    go(kind_of(guest), OUT)
    assert ("doors", "") not in guest.heard


@pytest.mark.parametrize("desired", [IN, replace(IN, replace=True)], ids=["lock", "replace"])
def test_who_may_not_come_in_costs_nobody_a_session(desired: Desired) -> None:
    guest = FakeGuest({"3": BOB})
    assert go(kind_of(guest, b"wrong"), desired) == "WrongPassword"
    guest.answer = "UnknownUser"
    assert go(kind_of(guest), desired) == "UnknownUser"
    assert guest.did == []
    assert guest.held == {"3": BOB}


def test_waits_for_sessions_to_end_longer_than_consent_lasts() -> None:
    others = {str(n): replace(BOB, id=str(n)) for n in range(3)}
    guest = FakeGuest(others, ends_in_s=60.0)
    assert go(kind_of(guest), replace(IN, replace=True, deadline_s=60.0)) == "InSync"
    assert guest.clock_s == 1000.0 + 3 * 60.0


def test_who_unlocks_meanwhile_keeps_the_seat() -> None:
    guest, deeds = FakeGuest({"3": BOB}, comes_undone=True), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "SeatBusy"
    assert ("enter", "alice") not in guest.heard
    guest.comes_undone = False
    assert go(kind, IN, deeds) == "InSync"
    assert (guest.judged, guest.held["3"].locked) == (1, True)


def test_who_comes_meanwhile_keeps_the_seat() -> None:
    guest = FakeGuest()
    kind = kind_of(guest)
    judge, login = kind.plan(IN, kind.diff(IN, kind.observe(IN, Past(generation=7))))
    kind.act(judge)
    guest.held["3"] = BOB
    with pytest.raises(SeatBusy, match=r"3 \(bob, seat0 tty1\) is there"):
        kind.act(login)
    guest.held["3"] = replace(BOB, locked=True)
    kind.act(login)


def test_consent_expires_in_seconds() -> None:
    guest, deeds = FakeGuest({"3": BOB}, deaf=True), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "SeatBusy"
    guest.clock_s += AGREED_S
    guest.deaf = False
    assert go(kind, IN, deeds) == "SecretMissing"
    assert ("enter", "alice") not in guest.heard


def test_consent_is_for_one_user_and_one_generation() -> None:
    guest, deeds = FakeGuest({"3": BOB}, deaf=True), dict[str, Deed]()
    kind, monday = kind_of(guest), replace(IN, token="monday")
    assert go(kind, monday, deeds) == "SeatBusy"
    guest.deaf = False
    assert go(kind, replace(monday, name="root"), deeds) == "SecretMissing"
    assert go(kind, monday, deeds, generation=8) == "SecretMissing"
    assert [heard for heard in guest.heard if heard[0] == "enter"] == []


def test_nobody_comes_in_without_consent() -> None:
    guest = FakeGuest()
    kind = kind_of(guest)
    judge, login = kind.plan(IN, kind.diff(IN, kind.observe(IN, Past(generation=7))))
    with pytest.raises(DriverError, match="too old"):
        kind.act(login)
    kind.act(judge)
    kind.act(login)
    with pytest.raises(DriverError, match="too old"):  # it is used once
        kind.act(login)


def test_an_answer_that_nobody_knows_is_one() -> None:
    guest = FakeGuest(answer="Novelty")
    assert go(kind_of(guest), IN) == "NotJudged"


def test_a_wrong_password_is_judged_once_even_if_the_secret_comes_again() -> None:
    guest, deeds = FakeGuest(), dict[str, Deed]()
    for _ in range(3):
        assert go(kind_of(guest, b"wrong"), IN, deeds) == "WrongPassword"
    assert guest.judged == 1
    assert guest.did == []


@pytest.mark.parametrize("answer", [*REFUSALS, "LoginsDisabled"])
def test_what_pam_says_is_the_reason(answer: str) -> None:
    guest = FakeGuest(answer=answer)
    assert go(kind_of(guest), IN) == answer
    assert guest.did == []


def test_logins_that_are_disabled_are_tried_again() -> None:
    guest, deeds = FakeGuest(answer="LoginsDisabled"), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "LoginsDisabled"
    guest.answer = "ok"
    assert go(kind, IN, deeds) == "InSync"


def test_a_door_that_fails_after_the_credential_was_used_is_the_end() -> None:
    guest, deeds = FakeGuest(broken=True), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "NoSession"
    guest.broken = False
    assert go(kind, IN, deeds) == "NoSession"
    assert guest.judged == 1


def test_a_door_that_fails_before_anything_was_used_is_tried_again() -> None:
    guest, deeds = FakeGuest(broken=True, passwordless=("alice",)), dict[str, Deed]()
    kind = kind_of(guest, None)
    assert go(kind, KIOSK, deeds) == "DriverError"
    guest.broken = False
    assert go(kind, KIOSK, deeds) == "InSync"


def test_who_needs_no_credential_is_kept_logged_in() -> None:
    guest, desired = FakeGuest(passwordless=("alice",)), replace(KIOSK, always=True)
    kind = kind_of(guest, None)
    for _ in range(2):
        assert go(kind, desired) == "InSync"
        guest.held.clear()
        assert go(kind, desired) == "LoggedOut"  # not at once
        guest.clock_s += REST_S
    assert go(kind, desired) == "InSync"


def test_a_seat_whose_locker_is_deaf_is_not_given_away() -> None:
    guest, deeds = FakeGuest({"3": BOB}, deaf=True), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "SeatBusy"
    assert ("enter", "alice") not in guest.heard
    guest.deaf = False
    assert go(kind, IN, deeds) == "InSync"
    assert guest.held["3"].locked
    assert guest.judged == 1


def test_a_secret_that_is_gone_as_it_is_taken_uses_nothing_up() -> None:
    guest = FakeGuest()
    kind = kind_of(guest)
    judge, _ = kind.plan(IN, kind.diff(IN, kind.observe(IN, Past(generation=7))))
    kind.secrets.take("credential")
    with pytest.raises(DriverError, match="apply the document again"):
        kind.act(judge)
    assert guest.judged == 0


def test_a_preview_leaves_no_trace() -> None:
    guest = FakeGuest({"2": ALICE})
    kind = kind_of(guest, None)
    assert kind.observe(IN, Past(generation=8, preview=True)).secret  # it will come with the document
    del guest.held["2"]
    assert not kind.observe(IN, Past(generation=8)).met


def test_an_unmanaged_kind_looks_at_nothing() -> None:
    assert kind_of(FakeGuest({"2": ALICE})).observe(Desired(), Past()) == Observed()
    assert User.show(Observed()) == {}
