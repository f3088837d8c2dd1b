"""Paths and texts as they are shown, and objects as trees."""

import pytest

from reconciler.documents.json_object import object_tree
from reconciler.documents.tree import LimitFault, Path, dotted, quoted
from reconciler.resource import Json


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec", "power", "state"), "spec.power.state"),
        (("spec", "memory-blocks", "a_1"), "spec.memory-blocks.a_1"),
        (("spec", "mounts", 0), "spec.mounts[0]"),
        (("spec", "files", "/etc/motd", "mode"), 'spec.files["/etc/motd"].mode'),
        (("a.b", "", 'say "hi"\n'), '["a.b"][""]["say \\"hi\\"\\u000a"]'),
    ],
)
def test_paths(path: Path, text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("off", '"off"'),
        ("Zürich 😀", '"Zürich 😀"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\u202eoff\u2066", '"\\u202eoff\\u2066"'),
        ("\U000e0041\ud800", '"\\U000e0041\\ud800"'),
        ("x" * 60, '"' + "x" * 60 + '"'),
        ("x" * 61, '"' + "x" * 59 + '…"'),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert quoted(text) == shown


def deep(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


def test_an_object_is_as_deep_as_a_text_may_be() -> None:
    assert object_tree(deep(32))[1] is None


@pytest.mark.parametrize("value", [deep(33), deep(5000), {"a": [0] * 20_000}])
def test_an_object_beyond_the_limits_is_not_read_on(value: Json) -> None:
    assert isinstance(object_tree(value)[1], LimitFault)


def test_an_object_has_its_numbers_in_one_form() -> None:
    tree, _ = object_tree({"a": [1.0, 0.5, -0.0, True, None, "x"]})
    assert str(tree.value) == "{'a': [1, 0.5, 0, True, None, 'x']}"
    assert not tree.findings


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "not a number that JSON can hold"),
        (float("-inf"), "not a number that JSON can hold"),
        (2**53, "a whole number must lie within"),
        pytest.param(10**5000, "a whole number must lie within", id="more digits than str takes"),
        ("a\0", "text must not hold a NUL character"),
        ("\ud800", "text must not hold half of a surrogate pair"),
        (b"x", "not JSON: bytes"),
    ],
)
def test_what_json_or_a_guest_cannot_hold(value: Json, words: str) -> None:
    tree, _ = object_tree({"a": value})
    (finding,) = tree.findings
    assert finding.path == ("a",)
    assert finding.message.startswith(words)


@pytest.mark.parametrize("key", ["\0", "\udc00"])
def test_keys_are_held_to_the_same(key: str) -> None:
    tree, _ = object_tree({key: 1})
    assert [finding.path for finding in tree.findings] == [(key,)]
