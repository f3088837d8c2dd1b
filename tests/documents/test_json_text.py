"""The reader of JSON, held to the one of the standard library."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.documents.json_text import json_events
from reconciler.documents.tree import Builder, SyntaxFault, Tree
from reconciler.resource import Json


def build(text: str) -> list[Tree]:
    builder = Builder()
    builder.feed(json_events(text))
    return builder.trees


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 2, "\t"]))
def test_what_json_writes_is_read(value: Json, ascii_only: bool, indent: int | str | None) -> None:
    (tree,) = build(json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    assert tree.value == value


TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"a"',
    '"\\u00e4\\n"',
    "1",
    "-0.5e+1",
    "01",
    "1.",
    "true",
    "nul",
    "'a'",
]


@given(st.lists(st.sampled_from([*TOKENS, " ", "\n", '"', "\\"]), min_size=1, max_size=12).map("".join))
@example('{"a":1,}')
@example("[1,]")
@example('"\\x"')
@example('"\t"')
@example("[}")
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        accepted = False
    else:
        accepted = True
    try:
        trees = build(text)
    except SyntaxFault:
        assert not accepted
    else:
        assert accepted == (len(trees) == 1)


def test_values_need_nothing_between() -> None:
    assert [tree.value for tree in build('{"a":1}[2]"3"4 5 true\nnull')] == [
        {"a": 1},
        [2],
        "3",
        4,
        5,
        True,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("{'a': 1}", (1, 2), 'a key in double quotes or "}"'),
        ('{"a": 1,}', (1, 9), "a key in double quotes"),
        ("[1,]", (1, 4), "a value"),
        ("[NaN]", (1, 2), 'a value or "]"'),
        ('["a"\n"b"]', (2, 1), '"," or "]"'),
        ('{"a"}', (1, 5), '":"'),
        ('{"a": 1]', (1, 8), '"," or "}"'),
        ('{"a": "x', (1, 7), "a value"),
    ],
)
def test_where_it_is_not_json(text: str, place: tuple[int, int], expected: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        build(text)
    assert (caught.value.line, caught.value.column) == place
    assert caught.value.message == f"not JSON: expected {expected}"
