"""Revisions grow, and the last few statuses are kept to patch from."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_runtime.report import KEPT_MAX, Report, fitting


def test_a_revision_is_of_the_boot_clock_and_grows() -> None:
    report = Report()
    assert report.update({"a": 1}, now_s=5.0)
    assert report.revision == 5000
    assert report.update({"a": 2}, now_s=5.0)
    assert report.revision == 5001
    again = Report()  # the agent is restarted later in the same boot
    again.update({"a": 2}, now_s=6.0)
    assert again.revision > report.revision


def test_the_same_status_is_no_news() -> None:
    report = Report()
    report.update({"a": 1}, now_s=1.0)
    assert not report.update({"a": 1}, now_s=2.0)
    assert report.revision == 1000


def test_old_statuses_are_forgotten() -> None:
    report = Report()
    for number in range(KEPT_MAX + 1):
        report.update({"a": number}, now_s=1.0 + number)
    assert report.at(1000) is None
    assert report.at(2000) == {"a": 1}
    assert report.at("2000") is None


def status(**members: int) -> dict[str, Any]:
    """Members of so many letters, the inventory's in lower case."""
    told = {name: "x" * length for name, length in members.items()}
    return {
        "phase": "Converged",
        "conditions": [{"type": "run", "message": "x" * 200}],
        "observed": {name: text for name, text in told.items() if name.isupper()},
        "inventory": {name: text for name, text in told.items() if name.islower()},
    }


@pytest.mark.parametrize(
    ("whole", "left_out"),
    [
        pytest.param(status(A=100, b=100), None, id="it fits"),
        pytest.param(status(A=100, B=900, c=200), ["observed.B"], id="the longest goes"),
        pytest.param(status(A=800, b=900, C=10), ["inventory.b", "observed.A"], id="as many as are needed"),
        pytest.param({"observed": {"A": "\N{FIRE}" * 500}}, ["observed.A"], id="bytes count"),
    ],
)
def test_what_does_not_fit_is_left_out_and_named(whole: dict[str, Any], left_out: list[str] | None) -> None:
    told = fitting(whole, 1000)
    assert told.get("leftOut") == left_out
    for section in ("observed", "inventory"):
        kept = {k: v for k, v in whole.get(section, {}).items() if f"{section}.{k}" not in (left_out or ())}
        assert told.get(section, {}) == kept


def test_the_messages_of_conditions_go_last() -> None:
    told = fitting(status(A=100), 200)
    assert told["leftOut"] == ["conditions.message", "observed.A"]
    assert told["conditions"] == [{"type": "run", "message": ""}]


@given(
    st.dictionaries(st.text('aBé"', min_size=1), st.text(max_size=400), max_size=9), st.integers(300, 2000)
)
def test_what_is_left_fits(members: dict[str, str], bytes_max: int) -> None:
    whole = {"conditions": [], "observed": members, "inventory": {"x": "y" * 100}}
    told = fitting(whole, bytes_max)
    size = len(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode())
    assert size <= bytes_max or not (told["observed"] or told["inventory"])
    assert "leftOut" in told or told == whole
