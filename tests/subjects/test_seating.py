"""Why somebody is let in or not, and through which door."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.resource import Deed
from reconciler.subjects.seating import (
    LATER,
    REFUSALS,
    Desired,
    Door,
    Login,
    Observed,
    door_for,
    login_of,
    obstacle,
)

CONSOLE = Door(way="agetty", seat="seat0", tty="tty2")
PROMPT = Door(way="agetty", seat="seat0", tty="tty1", prompt=True)
SCREEN = Door(way="greetd", seat="seat0", graphical=True)
ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", active=True)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
IN = Desired(name="alice", state="logged-in", credential=True, seat="seat0")
KIOSK = replace(IN, credential=False)


def seen(*logins: Login, **more: Any) -> Observed:
    terms: dict[str, Any] = {"generation": 7, "doors": (PROMPT, CONSOLE), "secret": True} | more
    return Observed(logins=logins, **terms)


def tried(state: Any, message: str = "", token: str = "login@7") -> dict[str, Deed]:
    return {token: Deed(state, "boot", 7, message)}


@pytest.mark.parametrize(
    ("desired", "observed", "reason", "failed"),
    [
        pytest.param(IN, seen(), "", False, id="nothing"),
        pytest.param(IN, seen(ALICE), "", False, id="there"),
        pytest.param(IN, seen(BOB), "", False, id="bob can be locked"),
        pytest.param(IN, seen(secret=False), "SecretMissing", True, id="no credential any more"),
        pytest.param(KIOSK, seen(), "CredentialNeeded", True, id="no credential, no trust"),
        pytest.param(KIOSK, seen(trusted=True), "", False, id="trusted"),
        pytest.param(IN, seen(doors=()), "NoDoor", True, id="no door"),
        pytest.param(replace(IN, tty="tty9"), seen(), "NoDoor", True, id="no such console"),
        pytest.param(IN, seen(BOB, doors=(replace(SCREEN, shut="full"),)), "SeatBusy", True, id="taken"),
        pytest.param(IN, seen(doors=(replace(SCREEN, shut="starts"),)), "DoorShut", False, id="opens soon"),
        pytest.param(IN, seen(replace(BOB, forbidden=True)), "SeatBusy", True, id="not to be touched"),
        pytest.param(IN, seen(deeds=tried("begun")), "OutcomeUnknown", True, id="crashed in between"),
        pytest.param(IN, seen(deeds=tried("done")), "LoggedOut", False, id="logged out again"),
        pytest.param(IN, seen(deeds=tried("refused", "the door fell")), "", False, id="not PAM's word"),
        pytest.param(IN, seen(met=True, secret=False), "LoggedOut", False, id="was there, and left"),
        *(
            pytest.param(
                IN, seen(deeds=tried("refused", f"cannot log in alice: {words}")), reason, True, id=reason
            )
            for reason, words in REFUSALS.items()
        ),
    ],
)
def test_obstacle(desired: Desired, observed: Observed, reason: str, failed: bool) -> None:
    verdict = obstacle(desired, observed)
    assert (verdict.reason if verdict else "", bool(verdict and verdict.failed)) == (reason, failed)
    assert verdict is None or not verdict.ready


def test_a_door_that_opens_soon_is_waited_for() -> None:
    verdict = obstacle(IN, seen(doors=(replace(SCREEN, shut="its greeter starts"),)))
    assert verdict is not None
    assert verdict.waiting
    assert verdict.message == "greetd at seat0: its greeter starts"


def test_a_seat_kept_shut_by_who_is_replaced_opens_then() -> None:
    doors = (replace(SCREEN, shut="bob's session is there"),)
    assert obstacle(replace(IN, replace=True), seen(BOB, doors=doors)) is None


@pytest.mark.parametrize(
    ("desired", "doors", "door"),
    [
        pytest.param(IN, (PROMPT, CONSOLE), CONSOLE, id="a free console before one with a prompt"),
        pytest.param(IN, (PROMPT, CONSOLE, SCREEN), SCREEN, id="a graphical one first"),
        pytest.param(replace(IN, door="console"), (SCREEN, CONSOLE), CONSOLE, id="a console is asked for"),
        pytest.param(replace(IN, door="graphical"), (CONSOLE,), None, id="none is graphical"),
        pytest.param(replace(IN, tty="tty1"), (SCREEN, CONSOLE, PROMPT), PROMPT, id="this console"),
        pytest.param(IN, (replace(CONSOLE, shut="in use"), PROMPT), PROMPT, id="an open one first"),
        pytest.param(replace(IN, seat="seat1"), (SCREEN, CONSOLE), None, id="another seat's"),
    ],
)
def test_door(desired: Desired, doors: tuple[Door, ...], door: Door | None) -> None:
    assert door_for(desired, seen(doors=doors)) == door


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        pytest.param(IN, "2", id="the one in front"),
        pytest.param(replace(IN, tty="tty5"), "5", id="on this console"),
        pytest.param(replace(IN, door="graphical"), "6", id="a graphical one"),
        pytest.param(replace(IN, seat="seat1"), None, id="at another seat"),
    ],
)
def test_login_of(desired: Desired, found: str | None) -> None:
    other = replace(ALICE, id="5", tty="tty5", active=False)
    graphical = replace(ALICE, id="6", tty="tty7", type="x11", active=False)
    login = login_of(desired, seen(other, ALICE, graphical, BOB))
    assert (login.id if login else None) == found


def test_the_page_has_every_reason() -> None:
    root = Path(__file__).parents[2]
    said = set(re.findall(r"`([A-Z]\w+)`", (root / "specs/user.md").read_text()))
    source = (root / "reconciler/subjects/seating.py").read_text()
    reasons = {*REFUSALS, *LATER, *re.findall(r'Verdict\(\w+, "(\w+)"', source)}
    assert len(reasons) > 15
    assert reasons - said == set()
