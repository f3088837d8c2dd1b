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
    due_s,
    login_of,
    obstacle,
)

CONSOLE = Door(way="agetty", seat="seat0", tty="tty2")
PROMPT = Door(way="agetty", seat="seat0", tty="tty1", prompt=True)
SCREEN = Door(way="greetd", seat="seat0", graphical=True)
ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", active=True)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
IN = Desired(name="alice", state="logged-in", credential=True, seat="seat0")
NAMED = replace(IN, token="t")
KIOSK = replace(IN, credential=False)
NO_SESSIONS = replace(SCREEN, shut="there is no session in it")
STARTING = replace(SCREEN, shut="starts", opening=True)
BOBS = replace(PROMPT, prompt=False, shut="in use")


def seen(*logins: Login, **more: Any) -> Observed:
    terms: dict[str, Any] = {"generation": 7, "doors": (PROMPT, CONSOLE), "secret": True} | more
    return Observed(logins=logins, **terms)


def tried(state: Any, reason: str = "", message: str = "", token: str = "login@7") -> dict[str, Deed]:
    return {token: Deed(state, "boot", 7, message, reason)}


def judged(state: Any, reason: str = "", message: str = "") -> dict[str, Deed]:
    return tried(state, reason, message, "judge@7")


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
        pytest.param(IN, seen(doors=(NO_SESSIONS,)), "DoorShut", True, id="shut for good"),
        pytest.param(
            IN, seen(secret=False, doors=(NO_SESSIONS,)), "DoorShut", True, id="shut for good, first of all"
        ),
        pytest.param(IN, seen(doors=(STARTING,)), "DoorShut", False, id="opens soon"),
        pytest.param(IN, seen(secret=False, doors=(STARTING,)), "SecretMissing", True, id="opens too late"),
        pytest.param(replace(IN, tty="tty1"), seen(BOB, doors=(BOBS,)), "SeatBusy", True, id="his console"),
        pytest.param(
            replace(IN, tty="tty1", replace=True), seen(BOB, doors=(BOBS,)), "", False, id="his, and he goes"
        ),
        pytest.param(
            replace(IN, replace=True), seen(BOB, doors=(NO_SESSIONS,)), "DoorShut", True, id="for nothing"
        ),
        pytest.param(IN, seen(replace(BOB, forbidden=True)), "SeatBusy", True, id="not to be touched"),
        pytest.param(IN, seen(deeds=tried("begun")), "OutcomeUnknown", True, id="crashed in between"),
        pytest.param(IN, seen(deeds=judged("begun")), "OutcomeUnknown", True, id="crashed over PAM"),
        pytest.param(IN, seen(deeds=tried("done")), "LoggedOut", False, id="logged out again"),
        pytest.param(
            IN, seen(deeds=judged("done") | tried("done"), secret=False), "LoggedOut", False, id="and again"
        ),
        pytest.param(IN, seen(deeds=tried("refused", "DriverError")), "", False, id="not PAM's word"),
        pytest.param(IN, seen(deeds=judged("done"), judged=True, secret=False), "", False, id="agreed"),
        pytest.param(IN, seen(deeds=judged("done"), secret=False), "SecretMissing", True, id="too long ago"),
        pytest.param(
            IN, seen(deeds=tried("refused", "SeatBusy"), judged=True), "", False, id="somebody had come"
        ),
        pytest.param(
            IN, seen(deeds=judged("refused", "LoginsDisabled")), "", False, id="logins were disabled"
        ),
        pytest.param(
            IN, seen(deeds=judged("refused", "Novelty", "x")), "Novelty", True, id="of a newer version"
        ),
        pytest.param(
            IN,
            seen(deeds=judged("refused", "", "the password is wrong")),
            "OutcomeUnknown",
            True,
            id="without a reason",
        ),
        pytest.param(
            IN,
            seen(deeds=judged("refused", "WrongPassword", "said in other words")),
            "WrongPassword",
            True,
            id="of a version with other words",
        ),
        pytest.param(IN, seen(met=True, secret=False), "LoggedOut", False, id="was there, and left"),
        pytest.param(
            replace(KIOSK, always=True),
            seen(trusted=True, now_s=5.0, again_s=30.0),
            "LoggedOut",
            False,
            id="a rest between logins",
        ),
        pytest.param(
            replace(KIOSK, always=True),
            seen(trusted=True, now_s=30.0, again_s=30.0),
            "",
            False,
            id="after the rest",
        ),
        *(
            pytest.param(IN, seen(deeds=judged("refused", reason, words)), reason, True, id=reason)
            for reason, words in REFUSALS.items()
        ),
    ],
)
def test_obstacle(desired: Desired, observed: Observed, reason: str, failed: bool) -> None:
    verdict = obstacle(desired, observed)
    assert (verdict.reason if verdict else "", bool(verdict and verdict.failed)) == (reason, failed)
    assert verdict is None or not verdict.ready


