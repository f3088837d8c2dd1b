"""When a wait is over, and what is told meanwhile."""

from typing import Any

import pytest

from reconciler.host.failures import Misused
from reconciler.host.following import Follower, converged, hopeless, so, wanted
from reconciler.subjects.seating import REFUSALS


def _status(
    generation: Any = 3, phase: Any = "Converged", kind: str = "session", **condition: Any
) -> dict[str, Any]:
    whole = {"type": kind, "status": "True", "reason": "InSync", "observedGeneration": generation} | condition
    return {"observedGeneration": generation, "phase": phase, "conditions": [whole]}


@pytest.mark.parametrize(
    ("status", "met"),
    [
        pytest.param(_status(3), True, id="there"),
        pytest.param(_status(4, "Holding"), True, id="later-and-holding"),
        pytest.param(_status(2), False, id="earlier"),
        pytest.param(_status(3, "Converging"), False, id="under-way"),
        pytest.param(_status(3, "Degraded"), False, id="degraded"),
        pytest.param(_status("3"), False, id="word-for-number"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_converged(status: dict[str, Any], met: bool) -> None:
    assert converged(3)(status) is met


@pytest.mark.parametrize(
    ("text", "status", "met"),
    [
        pytest.param("session", _status(), True, id="kind"),
        pytest.param("session", _status(status="False"), False, id="not-ready"),
        pytest.param("session=False", _status(status="False"), True, id="status"),
        pytest.param("session=LeaseEnded", _status(status="False", reason="LeaseEnded"), True, id="reason"),
        pytest.param("session", _status(observedGeneration=2), False, id="of-an-earlier-document"),
        pytest.param("session", _status(kind="power"), False, id="no-such-kind"),
        pytest.param("Holding", _status(phase="Holding"), True, id="phase-alone"),
        pytest.param("phase=Degraded", _status(phase="Degraded"), True, id="phase"),
        pytest.param("phase=Converged", _status(2), False, id="phase-of-an-earlier-document"),
        pytest.param("session", {"observedGeneration": 3, "conditions": "x"}, False, id="nonsense"),
    ],
)
def test_for(text: str, status: dict[str, Any], met: bool) -> None:
    assert so(*wanted(text), 3)(status) is met


@pytest.mark.parametrize("text", ["", "=", "=True", "session=", "phase=Odd"])
def test_for_nothing(text: str) -> None:
    with pytest.raises(Misused, match="cannot wait for"):
        wanted(text)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        pytest.param(_status(), "", id="ready"),
        pytest.param(
            _status(3, "Degraded", status="False", reason="Unsupported", message="no logind"),
            "session: Unsupported: no logind",
            id="unsupported",
        ),
        pytest.param(
            _status(3, "Degraded", status="False", reason="Terminal", nextTry="2026-01-01T00:00:00Z"),
            "",
            id="will-try-again",
        ),
        pytest.param(
            _status(3, "Converging", status="False", reason="Unsupported"), "", id="others-still-converge"
        ),
        pytest.param(_status(3, "Degraded", status="False", reason="DriverError"), "", id="not-yet"),
    ],
)
def test_hopeless(status: dict[str, Any], why: str) -> None:
    assert hopeless(status) == why


def test_only_news_are_told() -> None:
    follower = Follower()
    assert follower.news(_status()) == ["session  True  InSync", "Converged  generation 3"]
    assert follower.news(_status()) == []
    drifted = _status(3, "Converging", status="False", reason="Drifted", message="lock")
    assert follower.news(drifted) == ["session  False  Drifted  lock", "Converging  generation 3"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        *(pytest.param("user", reason, id=reason) for reason in (*REFUSALS, "CredentialNeeded")),
        *(
            pytest.param("run", reason, id=reason)
            for reason in ("Failed", "Killed", "DeadlinePassed", "Lost")
        ),
        pytest.param("run", "Stopped", id="Stopped"),
        pytest.param("services", "GivenUp", id="GivenUp"),
        pytest.param("services", "NotReloaded", id="NotReloaded"),
        pytest.param("accounts", "Protected", id="Protected"),
        pytest.param("clock", "NoSuchZone", id="NoSuchZone"),
        pytest.param("files", "SecretMissing", id="SecretMissing"),
        pytest.param("power", "OutcomeUnknown", id="OutcomeUnknown"),
        pytest.param("clock", "InvalidSpec", id="InvalidSpec"),
    ],
)
def test_what_only_a_document_mends_is_not_waited_for(kind: str, reason: str) -> None:
    failed = _status(3, "Degraded", kind, status="False", reason=reason, message="so")
    assert hopeless(failed) == f"{kind}: {reason}: so"
    assert hopeless(failed | {"phase": "Converging"}) == ""


@pytest.mark.parametrize("reason", ["SeatBusy", "LoginsDisabled", "DoorShut", "NoDoor", "Running", "InUse"])
def test_what_may_come_about_is_waited_for(reason: str) -> None:
    assert hopeless(_status(3, "Degraded", status="False", reason=reason)) == ""
