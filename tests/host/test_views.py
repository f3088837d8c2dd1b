"""Status, plan and spec for people; any shape of JSON that a guest may send."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.host import views
from reconciler.host.hello import parse_hello
from tests.host.fake_guest import FakeGuest
from tests.host.test_mirror import JSON, WORDS

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-01-01T11:59:55Z", "5s"),
        ("2026-01-01T11:50:00Z", "10m"),
        ("2026-01-01T02:00:00Z", "10h"),
        ("2025-12-22T12:00:00Z", "10d"),
        ("2026-01-01T13:00:00Z", "0s"),  # clocks differ
        ("yesterday", "-"),
        ("2026-01-01T11:59:55", "-"),  # without a zone nobody knows
        (None, "-"),
        (7, "-"),
    ],
)
def test_age(time: Any, shown: str) -> None:
    assert views.age(time, NOW) == shown


KEYS = st.sampled_from(
    [
        "phase",
        "observedGeneration",
        "conditions",
        "observed",
        "inventory",
        "refusal",
        "leftOut",
        "type",
        "message",
    ]
)
SHAPES = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=4,
)


@given(st.dictionaries(KEYS, SHAPES, max_size=6))
def test_any_status_has_a_page(status: dict[str, Any]) -> None:
    hello = parse_hello(FakeGuest().hello())
    for text in (views.page(hello, status), views.headline("x", status), views.condition_table(status)):
        assert text.replace("\n", "").isprintable()


PLAN = st.dictionaries(st.sampled_from(["changes", "actions"]), SHAPES, max_size=2)


@given(st.dictionaries(WORDS, PLAN, max_size=3))
def test_any_plan_is_shown(plans: dict[str, Any]) -> None:
    assert views.change_lines(views.changes(plans)).replace("\n", "").isprintable()
    views.actions(plans)
    views.hindrances(plans)


def test_a_page_says_what_is_the_matter() -> None:
    guest = FakeGuest()
    guest.adopt(1, {"hostname": {"static": "web-01"}})
    refused = {"refusal": {"generation": 2, "reason": "InvalidSpec", "message": "no"}}
    page = views.page(
        parse_hello(guest.hello()), guest.status() | refused | {"leftOut": ["observed.run", "x\x1b"]}
    )
    for line in (
        "Name:        web-01",
        "refused: generation 2: InvalidSpec: no",
        "observed.run, x\\x1b",
        "Inventory: memory",
    ):
        assert line in page
    assert "session  Unsupported" in page.partition("Not possible here")[2]


def test_specs_side_by_side() -> None:
    have = {"power": {"state": "off"}, "hostname": {"static": "a", "pretty": "A"}}
    want = {"hostname": {"static": "b", "pretty": "A"}, "session": {"state": "locked"}}
    assert views.spec_lines(have, want).splitlines() == [
        "- spec.hostname.static: a",
        "+ spec.hostname.static: b",
        "- spec.power: state=off",
        "+ spec.session: state=locked",
    ]
    assert views.spec_lines(have, have) == ""


def test_actions_in_the_order_in_which_they_run() -> None:
    plans = {
        "a": {"actions": [{"verb": "freeze", "phase": "hold"}]},
        "b": {"actions": [{"verb": "set", "phase": "change"}]},
        "c": {"actions": [{"verb": "thaw", "phase": "release"}]},
    }
    assert [action["verb"] for action in views.actions(plans)] == ["thaw", "set", "freeze"]
