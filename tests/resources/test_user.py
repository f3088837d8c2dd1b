"""Who is let in, through which door, after whom, and how often: decided without a guest."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Deed, Touch
from reconciler.resources.user import User
from reconciler.subjects.seating import Desired, Door, Login, Observed
from tests.resources.user_fake import CONSOLE

PROMPT = Door(way="agetty", seat="seat0", tty="tty1", prompt=True)
SCREEN = Door(way="greetd", seat="seat0", graphical=True)
ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", active=True)
BEHIND = replace(ALICE, active=False)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
REMOTE = Login(id="4", user="alice", tty="pts/0")
IN = Desired(name="alice", state="logged-in", credential=True, seat="seat0")
OUT = Desired(name="alice", state="logged-out")
KIOSK = replace(IN, credential=False)
JUDGE, LOGIN = ("judge", "alice"), ("login", "alice")


def seen(*logins: Login, **more: Any) -> Observed:
    terms: dict[str, Any] = {"generation": 7, "doors": (PROMPT, CONSOLE), "secret": True} | more
    return Observed(logins=logins, **terms)


def locked(login: Login) -> Login:
    return replace(login, locked=True)


def tried(state: Any, reason: str = "", token: str = "login@7") -> dict[str, Deed]:
    return {token: Deed(state, "boot", 7, "", reason)}


def verbs(desired: Desired, observed: Observed) -> list[tuple[str, str]]:
    return [(a.verb, a.target) for a in User.plan(desired, User.diff(desired, observed))]


@pytest.mark.parametrize(
    ("desired", "observed", "acts"),
    [
        pytest.param(Desired(), seen(ALICE, BOB), [], id="not managed"),
        pytest.param(IN, seen(), [JUDGE, LOGIN], id="an empty seat"),
        pytest.param(IN, seen(ALICE), [], id="there already"),
        pytest.param(IN, seen(REMOTE), [JUDGE, LOGIN], id="elsewhere is not at the seat"),
        pytest.param(IN, seen(BEHIND, locked(BOB)), [("activate", "2")], id="in the background"),
        pytest.param(IN, seen(BOB), [JUDGE, ("lock", "3"), LOGIN], id="who is there is locked in between"),
        pytest.param(IN, seen(locked(BOB)), [JUDGE, LOGIN], id="locked already"),
        pytest.param(IN, seen(BOB, judged=True), [("lock", "3"), LOGIN], id="judged already"),
        pytest.param(
            replace(IN, replace=True), seen(locked(BOB)), [JUDGE, ("end", "3"), LOGIN], id="replaced"
        ),
        pytest.param(KIOSK, seen(trusted=True), [JUDGE, LOGIN], id="trusted without one"),
        pytest.param(KIOSK, seen(trusted=True, judged=True), [JUDGE, LOGIN], id="an account is judged again"),
        pytest.param(IN, seen(deeds=tried("done")), [], id="done once"),
        pytest.param(IN, seen(deeds=tried("refused", "DriverError")), [JUDGE, LOGIN], id="no try"),
        pytest.param(OUT, seen(ALICE, BOB, REMOTE), [("end", "2"), ("end", "4")], id="out of everywhere"),
        pytest.param(replace(OUT, seat="seat0"), seen(ALICE, REMOTE), [("end", "2")], id="out of one seat"),
        pytest.param(OUT, seen(BOB), [], id="out already"),
    ],
)
def test_plan(desired: Desired, observed: Observed, acts: list[tuple[str, str]]) -> None:
    assert verbs(desired, observed) == acts


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
    opening=st.booleans(),
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
        judged=st.booleans(),
        again_s=st.sampled_from([0.0, 30.0]),
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
        pytest.param("{name: a, state: logged-in, tty: tty13}", id="a console without a key"),
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
