"""What PyYAML would have read as something else, and its complaints in plain words."""

import pytest
import yaml

from reconciler.documents.text import read_trees
from reconciler.resource import Json


def value(text: str) -> Json:
    (tree,), fault = read_trees(text)
    assert fault is None, str(fault)
    assert not tree.findings
    return tree.value


@pytest.mark.parametrize(
    "word",
    [
        *("off", "on", "yes", "no", "y", "n", "Off", "YES", "True", "TRUE", "False", "Null", "NULL"),
        *(
            "52:54:00:12:34:56",
            "12:30",
            "190:20:30",
            "0755",
            "0o17",
            "0x1F",
            "0b11",
            "1_000",
            "+1",
            "-x",
            "--1",
        ),
        *(".5", "1.", "1.e3", ".nan", ".inf", "-.inf", "NaN", "Infinity", "1e", "01", "00"),
        *(
            "2026-11-23",
            "2026-11-23T18:00:00Z",
            "=",
            "<",
            "!=",
            "10.0.0.1",
            "1.2.3",
            "5s",
            "10Mi",
            "a b",
            "٣",
        ),
    ],
)
def test_a_word_that_is_text(word: str) -> None:
    if word != "!=":  # a tag, unless it is in quotes
        assert value(f"a: {word}") == {"a": word}
    assert value(f"a: '{word}'") == {"a": word}
    assert value(f"{{a: [{word!r}]}}") == {"a": [word]}


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-0", 0),
        ("-17", -17),
        ("9007199254740991", 9007199254740991),
        ("1.50", 1.5),
        ("1.0", 1),
        ("1e3", 1000),
        ("2.5E-1", 0.25),
    ],
)
def test_a_word_that_is_none(word: str, meant: Json) -> None:
    read = value(f"a: {word}")["a"]
    assert (read, type(read)) == (meant, type(meant))
    assert value(f'a: "{word}"') == {"a": word}
    assert value(f"a: |-\n  {word}\n") == {"a": word}


@pytest.mark.parametrize("word", ["off", "8080", "true", "null", "~", "1.50", "0755", "52:54:00:12:34:56"])
def test_every_key_is_text_as_it_is_written(word: str) -> None:
    assert value(f"{word}: x") == {word: "x"}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("9" * 200_000, "a number has at most 40 characters"),
        ("9007199254740992", "a whole number must lie within"),
        ("-1e300", "a whole number must lie within"),
        ("1e999", "not a number that JSON can hold"),
        ('"\\0"', "text must not hold a NUL character"),
    ],
)
def test_a_value_that_is_refused(word: str, words: str) -> None:
    (tree,), fault = read_trees(f"a: {word}")
    assert fault is None
    (finding,) = tree.findings
    assert finding.path == ("a",)
    assert finding.message.startswith(words)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        pytest.param("a: b: c", (1, 5), 'a ":" cannot stand here', id="two colons"),
        pytest.param("a: 1\n  b: 2", (2, 4), 'a ":" cannot stand here', id="indented too far"),
        pytest.param(
            "a:\n  b: 1\n c: 2", (3, 2), "expected a key here; look at the indentation", id="between"
        ),
        pytest.param(
            "a: 1\n- b", (2, 1), "expected a key here; look at the indentation", id="list in a mapping"
        ),
        pytest.param("a: - b", (1, 4), "a list cannot begin here", id="list on the key's line"),
        pytest.param("a: 1\nb\nc: 2", (3, 1), 'a key without ":"', id="no colon"),
        pytest.param("a:\n\tb: 1", (2, 1), "a tab cannot indent", id="tab"),
        pytest.param("a: @b", (1, 4), 'nothing can begin with "@"; put it in quotes', id="at"),
        pytest.param("a: `b`", (1, 4), 'nothing can begin with "`"; put it in quotes', id="back quote"),
        pytest.param("a: %b", (1, 4), 'nothing can begin with "%"; put it in quotes', id="percent"),
        pytest.param('a: "b', (1, 4), "a quote is opened and never closed", id="open quote"),
        pytest.param(
            "a: 'b\n---\nc", (1, 4), "a quote is opened and not closed before", id="quote over documents"
        ),
        pytest.param(
            'a: "b" c', (1, 8), "expected a key here; look at the indentation and the quotes", id="behind"
        ),
        pytest.param('a: "\\q"', (1, 5), "unknown escape in double quotes", id="unknown escape"),
        pytest.param('a: "\\xq"', (1, 7), "an escape in double quotes lacks", id="escape without digits"),
        pytest.param('a: "\\ud800"', (1, 7), "an escape in double quotes that is no", id="half a pair"),
        pytest.param("a: [1 2, , ]", (1, 10), "expected a value", id="two commas"),
        pytest.param("a: [1, 2}", (1, 9), 'expected "," or "]"', id="wrong bracket"),
        pytest.param("a: [1, 2", (1, 9), 'expected "," or "]"', id="open bracket"),
        pytest.param("x\na: {b", (2, 2), 'a ":" cannot stand here', id="word before a mapping"),
        pytest.param("a: 1\n...\nb: 2", (3, 1), 'expected "---" before another document', id="no separator"),
        pytest.param("a: !x!y z", (1, 4), "tags are refused", id="tag without a handle"),
        pytest.param("%YAML 2.0\n---\na", (1, 1), "this is not YAML 1", id="YAML 2"),
        pytest.param("a: |x\n  b", (1, 5), "after | and > a line must end", id="block header"),
        pytest.param("a: & b", (1, 5), "anchors are refused", id="anchor without a name"),
        pytest.param("a: * b", (1, 5), "aliases are refused", id="alias without a name"),
    ],
)
def test_complaints(text: str, place: tuple[int, int], words: str) -> None:
    _, fault = read_trees(text)
    assert fault is not None
    assert fault.message.startswith(f"not YAML: {words}"), fault.message
    assert (fault.line, fault.column) == place


def test_every_complaint_of_the_other_parser_has_words_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert value("a: [52:54:00:12:34:56, {b: off}]") == {"a": ["52:54:00:12:34:56", {"b": "off"}]}
    for mark in test_complaints.pytestmark:  # type: ignore[attr-defined]
        for row in mark.args[1]:
            _, fault = read_trees(row.values[0])
            # It lets pass an escaped half of a pair, which is refused as text, and some directives.
            if fault is not None:
                assert not any(mark in fault.message for mark in ("<", "but found", "expected ' ")), (
                    fault.message
                )
                assert fault.line == row.values[1][0]
