"""Documents as they are written: what they mean, and how each mistake is said."""

import json

import pytest

from reconciler.documents import Document, normalise, read, read_mapping
from reconciler.errors import Fault, InvalidSpec
from tests.documents.kinds import KINDS

LONG = """\
apiVersion: guest-reconciler/v1
kind: GuestState
metadata: {name: web-01, labels: {tier: web, example.org/rack: "7"}, annotations: {note: "x: y"}}
spec:
  power: {state: off, deadline: 1m30s}
  report: [memory, nics]
"""


def refusal(text: str | bytes, source: str = "f") -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        read(text, source=source, kinds=KINDS)
    return str(caught.value).splitlines()


def one(text: str) -> Document:
    (document,) = read(text, source="f", kinds=KINDS)
    return document


def test_the_long_form() -> None:
    document = one(LONG)
    assert document.normal == {
        "power": {"state": "off", "deadline": 90},
        "report": {"memory": {}, "nics": {}},
    }
    assert (document.name, document.labels) == ("web-01", {"tier": "web", "example.org/rack": "7"})
    assert document.annotations == {"note": "x: y"}
    assert (document.source, document.line) == ("f", 1)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        pytest.param("power: off", "power: {state: off}", id="a word"),
        pytest.param("power: off", "power: {'state': \"off\"}", id="quotes"),
        pytest.param("report: [memory]", "report: {memory: {}}", id="a list"),
        pytest.param("units: {a: running}", "units: {of: {a: running}}", id="a mapping"),
        pytest.param("disks: frozen", '{"disks": {"state": "frozen"}}', id="JSON"),
        pytest.param(
            "disks: {state: frozen, lease: 1m, cap: 1Ki, mounts: [/a//b/./]}",
            "disks: {state: frozen, lease: 60.0, cap: 1024, mounts: [/a/b]}",
            id="durations, sizes and paths",
        ),
        pytest.param("power: {reboot: 7}", 'power: {reboot: "7"}', id="a counted token"),
        pytest.param(
            "power: {at: 2026-01-31T18:00:00.5+01:00}",
            "power: {at: 2026-01-31T17:00:00Z}",
            id="a time with its offset",
        ),
        pytest.param(
            "disks: {state: thawed, wait: 1h}", "disks: {state: thawed, wait: 3600}", id="alternatives"
        ),
    ],
)
def test_two_ways_to_write_one_thing(short: str, long: str) -> None:
    normal = one(short).normal
    assert normal == one(long).normal
    assert normal == normalise(normal, kinds=KINDS)


def test_a_word_of_either_alternative_keeps_its_meaning() -> None:
    assert one("disks: {state: thawed, wait: never}").normal["disks"]["wait"] == "never"


def test_enforce_is_a_field_of_every_kind() -> None:
    assert one("power: {state: off, enforce: always}").normal == {
        "power": {"state": "off", "enforce": "always"}
    }


def test_nothing_is_filled_in() -> None:
    assert one("power: {}").normal == {"power": {}}
    assert one("{}").normal == {}


