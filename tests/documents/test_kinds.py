"""The kinds that there are, and their examples, held to what the documents promise."""

from pathlib import Path

import pytest

from reconciler.documents import describe_field, normalise, read
from reconciler.documents.kinds import Kind, every_kind, fields, forms, normal_of
from reconciler.documents.tree import Finding
from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Json
from tests.documents.kinds import KINDS, Desired, declare

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("kind", every_kind().values(), ids=lambda kind: str(kind.kind))
def test_a_kinds_rules_are_in_the_vocabulary(kind: Kind) -> None:
    assert forms(kind).long.rule["schema"] == fields(kind)


@pytest.mark.parametrize("kind", every_kind().values(), ids=lambda kind: str(kind.kind))
def test_every_field_of_a_kind_is_described(kind: Kind) -> None:
    assert describe_field(kind.kind).description.endswith(".")
    assert undescribed(kind.kind) == []


def undescribed(path: str) -> list[str]:
    """The fields without a description that hold no others."""
    doc = describe_field(path)
    if not doc.fields:
        # What stands below any key is told where its mapping is.
        told = describe_field(doc.path.removesuffix('["*"]'))
        return [] if told.description else [doc.path]
    return [name for field in doc.fields for name in undescribed(field.path)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_is_accepted_and_its_normal_form_is_final(path: Path) -> None:
    documents = read(path.read_bytes(), source=path.name)
    assert documents
    for document in documents:
        assert normalise(document.normal) == document.normal


@pytest.mark.parametrize("kind", every_kind().values(), ids=lambda kind: str(kind.kind))
def test_each_word_of_a_short_form_has_a_long_form_of_its_own(kind: Kind) -> None:
    if kind.short is None:
        return
    words: list[Json] = [*kind.short.get("allowed", ())]
    words += [[word] for word in kind.short.get("schema", {}).get("allowed", ())]
    normals = []
    for word in words:
        normal, findings = normal_of(kind, word)
        assert not findings
        assert normal_of(kind, normal) == (normal, [])
        normals.append(normal)
    assert all(normals.count(normal) == 1 for normal in normals)


def test_a_mapping_with_a_field_of_the_long_form_is_the_long_form() -> None:
    units = KINDS["units"]
    assert normal_of(units, {"a": "running"})[0] == {"of": {"a": "running"}}
    assert normal_of(units, {"of": {"a": "running"}})[0] == {"of": {"a": "running"}}
    assert normal_of(units, {"enforce": "once"})[0] == {"enforce": "once"}
    assert normal_of(units, {}) == ({}, [])
    assert normal_of(units, {"a": "running", "of": {}})[1] != []


def _refuse(normal: object) -> Desired:
    raise InvalidSpec(Fault(0, 0, "mounts.1", "is no disk"), Fault(0, 0, "", "all in all"))


def test_a_kinds_own_faults_get_their_paths() -> None:
    kind = declare("own", {"mounts": {"type": "list"}}, parse=_refuse)
    _, findings = normal_of(kind, {"mounts": ["a", "b"]})
    assert findings == [Finding(("own", "mounts", 1), "is no disk"), Finding(("own",), "all in all")]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        pytest.param("tasks.a.b.command.0", ("tasks", "a.b", "command", 0), id="a key with a dot"),
        pytest.param("tasks.a.command", ("tasks", "a", "command"), id="beside one that begins it"),
        pytest.param("tasks./etc/x.conf", ("tasks", "/etc/x.conf"), id="a path"),
        pytest.param("tasks.7.command.1", ("tasks", "7", "command", 1), id="a number that is a name"),
        pytest.param("tasks.c.d", ("tasks", "c", "d"), id="what is not there"),
        pytest.param("tasks.a.command.9.x", ("tasks", "a", "command", 9, "x"), id="beyond the end"),
    ],
)
def test_a_fault_is_placed_by_the_keys_that_are_there(path: str, steps: tuple[str | int, ...]) -> None:
    def refuse(normal: object) -> Desired:
        raise InvalidSpec(Fault(0, 0, path, "is wrong"))

    task = {"type": "dict", "schema": {"command": {"type": "list"}}}
    rules = {"tasks": {"type": "dict", "valuesrules": task}}
    names = ("a", "a.b", "/etc/x.conf", "7")
    value = {"tasks": {name: {"command": ["x", "y"]} for name in names}}
    assert normal_of(declare("own", rules, parse=refuse), value)[1] == [Finding(("own", *steps), "is wrong")]


def test_a_short_form_may_turn_out_to_mean_nothing() -> None:
    def expand(short: Json) -> dict[str, Json]:
        raise InvalidSpec(f"no words in {short}")

    kind = declare("own", {}, {"type": "string"}, expand)
    assert normal_of(kind, "x")[1] == [Finding(("own",), "no words in x")]


@pytest.mark.parametrize("name", ["spec", "metadata", "kind", "apiVersion"])
def test_a_kind_cannot_have_the_name_of_a_key_of_every_document(name: str) -> None:
    with pytest.raises(AssertionError):
        forms(declare(name, {}))
