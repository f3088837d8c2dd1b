"""Who is let in, through which door, after whom, and how often: decided without a guest."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import DriverError, InvalidSpec, ReconcilerError
from reconciler.resource import Action, Deed, Past, Phase, Touch
from reconciler.resources.user import Logins, SeatBusy, User, Way
from reconciler.secret import Safe, Secret
from reconciler.subjects.seating import REFUSALS, Desired, Door, Login, Observed
from tests.resources.user_fake import CONSOLE, PASSWORD, FakeGuest

PROMPT = Door(way="agetty", seat="seat0", tty="tty1", prompt=True)
SCREEN = Door(way="greetd", seat="seat0", graphical=True)
ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", active=True)
BEHIND = replace(ALICE, active=False)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
REMOTE = Login(id="4", user="alice", tty="pts/0")
IN = Desired(name="alice", state="logged-in", credential=True, seat="seat0")
OUT = Desired(name="alice", state="logged-out")
KIOSK = replace(IN, credential=False)


def seen(*logins: Login, **more: Any) -> Observed:
    terms: dict[str, Any] = {"generation": 7, "doors": (PROMPT, CONSOLE), "secret": True} | more
    return Observed(logins=logins, **terms)


def locked(login: Login) -> Login:
    return replace(login, locked=True)


def tried(state: Any, message: str = "", token: str = "login@7") -> dict[str, Deed]:
    return {token: Deed(state, "boot", 7, message)}


def verbs(desired: Desired, observed: Observed) -> list[tuple[str, str]]:
    return [(a.verb, a.target) for a in User.plan(desired, User.diff(desired, observed))]


@pytest.mark.parametrize(
    ("desired", "observed", "acts"),
    [
        pytest.param(Desired(), seen(ALICE, BOB), [], id="not managed"),
        pytest.param(IN, seen(), [("login", "alice")], id="an empty seat"),
        pytest.param(IN, seen(ALICE), [], id="there already"),
        pytest.param(IN, seen(REMOTE), [("login", "alice")], id="elsewhere is not at the seat"),
        pytest.param(IN, seen(BEHIND, locked(BOB)), [("activate", "2")], id="in the background"),
        pytest.param(IN, seen(BOB), [("lock", "3"), ("login", "alice")], id="who is there is locked first"),
        pytest.param(IN, seen(locked(BOB)), [("login", "alice")], id="locked already"),
        pytest.param(
            replace(IN, replace=True), seen(locked(BOB)), [("end", "3"), ("login", "alice")], id="replaced"
        ),
        pytest.param(KIOSK, seen(trusted=True), [("login", "alice")], id="trusted without one"),
        pytest.param(IN, seen(deeds=tried("done")), [], id="done once"),
        pytest.param(IN, seen(deeds=tried("refused", "its door fell")), [("login", "alice")], id="no try"),
        pytest.param(OUT, seen(ALICE, BOB, REMOTE), [("end", "2"), ("end", "4")], id="out of everywhere"),
        pytest.param(replace(OUT, seat="seat0"), seen(ALICE, REMOTE), [("end", "2")], id="out of one seat"),
        pytest.param(OUT, seen(BOB), [], id="out already"),
    ],
)
def test_plan(desired: Desired, observed: Observed, acts: list[tuple[str, str]]) -> None:
    assert verbs(desired, observed) == acts


def test_locks_and_ends_come_before_logins_of_all_kinds() -> None:
    lock, login = User.plan(IN, User.diff(IN, seen(BOB)))
    assert lock == Action("lock", "3", Phase.LEAVE, value="3 (bob, seat0 tty1)")
    assert (login.phase, login.token) == (Phase.ENTER, "login@7")
    (login,) = User.plan(replace(IN, token="monday"), User.diff(replace(IN, token="monday"), seen()))
    assert login.token == "login:monday"
    (login,) = User.plan(
        replace(KIOSK, always=True), User.diff(replace(KIOSK, always=True), seen(trusted=True))
    )
    assert login.token is None
    (end,) = User.plan(OUT, User.diff(OUT, seen(ALICE)))
    assert end == Action("end", "2", Phase.LEAVE, value=OUT.deadline_s)


logins = st.builds(
    Login,
    id=st.uuids().map(str),
    user=st.sampled_from(["alice", "bob", "carol"]),
    seat=st.sampled_from(["", "seat0", "seat1"]),
    tty=st.sampled_from(["tty1", "tty2"]),
    type=st.sampled_from(["tty", "x11", "wayland"]),
    active=st.booleans(),
    locked=st.booleans(),
    forbidden=st.booleans(),
)
doors = st.builds(
    Door,
    way=st.sampled_from(["agetty", "greetd"]),
    seat=st.sampled_from(["seat0", "seat1"]),
    tty=st.sampled_from(["", "tty1", "tty2"]),
    graphical=st.booleans(),
    prompt=st.booleans(),
    shut=st.sampled_from(["", "taken"]),
)


@given(
    desired=st.builds(
        Desired,
        name=st.just("alice"),
        state=st.sampled_from([None, "logged-in", "logged-out"]),
        credential=st.booleans(),
        seat=st.sampled_from(["seat0", "seat1"]),
        tty=st.sampled_from(["", "tty1"]),
        door=st.sampled_from(["", "graphical", "console"]),
        replace=st.booleans(),
        always=st.booleans(),
    ),
    observed=st.builds(
        Observed,
        logins=st.lists(logins, max_size=4).map(tuple),
        doors=st.lists(doors, max_size=4).map(tuple),
        secret=st.booleans(),
        trusted=st.booleans(),
        met=st.booleans(),
    ),
)
def test_a_whole_plan_leaves_nothing_to_do(desired: Desired, observed: Observed) -> None:
    plan = User.plan(desired, User.diff(desired, observed))
    for action in plan:
        assert action.verb in User.verbs  # or a policy could not name it
        assert action.phase >= User.earliest
        observed = User.foresee(observed, action)
    assert User.diff(desired, observed) == ()
    assert User.verdict(desired, observed, ()).ready or not plan


def kind_of(guest: FakeGuest, password: bytes | None = PASSWORD) -> User:
    ways: tuple[Way, ...] = (guest,)
    assert isinstance(guest, Logins)
    kind = User(ways)
    safe = Safe()
    if password is not None:
        safe.put({("user", "credential"): Secret(password)}, 0.0)
    kind.secrets = safe.of("user")
    return kind


def go(kind: User, desired: Desired, deeds: dict[str, Deed] | None = None) -> str:
    """One pass as the loop makes it, deeds and all; the reason after it."""
    deeds = {} if deeds is None else deeds
    past = Past(generation=7, deeds=deeds)
    error: ReconcilerError | None = None
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, past))):
        try:
            kind.act(action)
        except ReconcilerError as raised:
            error = raised
        if action.token is not None:
            state: Any = "refused" if error else "done"
            deeds[action.token] = Deed(state, "boot", 7, str(error or ""))
        if error:
            break
    observed = kind.observe(desired, past)
    changes = kind.diff(desired, observed)
    return type(error).__name__ if error and changes else kind.verdict(desired, observed, changes).reason


def test_logs_in_once_and_fights_nobody() -> None:
    guest, deeds = FakeGuest(), dict[str, Deed]()
    kind = kind_of(guest)
    assert go(kind, IN, deeds) == "InSync"
    assert guest.heard == [("enter", "alice"), ("activate", "9")]
    assert go(kind, IN, deeds) == "InSync"
    assert len(guest.heard) == 2
    del guest.held["9"]
    assert go(kind, IN, deeds) == "LoggedOut"
    assert guest.judged == 1


def test_a_wrong_password_is_judged_once_even_if_the_secret_comes_again() -> None:
    guest, deeds = FakeGuest(), dict[str, Deed]()
    for _ in range(3):
        assert go(kind_of(guest, b"wrong"), IN, deeds) == "WrongPassword"
    assert guest.judged == 1
    assert guest.heard == []


@pytest.mark.parametrize("answer", [*REFUSALS, "LoginsDisabled"])
def test_what_pam_says_is_the_reason(answer: str) -> None:
    guest = FakeGuest(answer=answer)
    assert go(kind_of(guest), IN) == answer
    assert guest.heard == []


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
        del guest.held["9"]
    assert go(kind, desired) == "InSync"


def test_a_seat_whose_locker_is_deaf_is_not_given_away() -> None:
    guest = FakeGuest({"3": BOB}, deaf=True)
    assert go(kind_of(guest), IN) == SeatBusy.__name__
    assert guest.judged == 0
    guest.deaf = False
    assert go(kind_of(guest), IN) == "InSync"
    assert guest.held["3"].locked


def test_a_secret_that_is_gone_as_it_is_taken_uses_nothing_up() -> None:
    guest = FakeGuest()
    kind = kind_of(guest)
    (login,) = kind.plan(IN, kind.diff(IN, kind.observe(IN, Past(generation=7))))
    kind.secrets.take("credential")
    with pytest.raises(DriverError, match="apply the document again"):
        kind.act(login)
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


def test_show() -> None:
    shut = replace(CONSOLE, tty="tty3", shut="in use")
    assert User.show(seen(locked(ALICE), doors=(shut, CONSOLE, replace(SCREEN, shut="no greeter")))) == {
        "loggedIn": {
            "2": {
                "user": "alice",
                "seat": "seat0",
                "tty": "tty2",
                "type": "tty",
                "active": True,
                "locked": True,
            }
        },
        "doors": {"seat0": {"agetty": "open", "greetd": "no greeter"}},
    }


def parsed(text: str) -> Desired:
    (document,) = read(f"user: {text}")
    desired: Desired = User.parse(document.normal["user"])
    return desired


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("alice logged-in", KIOSK, id="short"),
        pytest.param("alice logged-out", OUT, id="short, out"),
        pytest.param("{name: alice, state: logged-in, credential: {fromFile: x}}", IN, id="long"),
        pytest.param(
            "{name: a, state: logged-out, seat: seat1, deadline: 5s}",
            Desired(name="a", state="logged-out", seat="seat1", deadline_s=5),
            id="out of a seat",
        ),
        pytest.param(
            "{name: a, state: logged-in, replace: true, tty: tty5, token: 7}",
            Desired(name="a", state="logged-in", seat="seat0", replace=True, tty="tty5", token="7"),
            id="all of it",
        ),
    ],
)
def test_parse(text: str, desired: Desired) -> None:
    assert parsed(text) == desired


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("alice", id="no state"),
        pytest.param("'-rf logged-in'", id="an option"),
        pytest.param("'a;b logged-in'", id="a shell's word"),
        pytest.param("'../x logged-in'", id="a path"),
        pytest.param(f"{'a' * 300} logged-in", id="huge"),
        pytest.param('"al\\nice logged-in"', id="two lines"),
        pytest.param("{name: $HOME, state: logged-in}", id="a variable"),
        pytest.param("{name: a, state: logged-in, tty: ../sda}", id="another device"),
        pytest.param("{name: a, state: logged-in, credential: hunter2}", id="a secret in the document"),
        pytest.param("{name: a, state: logged-in, tty: tty2, door: graphical}", id="two doors"),
        pytest.param("{name: a, state: logged-in, deadline: 5s}", id="nothing ends"),
        pytest.param("{name: a, state: logged-out, deadline: 5m}", id="too patient"),
        pytest.param("{name: a, state: logged-out, replace: true}", id="nobody comes"),
        pytest.param("{name: a, state: logged-in, enforce: always, token: x}", id="once and always"),
        pytest.param(
            "{name: a, state: logged-in, enforce: always, credential: {fromFile: x}}",
            id="always once",
        ),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        parsed(text)
    assert "hunter2" not in str(raised.value)


def test_a_policy_can_name_the_user() -> None:
    assert User.touches(IN) == (Touch("user", "alice"),)
    assert User.touches(Desired()) == ()
