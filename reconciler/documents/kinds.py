"""Kinds as they are written: a value of one kind, short or long, to its one normal form."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from reconciler import resources
from reconciler.documents import wording
from reconciler.documents.rules import RulesValidator, branches, compiled, normal_form, types_of
from reconciler.documents.tree import Finding, Path
from reconciler.errors import InvalidSpec
from reconciler.resource import Json, Resource, Rules

resources.load_all()

Kind = type[Resource[Any, Any, Any]]
Kinds = Mapping[str, Kind]

FINDINGS_MAX = 100  # nobody reads on; and to word one takes a tenth of a millisecond

ENFORCE: Rules = {
    "type": "string",
    "allowed": ["always", "once"],
    "meta": {"description": "Repair drift whenever it is seen, or act once for each change of the document."},
}


@dataclass(frozen=True)
class Form:
    """One way to write a kind: its rule, and cerberus ready to check it."""

    rule: Rules
    check: RulesValidator


@dataclass(frozen=True)
class Forms:
    long: Form
    short: Form | None


def every_kind() -> Kinds:
    return Resource.kinds


def fields(kind: Kind) -> Rules:
    """The rules of the fields of the long form, `enforce` among them."""
    enforce = {**ENFORCE, "meta": {**ENFORCE["meta"], "default": kind.enforce}}
    return {**kind.rules, "enforce": enforce}


@cache
def forms(kind: Kind) -> Forms:
    def form(rule: Rules) -> Form:
        return Form(rule, RulesValidator({kind.kind: compiled(rule)}))

    assert kind.kind not in ("apiVersion", "kind", "metadata", "spec"), "a document has this key already"
    assert "enforce" not in kind.rules, "every kind takes enforce"
    long = form({"type": "dict", "schema": fields(kind)})
    return Forms(long, form(kind.short) if kind.short is not None else None)


def normal_of(kind: Kind, value: Json) -> tuple[dict[str, Json], list[Finding]]:
    """The normal form of a value of a kind, or what is wrong with it; paths begin with the kind."""
    long, found = _long_form(kind, value)
    if found:
        return {}, found
    normal, found = _checked(kind, forms(kind).long, long)
    if not found:
        found = _parse(kind, normal)
    return normal, found


def _long_form(kind: Kind, value: Json) -> tuple[Json, list[Finding]]:
    short = forms(kind).short
    if _is_long(kind, value):
        return value, []
    if short is None:
        rule = forms(kind).long.rule
        return {}, [
            Finding((kind.kind,), wording.complaint(rule, f"must be {wording.expected(rule)}", value))
        ]
    if not _fits_type(short.rule, value):
        expected = wording.expected(short.rule)
        words = f"must be {expected}" if expected == "a mapping" else f"must be {expected}, or a mapping"
        return {}, [Finding((kind.kind,), wording.complaint(short.rule, words, value))]
    normal, found = _checked(kind, short, value)
    if found and isinstance(value, str) and value in kind.rules:
        words = f"must be {wording.expected(short.rule)} (got {value}, which is a field of the long form)"
        return {}, [Finding((kind.kind,), words)]
    if found:
        return {}, found
    try:
        return kind.expand(normal), []
    except InvalidSpec as error:
        return {}, _placed(kind, error, normal)


def _is_long(kind: Kind, value: Json) -> bool:
    """Whether a value is meant as the long form: a mapping, unless that can only be the short form."""
    if not isinstance(value, dict):
        return False
    short = forms(kind).short
    if short is None or not value or not _fits_type(short.rule, value):
        return True
    return not value.keys().isdisjoint(fields(kind))


def _fits_type(rule: Rules, value: Json) -> bool:
    types = {name for branch in branches(rule) for name in types_of(branch)}
    if isinstance(value, (dict, list)):
        return ("dict" if isinstance(value, dict) else "list") in types
    return value is not None and bool(types - {"dict", "list"})


def _checked(kind: Kind, form: Form, value: Json) -> tuple[Any, list[Finding]]:
    if not form.check.validate({kind.kind: value}, normalize=False):
        found = wording.findings(form.rule, form.check._errors, (kind.kind,))
        return {}, list(islice(found, FINDINGS_MAX + 1))
    return normal_form(form.rule, value, (kind.kind,))


def _parse(kind: Kind, normal: Mapping[str, Json]) -> list[Finding]:
    """What only the kind can see, such as fields that do not go together."""
    try:
        kind.parse(normal)
    except InvalidSpec as error:
        return _placed(kind, error, normal)
    return []


def _placed(kind: Kind, error: InvalidSpec, value: Json) -> list[Finding]:
    """A kind's own faults; their paths, `lease` or `mounts.0`, begin inside the kind."""
    return [Finding((kind.kind, *_steps(fault.path, value)), fault.message) for fault in error.faults]


def _steps(path: str, value: Json) -> Path:
    """The way that a path means in a value, whose keys may have dots themselves: `paths./etc/x.conf.mode`."""
    steps: list[str | int] = []
    while path:
        keys = value if isinstance(value, Mapping) else ()
        found = [key for key in keys if path == key or path.startswith(f"{key}.")]
        key = max(found, key=len, default=path.partition(".")[0])
        step = int(key) if key.isdecimal() and not found else key
        if key:
            steps.append(step)
        path = path[len(key) + 1 :]
        value = _at(value, step)
    return tuple(steps)


def _at(value: Json, step: str | int) -> Json:
    if isinstance(value, Mapping):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
