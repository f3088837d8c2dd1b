"""Texts of every encoding and size, YAML or JSON: the same trees, or where they are spoilt."""

import pytest

from reconciler.documents.text import TEXT_BYTES_MAX, read_trees
from reconciler.documents.tree import LimitFault, Tree
from reconciler.resource import Json


def values(text: str | bytes) -> list[Json]:
    trees, fault = read_trees(text)
    assert fault is None, str(fault)
    assert not [finding for tree in trees for finding in tree.findings]
    return [tree.value for tree in trees]


def fault_at(text: str | bytes) -> tuple[int, int, str]:
    _, fault = read_trees(text)
    assert fault is not None
    return fault.line, fault.column, fault.message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a": [1, "x"]}', id="JSON"),
        pytest.param('\r\n\t{\r\n\t"a"\t:\t[1,\n"x"]}\t', id="JSON with tabs and CRLF"),
        pytest.param("a: [1, x]", id="flow YAML"),
        pytest.param("a:\n- 1\n- x\n", id="block YAML"),
        pytest.param("a:\r\n- 1\r\n- x\r\n", id="CRLF"),
        pytest.param("a:\r- 1\r- x\r", id="CR"),
        pytest.param("\ufeffa: [1, x]", id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf{\"a\": [1, 'x']}", id="bytes with a byte order mark"),
        pytest.param("{a: [1, x,],}", id="flow YAML with commas at the ends"),
        pytest.param('{"a": [1, "x",],}', id="JSON but for its commas, and so YAML"),
    ],
)
def test_many_texts_of_one_value(text: str | bytes) -> None:
    assert values(text) == [{"a": [1, "x"]}]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a":1}\n{"b":2}', id="JSON lines"),
        pytest.param('{"a":1}{"b":2}', id="JSON without anything between"),
        pytest.param('{"a":1}\n---\n{"b":2}', id="JSON in YAML"),
        pytest.param("a: 1\n---\nb: 2\n...\n", id="YAML"),
        pytest.param("%YAML 1.2\n---\na: 1\n---\nb: 2\n", id="YAML with a directive"),
    ],
)
def test_streams(text: str) -> None:
    assert values(text) == [{"a": 1}, {"b": 2}]


def test_a_big_text_of_json_with_long_keys() -> None:
    value = {f"{'k' * 2000}{n}": n for n in range(100)}
    text = str(value).replace("'", '"')
    assert len(text) > 200_000
    assert values(text) == [value]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        pytest.param(b"a: \xff", (1, 4), "not UTF-8", id="Latin-1"),
        pytest.param("a: ä".encode("utf-16"), (1, 1), "not UTF-8", id="UTF-16"),
        pytest.param(b"a: b\nc: \xc3", (2, 4), "not UTF-8", id="half a character"),
        pytest.param("a: \0", (1, 4), "the character U+0000 is refused in a document", id="NUL"),
        pytest.param(
            "ok: 1\na: \x1b[0m", (2, 4), "the character U+001B is refused in a document", id="escape"
        ),
        pytest.param("a: \ufeff", (1, 4), "the character U+FEFF is refused in a document", id="mark inside"),
        pytest.param("a: \ud800", (1, 4), "the character U+D800 is refused in a document", id="surrogate"),
        pytest.param(" " * (TEXT_BYTES_MAX + 1), (1, 1), "larger than 256 KiB", id="too large"),
        pytest.param('{"a": ["b" 1]}', (1, 12), 'not JSON: expected "," or "]"', id="JSON without a comma"),
        pytest.param('{\n\t"a" 1}', (2, 6), 'not JSON: expected ":"', id="JSON without a colon"),
        pytest.param('{"a": [1, 2', (1, 12), 'not JSON: expected "," or "]"', id="JSON cut short"),
        pytest.param('{"a": 1}\n}', (2, 1), "not JSON: expected a value", id="one brace too many"),
        pytest.param(
            "{a: 1, b]\n", (1, 9), 'not YAML: expected "," or "}"', id="flow YAML gets further than JSON"
        ),
    ],
)
def test_where_the_reading_ends(text: str | bytes, place: tuple[int, int], words: str) -> None:
    assert fault_at(text) == (*place, words)


@pytest.mark.parametrize("opening", ["[", "{a: ", '{"a":', "- ", "? "])
def test_a_deep_text_is_not_read_on(opening: str) -> None:
    trees, fault = read_trees(opening * 40_000)
    assert isinstance(fault, LimitFault)
    assert fault.message == "nested deeper than 32 levels"
    assert len(trees) == 1


@pytest.mark.parametrize(
    "text", ["[" + "1," * 30_000 + "1]", "- 1\n" * 30_000, "--- 1\n" * 30_000, "1: 1\n" * 30_000]
)
def test_a_text_of_very_many_parts_is_not_read_on(text: str) -> None:
    _, fault = read_trees(text)
    assert isinstance(fault, LimitFault)
    assert fault.message == "more than 20000 keys and values"


def test_an_alias_bomb_is_refused_at_its_first_alias() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
    )
    (tree,), fault = read_trees(bomb)
    assert fault is None
    assert [finding.place for finding in tree.findings[:3]] == [(1, 4), (2, 4), (2, 8)]
    assert tree.value["g"] == [None, None]


def places(tree: Tree) -> dict[str, tuple[int, int, int, int]]:
    return {
        ".".join(map(str, path)): (place.key_line, place.key_column, place.line, place.column)
        for path, place in tree.places.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ä: 1\nlong:\n- x\n- {in: [deep]}\n", id="YAML"),
        pytest.param("ä: 1\r\nlong:\r\n- x\r\n- {in: [deep]}\r\n", id="CRLF"),
    ],
)
def test_places_in_yaml(text: str) -> None:
    (tree,), _ = read_trees(text)
    assert places(tree) == {
        "": (1, 1, 1, 1),
        "ä": (1, 1, 1, 4),
        "long": (2, 1, 3, 1),
        "long.0": (3, 3, 3, 3),
        "long.1": (4, 3, 4, 3),
        "long.1.in": (4, 4, 4, 8),
        "long.1.in.0": (4, 9, 4, 9),
    }


def test_places_in_json() -> None:
    (first, second), _ = read_trees('{"ä": "😀", "b":\r\n\t[1,\n{}]}\n{"c": null}')
    assert places(first) == {
        "": (1, 1, 1, 1),
        "ä": (1, 2, 1, 7),
        "b": (1, 12, 2, 2),
        "b.0": (2, 3, 2, 3),
        "b.1": (3, 1, 3, 1),
    }
    assert places(second) == {"": (4, 1, 4, 1), "c": (4, 2, 4, 7)}
