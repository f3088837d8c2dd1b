"""Who is locked, asked, believed and left alone, decided without logind."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Action, Notice, Past, Phase, Touch, Verdict
from reconciler.resources.session import (
    CONFIRM_S,
    INSIST_S,
    Ask,
    Desired,
    Observed,
    Session,
)
from reconciler.subjects.logins import Login, Station
from tests.resources.session_fake import NOW, FakeSessions

LATER = "2026-03-01T13:00:00Z"
SCREEN = Login(id="2", user="alice", uid=1000, seat="seat0", tty="tty2", type="wayland")
CONSOLE = Login(id="3", user="bob", uid=1001, seat="seat0", tty="tty3")
REMOTE = Login(id="4", user="alice", uid=1000, tty="pts/0", remote=True)
GREETER = Login(id="c1", user="gdm", group="greeter", seat="seat0", type="x11")
CLOSING = Login(id="1", user="alice", seat="seat0", state="closing")
ALL = (SCREEN, CONSOLE, REMOTE, GREETER, CLOSING)


def seen(*sessions: Login, now: str = NOW, **asks: Ask) -> Observed:
    return Observed(boot_clock_s=1000.0, now=now, sessions=sessions, asks=asks)


def locked(login: Login) -> Login:
    return replace(login, locked=True)


def verbs(desired: Desired, observed: Observed) -> list[tuple[str, str]]:
    return [(a.verb, a.target) for a in Session.plan(desired, Session.diff(desired, observed))]


@pytest.mark.parametrize(
    ("desired", "observed", "acts"),
    [
        pytest.param(Desired(), seen(*ALL), [], id="not managed"),
        pytest.param(Desired(state="locked"), seen(*ALL), [("lock", "2"), ("lock", "3")], id="screens only"),
        pytest.param(Desired(state="locked"), seen(locked(SCREEN)), [], id="locked already"),
        pytest.param(
            Desired(state="unlocked"), seen(locked(SCREEN), CONSOLE), [("unlock", "2")], id="unlock"
        ),
        pytest.param(
            Desired(state="ended"),
            seen(*ALL),
            [("end", "2"), ("end", "3"), ("end", "4")],
            id="people's sessions end, remote ones too",
        ),
        pytest.param(Desired(state="locked", user="bob"), seen(*ALL), [("lock", "3")], id="one user"),
        pytest.param(Desired(state="ended", seat="seat1"), seen(*ALL), [], id="another seat"),
        pytest.param(Desired(state="locked", id="4"), seen(*ALL), [("lock", "4")], id="one, as named"),
        pytest.param(
            Desired(state="locked", locked_until=NOW), seen(SCREEN, now=LATER), [], id="until has passed"
        ),
        pytest.param(
            Desired(state="locked", locked_until=LATER), seen(SCREEN), [("lock", "2")], id="until is to come"
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, acts: list[tuple[str, str]]) -> None:
    assert verbs(desired, observed) == acts


@pytest.mark.parametrize(
    ("desired", "acts"),
    [
        pytest.param(Desired(state="locked"), ["2"], id="is not locked"),
        pytest.param(Desired(state="ended"), ["2"], id="is not ended"),
        pytest.param(Desired(state="ended", user="bob"), [], id="not even by name"),
        pytest.param(Desired(state="locked", locked_until=LATER), ["2", "3"], id="is, until then"),
        pytest.param(Desired(state="locked", always=True), ["2", "3"], id="is, always"),
    ],
)
def test_who_comes_after_the_document(desired: Desired, acts: list[str]) -> None:
    observed = replace(seen(replace(SCREEN, since_s=99.5), replace(CONSOLE, since_s=100.5)), began_s=100.0)
    assert [target for _, target in verbs(desired, observed)] == acts


def test_who_comes_after_the_document_is_no_drift_and_is_said() -> None:
    came = [replace(CONSOLE, id=str(n), since_s=100.5) for n in range(5)]
    observed = replace(seen(locked(SCREEN), locked(came[0]), *came[1:]), began_s=100.0)
    assert Session.diff(ONCE, observed) == ()
    assert Session.verdict(ONCE, observed, ()) == Verdict(
        True,
        "InSync",
        "1 session locked; 1 (bob, seat0 tty3), 2 (bob, seat0 tty3), 3 (bob, seat0 tty3), and 1 more"
        " came since",
    )
    rebooted = replace(observed, sessions=observed.sessions[-1:], began_s=0.0)
    assert Session.verdict(ONCE, rebooted, ()).message == "no session; 4 (bob, seat0 tty3) came since"


def test_who_is_forbidden_is_left_alone_and_said() -> None:
    root = Login(id="9", user="root", seat="seat0", forbidden=True)
    desired = Desired(state="locked")
    assert verbs(desired, seen(SCREEN, root)) == [("lock", "2")]
    verdict = Session.verdict(desired, seen(locked(SCREEN), root), ())
    assert (verdict.ready, verdict.reason, verdict.failed) == (False, "Forbidden", True)
    assert verdict.message == "the guest's policy forbids (forbid.users): 9 (root, seat0)"
    assert Session.verdict(desired, seen(locked(SCREEN), locked(root)), ()).ready


def test_unlocking_lets_the_rest_proceed() -> None:
    desired = Desired(state="unlocked")
    assert Session.plan(desired, Session.diff(desired, seen(locked(SCREEN)))) == (
        Action("unlock", "2", Phase.RELEASE),
    )


ONCE, FIGHT = Desired(state="locked"), Desired(state="locked", locked_until=LATER)
ALWAYS = Desired(state="locked", always=True)
FRESH, OLD = 1000.0 - CONFIRM_S / 2, 1000.0 - CONFIRM_S
AGES = 1000.0 - INSIST_S


@pytest.mark.parametrize(
    ("desired", "ask", "again", "reason", "waiting"),
    [
        pytest.param(ONCE, Ask("lock", FRESH, 7), False, "Asked", True, id="just asked"),
        pytest.param(ONCE, Ask("lock", OLD, 7), False, "NotConfirmed", False, id="no answer"),
        pytest.param(ONCE, Ask("lock", FRESH, 7, True), False, "Drifted", False, id="unlocked since"),
        pytest.param(ONCE, Ask("unlock", FRESH, 7), True, "Drifted", False, id="asked for something else"),
        pytest.param(FIGHT, Ask("lock", FRESH, 7, True), True, "Drifted", False, id="insists"),
        pytest.param(FIGHT, Ask("lock", FRESH, 7), False, "Asked", True, id="insists, with time to answer"),
        pytest.param(FIGHT, Ask("lock", OLD, 7), False, "NotConfirmed", False, id="insists, not in a loop"),
        pytest.param(FIGHT, Ask("lock", AGES, 7), True, "Drifted", False, id="insists, after a while"),
        pytest.param(ALWAYS, Ask("lock", FRESH, 7, True), True, "Drifted", False, id="enforced always"),
    ],
)
def test_nobody_is_fought_unless_the_document_insists(
    desired: Desired, ask: Ask, again: bool, reason: str, waiting: bool
) -> None:
    observed = Observed(boot_clock_s=1000.0, now=NOW, sessions=(SCREEN,), asks={"2": ask})
    changes = Session.diff(desired, observed)
    verdict = Session.verdict(desired, observed, changes)
    assert (bool(changes), verdict.ready, verdict.reason, verdict.waiting) == (again, False, reason, waiting)
    assert "2 (alice, seat0 tty2)" in verdict.message


def test_a_session_that_will_not_end_is_asked_again() -> None:
    desired = Desired(state="ended")
    fresh, old = {"2": Ask("end", FRESH, 7)}, {"2": Ask("end", OLD, 7)}
    assert verbs(desired, replace(seen(SCREEN), asks=fresh)) == []
    assert verbs(desired, replace(seen(SCREEN), asks=old)) == [("end", "2")]


@pytest.mark.parametrize(
    ("desired", "observed", "due_s"),
    [
        pytest.param(ONCE, seen(SCREEN), None, id="nothing was asked"),
        pytest.param(
            ONCE,
            replace(seen(SCREEN), asks={"2": Ask("lock", FRESH, 7)}),
            FRESH + CONFIRM_S,
            id="the time to answer is over",
        ),
        pytest.param(
            ONCE,
            replace(seen(SCREEN), asks={"2": Ask("lock", AGES, 7)}),
            None,
            id="no answer, and none awaited",
        ),
        pytest.param(FIGHT, seen(locked(SCREEN)), 4600.0, id="until, on the boot clock"),
        pytest.param(
            FIGHT,
            replace(seen(SCREEN), asks={"2": Ask("lock", OLD, 7)}),
            OLD + INSIST_S,
            id="the next wish",
        ),
        pytest.param(
            ONCE,
            replace(seen(), station=Station(again_s=1004.0)),
            1004.0,
            id="the machine around was not asked again just now",
        ),
    ],
)
def test_due(desired: Desired, observed: Observed, due_s: float | None) -> None:
    assert Session.due_s(desired, observed) == due_s


def test_insists_until_then() -> None:
    assert Session.insists(FIGHT, seen(SCREEN))
    assert not Session.insists(FIGHT, seen(SCREEN, now=LATER))
    assert not Session.insists(ONCE, seen(SCREEN))
    assert Session.verdict(FIGHT, seen(SCREEN, now=LATER), ()).reason == "Elapsed"


logins = st.builds(
    Login,
    id=st.uuids().map(str),
    user=st.sampled_from(["alice", "bob"]),
    seat=st.sampled_from(["", "seat0", "seat1"]),
    type=st.sampled_from(["tty", "x11", "wayland", "unspecified"]),
    group=st.sampled_from(["user", "greeter", "background", "user-early"]),
    state=st.sampled_from(["online", "active", "closing"]),
    locked=st.booleans(),
    since_s=st.sampled_from([0.0, 90.0, 110.0]),
)


@given(
    desired=st.builds(
        Desired,
        state=st.sampled_from([None, "locked", "unlocked", "ended"]),
        user=st.sampled_from(["", "alice"]),
        seat=st.sampled_from(["", "seat0"]),
        locked_until=st.sampled_from(["", NOW, LATER]),
        always=st.booleans(),
    ),
    sessions=st.lists(logins, max_size=5).map(tuple),
)
def test_a_whole_plan_leaves_nothing_to_do(desired: Desired, sessions: tuple[Login, ...]) -> None:
    observed = replace(seen(*sessions), began_s=100.0)
    for action in Session.plan(desired, Session.diff(desired, observed)):
        assert action.verb in Session.verbs  # or a policy could not name it
        observed = Session.foresee(observed, action)
    assert Session.diff(desired, observed) == ()
    assert Session.verdict(desired, observed, ()).ready


def go(kind: Session, desired: Desired, generation: int = 7) -> str:
    """One pass; the reason after it."""
    past = Past(generation=generation)
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, past))):
        kind.act(action)
    observed = kind.observe(desired, past)
    return kind.verdict(desired, observed, kind.diff(desired, observed)).reason


def test_who_unlocks_is_left_alone_until_the_next_generation() -> None:
    guest = FakeSessions({"2": SCREEN})
    kind = Session(guest)
    assert go(kind, ONCE) == "InSync"
    guest.unlock("2")
    assert go(kind, ONCE) == "Drifted"
    assert go(kind, ONCE) == "Drifted"
    assert go(kind, ONCE, generation=8) == "InSync"
    assert guest.heard == [("lock", "2"), ("unlock", "2"), ("lock", "2")]


def test_a_deaf_locker_is_asked_once_and_said() -> None:
    guest = FakeSessions({"3": CONSOLE}, deaf=frozenset("3"))
    kind = Session(guest)
    assert go(kind, ONCE) == "Asked"
    guest.now_s += CONFIRM_S
    assert go(kind, ONCE) == "NotConfirmed"
    assert guest.heard == [("lock", "3")]


@pytest.mark.parametrize(
    ("waited_s", "heard"),
    [
        pytest.param(0.1, [("lock", "3"), ("unlock", "3")], id="it may answer still"),
        pytest.param(CONFIRM_S, [("lock", "3")], id="it will not"),
    ],
)
def test_what_an_earlier_document_asked_is_taken_back(waited_s: float, heard: list[tuple[str, str]]) -> None:
    guest = FakeSessions({"3": CONSOLE}, deaf=frozenset("3"))
    kind = Session(guest)
    assert go(kind, ONCE) == "Asked"
    guest.now_s += waited_s
    assert go(kind, Desired(state="unlocked"), generation=8) == "InSync"
    assert guest.heard == heard


def test_a_look_for_another_document_forgets_nothing() -> None:
    guest = FakeSessions({"3": CONSOLE}, deaf=frozenset("3"))
    kind = Session(guest)
    assert go(kind, ONCE) == "Asked"
    kind.observe(Desired(state="unlocked"), Past(generation=8))
    assert go(kind, ONCE) == "Asked"
    assert guest.heard == [("lock", "3")]


def test_until_locks_again_and_after_a_new_login() -> None:
    guest = FakeSessions({"2": SCREEN})
    kind = Session(guest)
    assert go(kind, FIGHT) == "InSync"
    guest.unlock("2")
    assert go(kind, FIGHT) == "InSync"
    guest.held = {"9": replace(SCREEN, id="9")}
    assert go(kind, FIGHT) == "InSync"
    assert guest.held["9"].locked


def test_ends() -> None:
    guest = FakeSessions({"2": SCREEN, "c1": GREETER})
    assert go(Session(guest), Desired(state="ended", user="alice")) == "InSync"
    assert list(guest.held) == ["c1"]


def test_notices() -> None:
    before = seen(SCREEN, CONSOLE, GREETER)
    after = seen(locked(SCREEN), REMOTE)
    assert Session.notices(before, after) == (
        Notice("SessionClosed", "3 (bob, seat0 tty3)"),
        Notice("SessionOpened", "4 (alice, pts/0)"),
        Notice("SessionLocked", "2 (alice, seat0 tty2)"),
    )
    assert Session.notices(seen(locked(SCREEN)), seen(SCREEN)) == (
        Notice("SessionUnlocked", "2 (alice, seat0 tty2)"),
    )


def test_shows_every_session_without_empty_fields() -> None:
    assert Session.show(seen(replace(REMOTE, idle_since=NOW), GREETER)) == {
        **{"lidClosed": False, "docked": False, "externalPower": True},
        "sessions": {
            "4": {
                "user": "alice",
                "uid": 1000,
                "tty": "pts/0",
                "type": "tty",
                "class": "user",
                "state": "active",
                "active": True,
                "remote": True,
                "locked": False,
                "idleSince": NOW,
            },
            "c1": {
                "user": "gdm",
                "uid": 0,
                "seat": "seat0",
                "type": "x11",
                "class": "greeter",
                "state": "active",
                "active": True,
                "remote": False,
                "locked": False,
            },
        },
    }


def test_a_long_message_is_cut() -> None:
    many = seen(*(replace(SCREEN, id=str(n)) for n in range(5)))
    message = Session.verdict(ONCE, many, Session.diff(ONCE, many)).message
    assert message.endswith("2 (alice, seat0 tty2), and 2 more")


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("session: locked", Desired(state="locked"), id="short"),
        pytest.param(
            "session: {state: locked, user: alice, lockedUntil: '2026-03-01T14:00:00+01:00'}",
            Desired(state="locked", user="alice", locked_until=LATER),
            id="long",
        ),
        pytest.param(
            "session: {state: ended, seat: seat0, id: c2, enforce: always}",
            Desired(state="ended", seat="seat0", id="c2", always=True),
            id="filters",
        ),
    ],
)
def test_reads(text: str, desired: Desired) -> None:
    assert Session.parse(read(text)[0].normal["session"]) == desired


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("session: lock", id="a verb"),
        pytest.param("session: {user: alice}", id="no state"),
        pytest.param("session: {state: ended, lockedUntil: '2026-03-01T14:00:00Z'}", id="until what"),
        pytest.param("session: {state: locked, user: ''}", id="nobody"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.session"):
        read(text)


def test_the_policy_hears_of_the_user() -> None:
    assert Session.touches(Desired(state="locked", user="alice")) == (Touch("user", "alice"),)
    assert Session.touches(ONCE) == ()