def test_a_door_that_opens_soon_is_waited_for() -> None:
    verdict = obstacle(IN, seen(doors=(replace(SCREEN, shut="its greeter starts", opening=True),)))
    assert verdict is not None
    assert verdict.waiting
    assert verdict.message == "greetd at seat0: its greeter starts"


@pytest.mark.parametrize(
    ("desired", "doors", "door"),
    [
        pytest.param(IN, (PROMPT, CONSOLE), CONSOLE, id="a free console before one with a prompt"),
        pytest.param(IN, (PROMPT, CONSOLE, SCREEN), SCREEN, id="a graphical one first"),
        pytest.param(replace(IN, door="console"), (SCREEN, CONSOLE), CONSOLE, id="a console is asked for"),
        pytest.param(replace(IN, door="graphical"), (CONSOLE,), None, id="none is graphical"),
        pytest.param(replace(IN, tty="tty1"), (SCREEN, CONSOLE, PROMPT), PROMPT, id="this console"),
        pytest.param(IN, (replace(CONSOLE, shut="in use"), PROMPT), PROMPT, id="an open one first"),
        pytest.param(IN, (CONSOLE, STARTING), STARTING, id="one that is about to open"),
        pytest.param(IN, (NO_SESSIONS, PROMPT), PROMPT, id="none that stays shut"),
        pytest.param(
            replace(IN, door="graphical"), (NO_SESSIONS, CONSOLE), NO_SESSIONS, id="unless that is asked for"
        ),
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


@pytest.mark.parametrize(
    ("desired", "observed", "why"),
    [
        pytest.param(IN, seen(BOB, deeds=judged("done")), "3 (bob, seat0 tty1) has not locked", id="deaf"),
        pytest.param(
            replace(IN, replace=True),
            seen(BOB, deeds=judged("done")),
            "bob, seat0 tty1) has not ended",
            id="no",
        ),
        pytest.param(
            IN, seen(deeds=judged("refused", "LoginsDisabled", "no logins")), "(no logins)", id="disabled"
        ),
        pytest.param(IN, seen(doors=(STARTING,)), "greetd at seat0: starts", id="a door"),
        pytest.param(IN, seen(BOB), "too old: apply", id="nothing known"),
        pytest.param(NAMED, seen(), "too old: apply", id="a token that is not spent"),
    ],
)
def test_what_kept_a_login_until_its_credential_was_gone(
    desired: Desired, observed: Observed, why: str
) -> None:
    verdict = obstacle(desired, replace(observed, secret=False))
    assert verdict is not None
    assert verdict.reason == "SecretMissing"
    assert why in verdict.message


@pytest.mark.parametrize(
    ("desired", "act", "advice"),
    [
        pytest.param(NAMED, "judge:t", "write another token than t", id="its token"),
        pytest.param(IN, "judge@7", "apply the document again", id="its generation"),
    ],
)
def test_a_credential_given_anew_is_of_no_use_where_pam_was_asked(
    desired: Desired, act: str, advice: str
) -> None:
    observed = seen(BOB, deeds=tried("done", token=act))
    verdict = obstacle(desired, observed)
    assert verdict is not None
    assert (verdict.reason, verdict.failed) == ("SecretMissing", True)
    assert verdict.message.endswith(f"has not locked): {advice}")
    assert obstacle(desired, replace(observed, judged=True)) is None


def test_who_is_kept_logged_in_is_looked_at_again_after_the_rest() -> None:
    resting = seen(trusted=True, now_s=5.0, again_s=30.0)
    assert due_s(replace(KIOSK, always=True), resting) == 30.0
    assert due_s(replace(KIOSK, always=True), replace(resting, logins=(ALICE,))) is None
    assert due_s(KIOSK, resting) is None


def test_the_page_has_every_reason() -> None:
    root = Path(__file__).parents[2]
    said = set(re.findall(r"`([A-Z]\w+)`", (root / "specs/user.md").read_text()))
    source = (root / "reconciler/subjects/seating.py").read_text()
    reasons = {*REFUSALS, *LATER, *re.findall(r'Verdict\(\w+, "(\w+)"', source)}
    assert len(reasons) > 15
    assert reasons - said == set()
