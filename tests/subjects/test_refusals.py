"""What refused, for how long, and for which document."""

from reconciler.resource import Past
from reconciler.subjects.refusals import Refusals


def test_stands_until_the_document_changes() -> None:
    refusals = Refusals[int]()
    assert refusals.standing(Past(generation=1)) == {}
    refusals.note(3, "busy")
    refusals.note(4, "busy")
    refusals.drop(4)
    refusals.drop(5)
    assert refusals.standing(Past(generation=1), 1e9) == {3: "busy"}
    assert refusals.standing(Past(generation=2, preview=True)) == {}
    assert refusals.standing(Past(generation=1)) == {3: "busy"}, "a preview leaves no trace"
    assert refusals.standing(Past(generation=2)) == {}
    assert refusals.standing(Past(generation=1)) == {}


def test_stands_for_a_while() -> None:
    refusals = Refusals[str](15.0)
    refusals.note("/a", "full", 100.0)
    assert refusals.standing(Past(), 114.0) == {"/a": "full"}
    assert refusals.standing(Past(preview=True), 115.0) == {}
    assert refusals.standing(Past(), 114.0) == {"/a": "full"}
    assert refusals.standing(Past(), 115.0) == {}
    assert refusals.standing(Past(), 114.0) == {}
