"""The steps of a login: in which phase, under which token, and what comes of each."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import DriverError, Terminal
from reconciler.resource import Action, Phase
from reconciler.subjects.admission import action_for, after, missing, refusal
from reconciler.subjects.seating import LATER, REFUSALS, Desired, Door, Login, Observed

CONSOLE = Door(way="agetty", seat="seat0", tty="tty2")
ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", active=True)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
IN = Desired(name="alice", state="logged-in", credential=True, seat="seat0")
OUT = Desired(name="alice", state="logged-out")
KIOSK = replace(IN, credential=False)


def seen(*logins: Login, **more: Any) -> Observed:
    terms: dict[str, Any] = {"generation": 7, "doors": (CONSOLE,), "secret": True} | more
    return Observed(logins=logins, **terms)


def planned(desired: Desired, observed: Observed) -> tuple[Action, ...]:
    return tuple(action_for(desired, change) for change in missing(desired, observed))


def test_phases_and_tokens() -> None:
    judge, lock, login = planned(IN, seen(BOB))
    assert lock == Action("lock", "3", Phase.LEAVE, value="3 (bob, seat0 tty1)")
    assert (judge.phase, judge.token) == (Phase.LEAVE, "judge@7")
    assert (login.phase, login.token) == (Phase.ENTER, "login@7")
    assert [action.token for action in planned(replace(IN, token="monday"), seen())] == [
        "judge:monday",
        "login:monday",
    ]
    assert [action.token for action in planned(KIOSK, seen(trusted=True))] == [None, "login@7"]
    always = planned(replace(KIOSK, always=True), seen(trusted=True))
    assert [action.token for action in always] == [None, None]
    (end,) = planned(OUT, seen(ALICE))
    assert end == Action("end", "2", Phase.LEAVE, value=OUT.deadline_s)


def test_what_comes_of_each_step() -> None:
    observed = seen(BOB)
    judge, lock, login = planned(IN, observed)
    observed = after(observed, judge)
    assert observed.judged
    assert planned(IN, observed) == (lock, login)
    observed = after(observed, lock)
    assert planned(IN, observed) == (login,)
    observed = after(observed, login)
    assert [(login.user, login.active, login.locked) for login in observed.logins] == [
        ("bob", False, True),
        ("alice", True, False),
    ]
    assert set(observed.deeds) == {"judge@7", "login@7"}


@pytest.mark.parametrize("answer", [*REFUSALS, *LATER])
def test_a_refusal_has_the_name_of_the_answer(answer: str) -> None:
    error = refusal("alice", answer, "at the door")
    assert type(error).__name__ == answer
    assert isinstance(error, DriverError if answer in LATER else Terminal)
    assert "cannot log in alice: " in str(error)
    assert "(at the door)" in str(error)
