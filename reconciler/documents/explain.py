"""What a field of a document means, for who writes one: `explain spec.filesystems.lease`."""

import json
import re
from dataclasses import dataclass

from reconciler.documents import wording
from reconciler.documents.document import ENVELOPE
from reconciler.documents.kinds import Kinds, every_kind, fields
from reconciler.documents.rules import branches, inside, is_secret, types_of
from reconciler.documents.scalars import SCALARS
from reconciler.documents.tree import Path, dotted
from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Rules

_STEP = re.compile(r'\.?([A-Za-z0-9_*-]+)|\[([0-9]*|\*)\]|\[("(?:[^"\\]|\\.)*")\]')


@dataclass(frozen=True)
class FieldDoc:
    """One field, in words."""

    path: str
    expected: str  # as `must be …` goes on: a duration such as 30s, …
    description: str = ""
    default: str = ""  # what happens where it is not written
    required: bool = False
    secret: bool = False
    short: str = ""  # of a kind: its short form, as `expected`
    fields: tuple["FieldDoc", ...] = ()  # those inside, without theirs


def describe_field(path: str, *, kinds: Kinds | None = None) -> FieldDoc:
    """The field at a path; `spec.` may be left out. Raises InvalidSpec for a path that leads nowhere."""
    known = kinds if kinds is not None else every_kind()
    steps = _steps(path)
    if steps and steps[0] not in ENVELOPE:
        steps = ("spec", *steps)
    rules = [_document(known)]
    for depth, step in enumerate(steps):
        inner = [deeper for rule in rules for deeper in _inside(rule, step)]
        if not inner:
            words = wording.unknown("field", str(step), sorted(set(_names(rules))))
            raise InvalidSpec(Fault(0, 0, dotted(steps[: depth + 1]), words))
        rules = inner
    return _described(steps, rules, known)


def _described(steps: Path, rules: list[Rules], kinds: Kinds, *, deep: bool = True) -> FieldDoc:
    meta = {key: value for rule in reversed(rules) for key, value in rule.get("meta", {}).items()}
    inner: list[FieldDoc] = []
    for name in dict.fromkeys(_names(rules)) if deep else ():
        below = [deeper for rule in rules for deeper in _inside(rule, name)]
        inner.append(_described((*steps, name), below, kinds, deep=False))
    short = kinds[str(steps[1])].short if len(steps) == 2 and steps[0] == "spec" else None
    return FieldDoc(
        dotted(steps),
        wording.expected_of(rules),
        meta.get("description", ""),
        _default_text(rules[0]),
        any(rule.get("required") for rule in rules),
        is_secret(_document(kinds), steps),
        wording.expected(short) if short is not None else "",
        tuple(inner),
    )


def _default_text(rule: Rules) -> str:
    default = rule.get("meta", {}).get("default", "")
    if isinstance(default, str):
        return default
    scalar = SCALARS.get(types_of(rule)[0])
    return scalar.show(default) if scalar else json.dumps(default)


def _document(kinds: Kinds) -> Rules:
    """All rules as one, so that one walk leads everywhere."""
    spec = {
        name: {"type": "dict", "schema": fields(kind), "meta": {"description": kind.summary}}
        for name, kind in sorted(kinds.items())
    }
    return {"type": "dict", "schema": {**ENVELOPE, "spec": {**ENVELOPE["spec"], "schema": spec}}}


def _inside(rule: Rules, step: str | int) -> list[Rules]:
    """As `rules.inside`, but a name also leads through a list to what its entries hold."""
    found = list(inside(rule, step))
    if not found and isinstance(step, str):
        entries = [branch["schema"] for branch in branches(rule) if _is_list(branch)]
        found = [deeper for entry in entries for deeper in inside(entry, step)]
    return found


def _names(rules: list[Rules]) -> list[str]:
    names: list[str] = []
    for rule in rules:
        for branch in branches(rule):
            if "dict" in types_of(branch):
                names += branch.get("schema", ("*",) if "valuesrules" in branch else ())  # *: any key
            elif _is_list(branch):
                names += _names([branch["schema"]])
    return names


def _is_list(rule: Rules) -> bool:
    return "list" in types_of(rule) and "schema" in rule


def _steps(path: str) -> Path:
    steps: list[str | int] = []
    offset = 0
    while offset < len(path):
        match = _STEP.match(path, offset)
        if not match:
            raise InvalidSpec(Fault(0, 0, path, "is no path of a field, such as spec.power.state"))
        name, index, key = match.groups()
        if name is not None:
            steps.append(name)
        else:
            steps.append(json.loads(key) if key is not None else int(index) if index.isdecimal() else 0)
        offset = match.end()
    return tuple(steps)
