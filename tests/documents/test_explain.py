"""What is told about a field, and about a path that leads nowhere."""

import pytest

from reconciler.documents import describe_field
from reconciler.errors import InvalidSpec
from tests.documents.kinds import KINDS


def test_a_field() -> None:
    doc = describe_field("spec.power.deadline", kinds=KINDS)
    assert doc.path == "spec.power.deadline"
    assert doc.expected == "a duration such as 30s, 10m or 1h30m, or a number of seconds, from 1s to 10m"
    assert (doc.default, doc.required, doc.secret, doc.fields) == ("30s", False, False, ())


def test_a_kind() -> None:
    doc = describe_field("power", kinds=KINDS)
    assert (doc.path, doc.description) == ("spec.power", "The power.")
    assert doc.short == "one of running, off, halted, suspended"
    assert [field.path for field in doc.fields][:2] == ["spec.power.state", "spec.power.deadline"]
    assert doc.fields[-1].path == "spec.power.enforce"


def test_the_document_and_its_spec() -> None:
    assert [field.path for field in describe_field("", kinds=KINDS).fields] == [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ]
    spec = describe_field("spec", kinds=KINDS)
    assert {field.path: field.short for field in spec.fields}["spec.disks"] == "one of frozen, thawed"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("disks.mounts", "a list, each entry an absolute path without ..", id="list"),
        pytest.param("disks.mounts[0]", "an absolute path without ..", id="entry"),
        pytest.param("disks.mounts[]", "an absolute path without ..", id="any entry"),
        pytest.param('disks.hooks["/a b"]', "a whole number, at least 0", id="quoted key"),
        pytest.param("disks.hooks.*", "a whole number, at least 0", id="any key"),
        pytest.param("units.of.x.restart", "1 to 128 printable ASCII", id="inside an alternative"),
        pytest.param("units.of.x", "one of running, stopped or a mapping", id="alternatives"),
        pytest.param("metadata.labels", "a mapping", id="metadata"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert describe_field(path, kinds=KINDS).expected.startswith(expected)


def test_a_mapping_with_any_keys_tells_of_what_is_below() -> None:
    (below,) = describe_field("disks.hooks", kinds=KINDS).fields
    assert (below.path, below.expected) == ('spec.disks.hooks["*"]', "a whole number, at least 0")


def test_all_inside_a_secret_is_secret() -> None:
    assert describe_field("user.credential.text", kinds=KINDS).secret


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("spec.power.stat", r'^spec.power.stat: unknown field, .*did you mean "state"\?'),
        ("powr", r'^spec.powr: unknown field, .*did you mean "power"\?'),
        ("power.state.x", "^spec.power.state.x: unknown field; none may stand here$"),
        ("power state", "is no path of a field"),
        ("power..state", "is no path of a field"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, complaint: str) -> None:
    with pytest.raises(InvalidSpec, match=complaint):
        describe_field(path, kinds=KINDS)
