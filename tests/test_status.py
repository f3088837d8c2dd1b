"""The phase, and merge patches that bring one status to another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.status import Condition, Refusal, Status, apply_patch, merge_patch, phase

LEAVES = st.booleans() | st.integers() | st.text(max_size=4)
KEYS = st.sampled_from("abc")
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, JSON)


@given(OBJECTS, OBJECTS)
def test_a_patch_makes_the_new_of_the_old(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert apply_patch(old, merge_patch(old, new)) == new


@given(OBJECTS)
def test_nothing_new_is_an_empty_patch(value: dict[str, Any]) -> None:
    assert merge_patch(value, value) == {}


@pytest.mark.parametrize(  # rows of RFC 7396, appendix A
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, "bar", "bar"),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_as_the_rfc_has_them(target: Any, patch: Any, result: Any) -> None:
    assert apply_patch(target, patch) == result


FAILED = Condition("a", "False", "DriverError", mood="failed")
WAITING = Condition("b", "Unknown", "NotSeenYet", mood="waiting")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        pytest.param(Status(1), "Converged", id="nothing"),
        pytest.param(Status(1, holding=True), "Holding", id="holding"),
        pytest.param(Status(1, (WAITING,), holding=True), "Converging", id="waiting"),
        pytest.param(Status(1, (WAITING, FAILED)), "Degraded", id="failed"),
        pytest.param(Status(1, (FAILED,), refusal=Refusal(2, "Conflict", "")), "Refused", id="refused"),
    ],
)
def test_the_most_urgent_word_wins(status: Status, word: str) -> None:
    assert phase(status) == word
    assert status.document({})["phase"] == word


def test_conditions_travel_in_order() -> None:
    document = Status(1, (WAITING, FAILED)).document({"version": "1"})
    assert [condition["type"] for condition in document["conditions"]] == ["a", "b"]
    assert "nextTry" not in document["conditions"][0]
    assert "refusal" not in document
