"""The published schema is current, valid, and refuses what the rules refuse."""

from pathlib import Path

import jsonschema
import pytest

from reconciler.documents import json_schema, json_schema_text, read
from reconciler.errors import InvalidSpec
from reconciler.resource import Json
from tests.documents.kinds import KINDS

PUBLISHED = Path(__file__).parents[2] / "specs/schema/guest-state.schema.json"
SCHEMA = jsonschema.Draft202012Validator(json_schema(KINDS))


def long(spec: Json, **more: Json) -> Json:
    head = {"apiVersion": "guest-reconciler/v1", "kind": "GuestState", "metadata": {"name": "a"}}
    return {**head, "spec": spec, **more}


def test_the_published_schema_is_current() -> None:
    # Renew it with: reconciler schema > specs/schema/guest-state.schema.json
    assert PUBLISHED.read_text() == json_schema_text()


@pytest.mark.parametrize("kinds", [pytest.param(KINDS, id="every rule"), pytest.param(None, id="every kind")])
def test_it_is_a_schema(kinds: None) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(kinds))


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"power": "off"}, id="short"),
        pytest.param({"power": {"state": "off", "deadline": "1m"}}, id="long kind"),
        pytest.param(long({"power": "off"}), id="long"),
        pytest.param({"units": {"a": "running"}}, id="short mapping"),
        pytest.param({"units": {"of": {"a": {"state": "x", "restart": 7}}}}, id="long mapping"),
        pytest.param({"power": {"enforce": "once"}}, id="enforce"),
        pytest.param({"power": {"graceful": True, "wall": "hello"}}, id="one that needs another"),
    ],
)
def test_both_accept(document: Json) -> None:
    read(str(document).replace("'", '"').replace("True", "true"), kinds=KINDS)
    SCHEMA.validate(document)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param([], id="a list"),
        pytest.param({"powr": "off"}, id="unknown kind"),
        pytest.param({"power": "of"}, id="wrong word"),
        pytest.param({"power": 1}, id="wrong type"),
        pytest.param({"power": {"stat": "off"}}, id="unknown field"),
        pytest.param({"power": {"deadline": "30 s"}}, id="no duration"),
        pytest.param({"power": {"deadline": 0}}, id="too short in seconds"),
        pytest.param({"power": {"deadline": 601}}, id="too long in seconds"),
        pytest.param({"power": {"graceful": "true"}}, id="text for a boolean"),
        pytest.param({"power": {"reboot": 1.5}}, id="no token"),
        pytest.param({"power": {"at": "2026-01-31"}}, id="no time"),
        pytest.param({"power": {"at": "2026-01-31T00:00:00Z", "deadline": 60}}, id="excluded"),
        pytest.param({"power": {"wall": "x"}}, id="dependency missing"),
        pytest.param({"power": {"wall": "x", "graceful": False}}, id="dependency of another value"),
        pytest.param({"power": {"wall": "x" * 21, "graceful": True}}, id="too long a text"),
        pytest.param({"power": {"enforce": "never"}}, id="enforce"),
        pytest.param({"report": []}, id="too short a list"),
        pytest.param({"report": ["memoru"]}, id="wrong word in a list"),
        pytest.param({"report": {"memory": {"every": 0.5}}}, id="too small a number"),
        pytest.param({"disks": {}}, id="required"),
        pytest.param({"disks": {"state": "frozen", "mounts": ["a"]}}, id="no path"),
        pytest.param({"disks": {"state": "frozen", "mounts": ["/a/.."]}}, id="a path upwards"),
        pytest.param({"disks": {"state": "frozen", "mounts": ["/"] * 4}}, id="too long a list"),
        pytest.param({"disks": {"state": "frozen", "hooks": {"a": 1}}}, id="a wrong key"),
        pytest.param({"disks": {"state": "frozen", "hooks": {"/a": -1}}}, id="a wrong value of a key"),
        pytest.param({"disks": {"state": "frozen", "window": ["2026-01-31T00:00:00Z"]}}, id="half a pair"),
        pytest.param({"disks": {"state": "frozen", "cap": "1K"}}, id="no size"),
        pytest.param({"disks": {"state": "frozen", "ratio": 0.5}}, id="forbidden"),
        pytest.param({"disks": {"state": "frozen", "wait": "nevr"}}, id="no alternative"),
        pytest.param({"disks": {"state": "frozen", "level": ""}}, id="empty"),
        pytest.param({"disks": {"state": "frozen", "level": 0.5}}, id="neither type"),
        pytest.param({"disks": {"state": "frozen", "flags": ["x"]}}, id="a member that is not allowed"),
        pytest.param({"user": {"name": "Alice"}}, id="regex"),
        pytest.param({"user": "alice"}, id="no short form"),
        pytest.param({"units": {"a": "running", "of": {}}}, id="neither short nor long"),
        pytest.param(long({"power": "of"}), id="inside the long form"),
        pytest.param(long({}, apiVersion="v2"), id="version"),
        pytest.param(long({}, kind="GuestStatus"), id="kind"),
        pytest.param(long({}, status={}), id="unknown key beside spec"),
        pytest.param(long({}, metadata={}), id="no name"),
        pytest.param(long({}, metadata={"name": "a", "labels": {"a": 1}}), id="a number for a label"),
        pytest.param({"spec": {}}, id="half of the long form"),
    ],
)
def test_both_refuse(document: Json) -> None:
    assert not SCHEMA.is_valid(document)
    text = str(document).replace("'", '"').replace("True", "true").replace("False", "false")
    with pytest.raises(InvalidSpec):
        read(text, kinds=KINDS)
