"""Documents: one guest's desired state as it was written, with its normal form."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from reconciler.documents import wording
from reconciler.documents.json_object import object_tree
from reconciler.documents.kinds import FINDINGS_MAX, Kinds, every_kind, normal_of
from reconciler.documents.rules import normal_form, validator_of
from reconciler.documents.text import read_trees
from reconciler.documents.tree import Finding, Path, Tree, dotted
from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Json, Rules
from reconciler.resources import broken
from reconciler.spec import Normal

API_VERSION = "guest-reconciler/v1"
KIND = "GuestState"

_LABEL = r"(?:[A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
ENVELOPE: Rules = {
    "apiVersion": {
        "type": "string",
        "allowed": [API_VERSION],
        "required": True,
        "meta": {"description": "The version of the contract that the document is written for."},
    },
    "kind": {
        "type": "string",
        "allowed": [KIND],
        "required": True,
        "meta": {"description": "What the document describes: a guest."},
    },
    "metadata": {
        "type": "dict",
        "required": True,
        "meta": {"description": "Which guest this is, and how it may be found."},
        "schema": {
            "name": {
                "type": "string",
                "required": True,
                "maxlength": 253,  # of a DNS name
                "regex": r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
                "meta": {"description": "The guest.", "expected": "a name such as web-01"},
            },
            "labels": {
                "type": "dict",
                "maxlength": 64,  # enough to choose guests by, and short enough to list
                "keysrules": {
                    "type": "string",
                    "regex": _LABEL,
                    "meta": {"expected": "a label such as tier"},
                },
                "valuesrules": {
                    "type": "string",
                    "regex": r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?",
                    "meta": {"expected": "at most 63 letters, digits, dots, dashes and underscores"},
                },
                "meta": {"description": "Words to choose guests by."},
            },
            "annotations": {
                "type": "dict",
                "maxlength": 64,
                "keysrules": {
                    "type": "string",
                    "regex": _LABEL,
                    "meta": {"expected": "a label such as tier"},
                },
                "valuesrules": {"type": "string"},
                "meta": {"description": "Notes for people and tools; nothing here acts on them."},
            },
        },
    },
    "spec": {"type": "dict", "required": True, "meta": {"description": "What the guest should be, by kind."}},
}


@dataclass(frozen=True)
class Document:
    """What is desired of one guest, with where it was written."""

    normal: Normal
    name: str = ""  # the guest; empty in the short form
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    source: str = "-"  # the file, or - for standard input
    line: int = 1  # where the document begins
    positions: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # line, column by path

    def fault(self, path: str, message: str) -> Fault:
        """A fault that somebody else found, such as the guest, with its place in the text."""
        near = path
        while near and near not in self.positions:
            near = near[: max(near.rfind("."), near.rfind("["), 0)]
        line, column = self.positions.get(near, (self.line, 1))
        return Fault(line, column, path, message, self.source)


def read(text: str | bytes, *, source: str = "-", kinds: Kinds | None = None) -> tuple[Document, ...]:
    """Every document of a text, YAML or JSON; none if it holds none.

    Raises InvalidSpec with the faults of all documents, in the order of the text.
    """
    trees, syntax_fault = read_trees(text)
    reading = _Reading(source, every_kind() if kinds is None else kinds)
    for tree in trees:
        # The document in which the reading ended lacks its rest: rules would complain of that.
        torn = syntax_fault is not None and tree is trees[-1]
        reading.take(tree, torn=torn)
    if syntax_fault:
        reading.faults.append(Fault(syntax_fault.line, syntax_fault.column, "", syntax_fault.message, source))
    refuse(reading.faults)
    return tuple(reading.documents)


def normalise(spec: object, *, kinds: Kinds | None = None) -> Normal:
    """The normal form of a JSON object of kinds, each short or long; raises InvalidSpec."""
    tree, fault = object_tree(spec)
    normal, found = ({}, []) if fault else normal_spec(tree.value, every_kind() if kinds is None else kinds)
    faults = [tree.fault(finding, "", ("spec",)) for finding in once(tree.findings, found)]
    refuse([*faults, *([Fault(0, 0, "spec", fault.message)] if fault else [])])
    return normal


def normal_spec(spec: Json, kinds: Kinds) -> tuple[Normal, list[Finding]]:
    """The normal form of kinds, or what is wrong with it; paths begin with the kind."""
    if not isinstance(spec, dict):
        return {}, [Finding((), _no_mapping(spec))]
    normal: dict[str, dict[str, Json]] = {}
    findings: list[Finding] = []
    for name, value in spec.items():
        if name in kinds:
            normal[name], found = normal_of(kinds[name], value)
            findings += found
        else:
            findings.append(Finding((name,), _unknown(name, kinds), on_key=True))
    return normal, findings


def _no_mapping(spec: Json) -> str:
    words = wording.got("must be a mapping of kinds", spec)
    unspaced = isinstance(spec, str) and ":" in spec
    return words.removesuffix(")") + '; a ":" needs a space behind it)' if unspaced else words


def _unknown(name: str, kinds: Kinds) -> str:
    if name in broken:
        return f"this kind cannot be loaded here: {broken[name]}"
    words = wording.unknown("kind", name, list(kinds))
    owners = [kind.kind for kind in kinds.values() if name in kind.rules]
    return f"{words} ({name} is a field of {owners[0]})" if owners and not words.endswith(")") else words


class _Reading:
    """The documents of one text, and all that is wrong with them."""

    def __init__(self, source: str, kinds: Kinds) -> None:
        self.source, self.kinds = source, kinds
        self.faults: list[Fault] = []
        self.documents: list[Document] = []

    def take(self, tree: Tree, *, torn: bool) -> None:
        long = isinstance(tree.value, dict) and not tree.value.keys().isdisjoint(ENVELOPE)
        prefix: Path = () if long else ("spec",)
        if torn:
            self.faults += [tree.fault(finding, self.source, prefix) for finding in tree.findings]
            return
        if tree.value is None and not tree.findings:
            return  # nothing but comments between two separators
        normal, found = self._long(tree.value) if long else normal_spec(tree.value, self.kinds)
        faults = [tree.fault(finding, self.source, prefix) for finding in once(tree.findings, found)]
        self.faults += faults
        if not faults:
            self._keep(tree, normal, tree.value["metadata"] if long else {}, prefix)

    def _long(self, value: dict[str, Json]) -> tuple[Normal, list[Finding]]:
        findings = check(ENVELOPE, value)
        if not isinstance(value.get("spec"), dict):
            return {}, findings
        normal, found = normal_spec(value["spec"], self.kinds)
        return normal, [*findings, *(replace(each, path=("spec", *each.path)) for each in found)]

    def _keep(self, tree: Tree, normal: Normal, metadata: dict[str, Json], prefix: Path) -> None:
        name = metadata.get("name", "")
        earlier = next((known for known in self.documents if name and known.name == name), None)
        if earlier:
            words = f"{name} has a document already, on line {earlier.line}"
            self.faults.append(tree.fault(Finding(("metadata", "name"), words), self.source))
        line, _ = tree.place(())
        positions = {dotted(prefix + path): (place.line, place.column) for path, place in tree.places.items()}
        labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
        self.documents.append(Document(normal, name, labels, annotations, self.source, line, positions))


def check(rules: Rules, value: Json) -> list[Finding]:
    """What is wrong with a mapping by the rules of its fields."""
    validator = validator_of(rules)
    if validator.validate(value, normalize=False):
        return []
    found = wording.findings({"type": "dict", "schema": rules}, validator._errors)
    return list(islice(found, FINDINGS_MAX + 1))


def read_mapping(text: str | bytes, rules: Rules, *, source: str = "-") -> dict[str, Json]:
    """One mapping, such as a policy file, checked by rules and in normal form; empty text is empty.

    Raises InvalidSpec with all faults.
    """
    trees, syntax_fault = read_trees(text)
    faults = [tree.fault(Finding((), "one mapping is enough; this is another"), source) for tree in trees[1:]]
    normal: dict[str, Json] = {}
    if syntax_fault:
        faults.append(Fault(syntax_fault.line, syntax_fault.column, "", syntax_fault.message, source))
    if trees:
        torn = syntax_fault is not None and len(trees) == 1
        normal, found = ({}, []) if torn else _normal_mapping(trees[0].value, rules)
        faults += [trees[0].fault(finding, source) for finding in once(trees[0].findings, found)]
    refuse(faults)
    return normal


def _normal_mapping(value: Json, rules: Rules) -> tuple[dict[str, Json], list[Finding]]:
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        return {}, [Finding((), wording.got("must be a mapping", value))]
    found = check(rules, value)
    return ({}, found) if found else normal_form({"type": "dict", "schema": rules}, value)


def once(of_text: list[Finding], of_rules: list[Finding]) -> list[Finding]:
    """All findings, less those of rules on a value that the text already spoilt."""
    spoilt = {finding.path for finding in of_text}
    return [*of_text, *(finding for finding in of_rules if finding.path not in spoilt)]


def refuse(faults: list[Fault]) -> None:
    """Raises InvalidSpec if there is a fault, with the first of them if there are very many."""
    if not faults:
        return
    faults = sorted(set(faults))
    more = [
        replace(fault, path="", message="the faults from here on are not listed")
        for fault in faults[FINDINGS_MAX:][:1]
    ]
    raise InvalidSpec(*faults[:FINDINGS_MAX], *more)