def test_a_stream() -> None:
    documents = read(f"# nothing\n---\npower: off\n---\n---\n{LONG}...\n", source="f", kinds=KINDS)
    assert [(document.name, document.line) for document in documents] == [("", 3), ("web-01", 6)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n", "null", b"\xef\xbb\xbf\n"])
def test_a_text_without_a_document(text: str) -> None:
    assert read(text, kinds=KINDS) == ()


STATES = "must be one of running, off, halted, suspended"
REFUSALS = [
    pytest.param(
        "power: off\npower: of\n", ["f:2:1: spec.power: key given twice, first on line 1"], id="a key twice"
    ),
    pytest.param(
        '{"power": {"state": "off",\n"state": "off", "at": 1}}',
        [
            "f:2:1: spec.power.state: key given twice, first on line 1",
            "f:2:23: spec.power.at: must be a time with its offset such as 2026-01-31T18:00:00Z or "
            "2026-01-31T18:00:00+01:00 (got 1; write it in quotes)",
        ],
        id="a key twice in JSON, and a wrong type",
    ),
    pytest.param(
        "power: {state: &a off, reboot: *a}",
        [
            "f:1:16: spec.power.state: anchors are refused; take &a away",
            "f:1:32: spec.power.reboot: aliases are refused; write the value of *a out",
        ],
        id="anchor and alias",
    ),
    pytest.param(
        "power: !$6$salt$hash",
        ["f:1:8: spec.power: tags are refused; text that begins with ! needs quotes"],
        id="a hash of a locked password",
    ),
    pytest.param("power: !!str off", ["f:1:8: spec.power: tags are refused; take !!str away"], id="a tag"),
    pytest.param(
        "power: !off off", ["f:1:8: spec.power: tags are refused; take !off away"], id="a tag of one's own"
    ),
    pytest.param(
        "power: {<<: {state: off}}",
        [
            'f:1:9: spec.power["<<"]: merge keys are refused; write the keys out',
        ],
        id="a merge key",
    ),
    pytest.param(
        "? [power]\n: off\n",
        ["f:1:3: spec: a key must be a word, not a mapping or a list"],
        id="a list for a key",
    ),
    pytest.param(
        "- power\n", ["f:1:1: spec: must be a mapping of kinds (got a list)"], id="a list for a document"
    ),
    pytest.param("off", ['f:1:1: spec: must be a mapping of kinds (got "off")'], id="a word for a document"),
    pytest.param(
        'power: "o\\u202eff"',
        [f'f:1:8: spec.power: {STATES} (got "o\\u202eff"; did you mean "off"?)'],
        id="turned writing is shown escaped",
    ),
    pytest.param(
        '"po\\u202ewer\\x07": off',
        [
            'f:1:1: spec["po\\u202ewer\\u0007"]: unknown kind, must be one of disks, power, report, units, '
            'user (did you mean "power"?)'
        ],
        id="in keys as well",
    ),
    pytest.param(
        f"user: {{name: {'x' * 5000}}}",
        [f'f:1:14: spec.user.name: must have at most 4096 characters (got "{"x" * 59}…")'],
        id="a long text is cut",
    ),
    pytest.param(
        "power: of\n---\npower: on\n---\n{",
        [
            f'f:1:8: spec.power: {STATES} (got "of"; did you mean "off"?)',
            f'f:3:8: spec.power: {STATES} (got "on")',
            "f:5:2: not YAML: expected a value",
        ],
        id="every document, up to where it is no YAML",
    ),
    pytest.param(
        "apiVersion: v1\nkind: GuestStat\nmetadata: {nam: x}\nspec: {power: of}",
        [
            'f:1:13: apiVersion: must be guest-reconciler/v1 (got "v1")',
            'f:2:7: kind: must be GuestState (got "GuestStat"; did you mean "GuestState"?)',
            "f:3:11: metadata.name: is missing; must be a name such as web-01",
            "f:3:12: metadata.nam: unknown field, must be one of annotations, labels, name "
            '(did you mean "name"?)',
            f'f:4:15: spec.power: {STATES} (got "of"; did you mean "off"?)',
        ],
        id="all of the long form",
    ),
    pytest.param(
        "spec: {power: off}",
        [
            "f:1:1: apiVersion: is missing; must be guest-reconciler/v1",
            "f:1:1: kind: is missing; must be GuestState",
            "f:1:1: metadata: is missing; must be a mapping with name",
        ],
        id="half of the long form",
    ),
    pytest.param(
        "apiVersion: guest-reconciler/v1\nkind: GuestState\nmetadata: {name: a, labels: {b: 1}}\nspec:\n",
        [
            "f:3:33: metadata.labels.b: must be at most 63 letters, digits, dots, dashes and underscores "
            "(got 1; write it in quotes)",
            "f:4:6: spec: must be a mapping (got nothing)",
        ],
        id="labels are text",
    ),
    pytest.param(
        f"{LONG}---\n{LONG}",
        ["f:10:18: metadata.name: web-01 has a document already, on line 1"],
        id="a name twice",
    ),
]


@pytest.mark.parametrize(("text", "faults"), REFUSALS)
def test_refusal(text: str, faults: list[str]) -> None:
    assert refusal(text) == faults


def test_a_standard_input_has_a_name() -> None:
    with pytest.raises(InvalidSpec, match=r"^-:1:1: "):
        read("x: 1", kinds=KINDS)


def test_of_very_many_faults_the_first_are_listed() -> None:
    lines = refusal("\n".join(f"kind{n}: x" for n in range(1000)))
    assert len(lines) == 101
    assert lines[99].startswith("f:100:1: ")
    assert lines[100] == "f:101:1: the faults from here on are not listed"


def test_faults_over_the_channel_have_a_path_and_no_line() -> None:
    with pytest.raises(InvalidSpec) as caught:
        normalise({"power": {"state": "of", "at": float("nan")}, "user": {"nam\n": 1}}, kinds=KINDS)
    assert caught.value.faults == (
        Fault(0, 0, "spec.power.at", "not a number that JSON can hold"),
        Fault(0, 0, "spec.power.state", f'{STATES} (got "of"; did you mean "off"?)'),
        Fault(0, 0, "spec.user.name", "is missing; must be a user name"),
        Fault(
            0,
            0,
            'spec.user["nam\\u000a"]',
            "unknown field, must be one of credential, enforce, host, limits, name, pin "
            '(did you mean "name"?)',
        ),
    )


@pytest.mark.parametrize("spec", [None, [], "off", 7, [{"power": "off"}]])
def test_what_comes_over_the_channel_must_be_a_mapping(spec: object) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec: must be a mapping of kinds"):
        normalise(spec, kinds=KINDS)


def test_the_guests_faults_find_their_line() -> None:
    document = one(LONG)
    assert str(document.fault("spec.power.deadline", "no")) == "f:5:33: spec.power.deadline: no"
    assert str(document.fault("spec.report.nics.every", "no")) == "f:6:11: spec.report.nics.every: no"
    assert str(document.fault("elsewhere", "no")) == "f:1:1: elsewhere: no"
    assert one("disks: {state: frozen, hooks: {/a: 1}}").fault('spec.disks.hooks["/a"]', "no").column == 36


RULES = {
    "paths": {"type": "list", "schema": {"type": "path"}},
    "every": {"type": "duration", "required": True},
}


def test_a_mapping_of_other_rules() -> None:
    assert read_mapping("paths: [/a/]\nevery: 5m", RULES) == {"paths": ["/a"], "every": 300}
    assert read_mapping("# nothing", RULES) == {}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        pytest.param("pats: []", ["p:1:1: every", "p:1:1: pats"], id="fields"),
        pytest.param("- a", ["p:1:1: must be a mapping"], id="a list"),
        pytest.param("every: 1\n---\nevery: 2", ["p:3:1: one mapping is enough"], id="a stream"),
        pytest.param(
            "every: 1\nevery: 2\nx: [", ["p:2:1: every: key given twice", "p:3:5: not YAML"], id="not YAML"
        ),
    ],
)
def test_a_mapping_is_refused(text: str, faults: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_mapping(text, RULES, source="p")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(faults)
    assert all(line.startswith(start) for line, start in zip(lines, faults, strict=True)), lines


def test_normal_forms_are_json() -> None:
    normal = one(LONG).normal
    assert json.loads(json.dumps(normal)) == normal
