"""What holds for every document: one normal form, one schema, nothing but InvalidSpec, bounded time."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.documents import json_schema, normalise, read
from reconciler.documents.kinds import Kinds, every_kind
from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Json
from reconciler.spec import Normal, digest
from tests.documents.kinds import KINDS
from tests.documents.values import specs

KINDS_OF_BOTH_SORTS = [pytest.param(KINDS, id="every rule"), pytest.param(every_kind(), id="every kind")]
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def accepted(spec: Json, kinds: Kinds) -> Normal | None:
    """Its normal form, if it has one."""
    try:
        return normalise(spec, kinds=kinds)
    except InvalidSpec as error:
        check([replace(fault, line=1, column=1) for fault in error.faults])
        return None


def check(faults: Sequence[Fault]) -> None:
    assert faults
    for fault in faults:
        assert fault.line >= 1
        assert fault.column >= 1
        assert str(fault).isprintable()


@pytest.mark.parametrize("kinds", KINDS_OF_BOTH_SORTS)
@given(data=st.data())
@settings(UNHURRIED, max_examples=400)
def test_what_is_accepted_has_one_normal_form_and_fits_the_schema(kinds: Kinds, data: st.DataObject) -> None:
    spec = data.draw(specs(kinds))
    normal = accepted(spec, kinds)
    if normal is None:
        return
    schema = jsonschema.Draft202012Validator(json_schema(kinds))
    assert schema.is_valid(spec)
    assert schema.is_valid(normal)
    again = normalise(json.loads(json.dumps(normal)), kinds=kinds)
    assert digest(again) == digest(normal)


@given(data=st.data())
@settings(UNHURRIED, max_examples=200)
def test_a_text_means_what_its_object_means(data: st.DataObject) -> None:
    spec = data.draw(specs(KINDS))

    def outcome(read_it: object) -> Json:
        try:
            if isinstance(read_it, str):
                return [document.normal for document in read(read_it, kinds=KINDS)]
            return [normalise(read_it, kinds=KINDS)]
        except InvalidSpec as error:
            return {(fault.path, fault.message) for fault in error.faults}

    of_object = outcome(spec)
    assert outcome(json.dumps(spec)) == of_object
    assert outcome(json.dumps(spec, indent="\t")) == of_object


WORDS = ["power", "off", "state", "a", "1", "1.5", "true", "~", "<<", "/x", "30s", "😀"]
BLANKS = [" ", "\n", "\n  ", "\t", "\r", "\x85", "\u2028", "\ufeff", "\0"]
MARKS = [":", ": ", "- ", ", ", "{", "}", "[", "]", "? ", "| ", ">\n", "#", "'", '"', "\\", "@", "`"]
DRESS = ["---\n", "...\n", "%YAML 1.1\n", "&a ", "*a", "!t ", "!!int "]
LONG_FORM = "apiVersion: guest-reconciler/v1\nkind: GuestState\nmetadata: {name: a}\nspec: "
SOUP = st.lists(
    st.sampled_from([*WORDS, *WORDS, *BLANKS, *MARKS, *MARKS, *DRESS, LONG_FORM]), max_size=40
).map("".join)


@given(text=st.one_of(SOUP, SOUP, st.text(), st.binary()))
@settings(UNHURRIED, max_examples=1500)
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    _read_or_refuse(text)


@given(text=SOUP)
@settings(UNHURRIED, max_examples=300, suppress_health_check=list(HealthCheck))
def test_the_other_parser_reads_or_refuses_it_too(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        _read_or_refuse(text)


def _read_or_refuse(text: str | bytes) -> None:
    try:
        documents = read(text, source="f", kinds=KINDS)
    except InvalidSpec as error:
        check(error.faults)
        return
    for document in documents:
        assert normalise(document.normal, kinds=KINDS) == document.normal


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(spec=JSON | st.dictionaries(st.sampled_from(sorted(KINDS)), JSON))
@settings(UNHURRIED, max_examples=500)
def test_any_object_is_read_or_refused(spec: Json) -> None:
    normal = accepted(spec, KINDS)
    assert normal is None or normalise(normal, kinds=KINDS) == normal


LARGE = 250_000


def _many(one: str, count: int = 19_000) -> str:
    return ", ".join(one.format(*[n] * 2) for n in range(count))[:LARGE]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"report: [{_many('memory')}]", id="a long list"),
        pytest.param(f"report: [{_many('memoru')}]", id="a long list of wrong words"),
        pytest.param(f"power: {{{_many('s' * 50 + '{}: x', 3000)}}}", id="many unknown fields"),
        pytest.param(f"{{{_many('powe{}: x', 9000)}}}", id="many unknown kinds"),
        pytest.param("power: off\n" * 9000, id="one key over and over"),
        pytest.param(
            f"units: {{of: {{{_many('{}: {{state: 1, restart: 7.5}}', 3000)}}}}}", id="wrong alternatives"
        ),
        pytest.param(f"units: {{of: {{{_many('{}: run', 9000)}}}}}", id="no alternative"),
        pytest.param(
            f"disks: {{state: frozen, hooks: {{{_many('/a/{}/: {}', 8000)}}}}}", id="an open mapping"
        ),
        pytest.param("---\npower: off\n" * 9000, id="many documents"),
        pytest.param('{"power": "off"}' * 9000, id="many documents in JSON"),
        pytest.param("power: " + "of" * 100_000, id="a long word"),
        pytest.param("of" * 500 + ": x", id="a long key"),
        pytest.param('{"' + "of" * 100_000 + '": 1}', id="a long key in JSON"),
        pytest.param("power: {deadline: '" + "1h" * 100_000 + "'}", id="a long duration"),
        pytest.param("power: {at: '" + "1" * 200_000 + "'}", id="a long time"),
        pytest.param("disks: {state: frozen, mounts: [" + "/.." * 80_000 + "]}", id="a long path"),
        pytest.param("disks: {state: frozen, cap: " + "1" * 200_000 + "Gi}", id="a long size"),
        pytest.param("user: {name: " + "a-" * 100_000 + "}", id="a long name"),
        pytest.param("spec: {}\nmetadata: {name: x, labels: {x: " + "a." * 100_000 + "}}", id="a long label"),
        pytest.param("n: " + "9" * 200_000, id="a long number"),
        pytest.param('{"n": -' + "9" * 200_000 + "}", id="a long number in JSON"),
        pytest.param("[" * LARGE, id="many brackets"),
        pytest.param("{" * LARGE, id="many braces"),
        pytest.param("&a " * 80_000, id="many anchors"),
        pytest.param("*a\n--- " * 30_000, id="many aliases"),
        pytest.param("? " * 100_000, id="many question marks"),
        pytest.param("#\n" * 100_000, id="many comments"),
        pytest.param("\r" * LARGE + "x", id="many lines"),
        pytest.param('"' + "\\n" * 100_000, id="an open quote"),
    ],
)
def test_time_is_bounded(text: str) -> None:
    begun_s = time.process_time()
    _read_or_refuse(text)
    # Some 0.5 s at the most where this was written; what grows with the square takes minutes.
    assert time.process_time() - begun_s < 10
