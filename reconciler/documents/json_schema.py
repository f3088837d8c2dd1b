"""JSON Schema of a document, made from the kinds' rules, for editors and other tools.

It lets pass all that `read` accepts. It cannot say all that `read` refuses: limits in
seconds for a word like `30s`, dates that do not exist, fields that only a kind can
tell do not go together.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from reconciler.documents.document import ENVELOPE
from reconciler.documents.kinds import Kind, Kinds, every_kind, fields
from reconciler.documents.rules import TEXT_CHARS_MAX, RulesValidator, compiled, types_of
from reconciler.documents.scalars import SCALARS
from reconciler.resource import Json, Rules

Schema = dict[str, Any]

_TYPES = {"dict": "object", "list": "array", "float": "number"}
_LENGTHS = {"string": "Length", "list": "Items", "dict": "Properties"}


def json_schema(kinds: Kinds | None = None) -> Schema:
    """The schema (draft 2020-12) of one document, in its short or its long form."""
    known = kinds if kinds is not None else every_kind()
    envelope = schema_of({"type": "dict", "schema": ENVELOPE})
    spec = envelope["properties"]["spec"]
    envelope["properties"]["spec"] = {"$ref": "#/$defs/spec", "description": spec["description"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:guest-reconciler:v1:guest-state",
        "title": "Desired state of one guest",
        "type": "object",
        "if": {"anyOf": [{"required": [key]} for key in ENVELOPE]},
        "then": {"$ref": "#/$defs/document"},
        "else": {"$ref": "#/$defs/spec"},
        "$defs": {
            "document": envelope,
            "spec": {
                "type": "object",
                "properties": {name: {"$ref": f"#/$defs/kind-{name}"} for name in sorted(known)},
                "additionalProperties": False,
            },
            **{f"kind-{name}": _kind(known[name]) for name in sorted(known)},
        },
    }


def json_schema_text(kinds: Kinds | None = None) -> str:
    """The schema as it is published: indented, with a line feed at its end."""
    return json.dumps(json_schema(kinds), indent=2, ensure_ascii=False) + "\n"


def _kind(kind: Kind) -> Schema:
    long = schema_of({"type": "dict", "schema": fields(kind)})
    if kind.short is None:
        return {"description": kind.summary, **long}
    short = schema_of(kind.short)
    if "dict" in types_of(kind.short):
        # A mapping with a key of the long form is the long form.
        names = short.get("propertyNames", {})
        short["propertyNames"] = {**names, "not": {"enum": list(fields(kind))}}
    return {"description": kind.summary, "anyOf": [short, long]}


def schema_of(rule: Rules) -> Schema:
    """The schema of what a rule lets pass."""
    notes = _notes(rule)
    for operator, name in (("anyof", "anyOf"), ("oneof", "oneOf")):
        if operator in rule:
            shared = {key: value for key, value in rule.items() if key not in (operator, "meta")}
            return {name: [schema_of({**shared, **branch}) for branch in rule[operator]], **notes}
    types = types_of(rule)
    if types[0] in SCALARS:
        return {**_scalar(rule), **notes}
    names = [_TYPES.get(name, name) for name in types]
    schema: Schema = {"type": names[0] if len(names) == 1 else names}
    if "string" in types:
        schema |= _text(rule)
    for key, name in (("min", "minimum"), ("max", "maximum")):
        if key in rule:
            schema[name] = rule[key]
    schema |= _lengths(rule, types)
    if "list" in types:
        schema |= _list(rule)
    elif "allowed" in rule or "forbidden" in rule:
        schema |= _choice(rule)
    if "dict" in types:
        schema |= _mapping(rule)
    return {**schema, **notes}


def _notes(rule: Rules) -> Schema:
    meta = rule.get("meta", {})
    notes: Schema = {"description": meta["description"]} if "description" in meta else {}
    # A default in words is for people: a schema's is a value that could have been written.
    if "default" in meta:
        check = RulesValidator({"default": compiled(rule)})
        if check.validate({"default": meta["default"]}, normalize=False):
            notes["default"] = meta["default"]
    return notes | ({"writeOnly": True} if meta.get("secret") else {})


def _scalar(rule: Rules) -> Schema:
    schema: Schema = deepcopy(dict(SCALARS[types_of(rule)[0]].schema))
    for branch in schema.get("anyOf", ()):
        if branch["type"] in ("number", "integer"):
            branch |= {
                name: rule[key] for key, name in (("min", "minimum"), ("max", "maximum")) if key in rule
            }
    return schema


def _text(rule: Rules) -> Schema:
    if "allowed" in rule:
        return {}
    schema: Schema = {"maxLength": rule.get("maxlength", TEXT_CHARS_MAX)}
    if "regex" in rule:
        schema["pattern"] = f"^(?:{rule['regex']})$"
    return schema


def _lengths(rule: Rules, types: tuple[str, ...]) -> Schema:
    least = 1 if rule.get("empty") is False else rule.get("minlength")
    schema: Schema = {}
    for kind, suffix in _LENGTHS.items():
        if kind in types:
            schema |= {f"min{suffix}": least} if least is not None else {}
            schema |= {f"max{suffix}": rule["maxlength"]} if "maxlength" in rule else {}
    return schema


def _choice(rule: Rules) -> Schema:
    schema: Schema = {"enum": list(rule["allowed"])} if "allowed" in rule else {}
    return schema | ({"not": {"enum": list(rule["forbidden"])}} if "forbidden" in rule else {})


def _list(rule: Rules) -> Schema:
    if "items" in rule:
        count = len(rule["items"])
        prefix = [schema_of(item) for item in rule["items"]]
        return {"prefixItems": prefix, "minItems": count, "maxItems": count}
    items = schema_of(rule["schema"]) if "schema" in rule else {}
    items |= _choice(rule)
    return {"items": items} if items else {}


def _mapping(rule: Rules) -> Schema:
    schema: Schema = {}
    if "keysrules" in rule:
        schema["propertyNames"] = schema_of(rule["keysrules"])
    if "valuesrules" in rule:
        schema["additionalProperties"] = schema_of(rule["valuesrules"])
    if "schema" not in rule:
        return schema
    inner: Mapping[str, Rules] = rule["schema"]
    schema["properties"] = {name: schema_of(each) for name, each in inner.items()}
    schema.setdefault("additionalProperties", False)
    if required := [name for name, each in inner.items() if each.get("required")]:
        schema["required"] = required
    beside = {name: _beside(each) for name, each in inner.items() if {"excludes", "dependencies"} & set(each)}
    return schema | ({"dependentSchemas": beside} if beside else {})


def _beside(rule: Rules) -> Schema:
    """What must or must not stand beside a field."""
    conditions: list[Schema] = []
    if "excludes" in rule:
        conditions += [{"not": {"required": [name]}} for name in _names(rule["excludes"])]
    needs = rule.get("dependencies", ())
    if isinstance(needs, Mapping):
        for name, value in needs.items():
            values: Json = value if isinstance(value, (list, tuple)) else [value]
            conditions.append({"required": [name], "properties": {name: {"enum": list(values)}}})
    else:
        conditions += [{"required": [name]} for name in _names(needs)]
    return {"allOf": conditions}


def _names(names: Json) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
