"""Rules: what kinds may say in them, and how a value is checked and takes its normal form.

The vocabulary is cerberus' own less what would fill in, drop or rename (only what is
written is managed), with the types of `scalars` and these habits:

1. Every rule names its `type`: one, or a list of cerberus' own.
2. A `regex` matches the whole text and must take linear time: no repetition inside a
   repetition over the same characters.
3. Text has at most `TEXT_CHARS_MAX` characters unless the rule has a `maxlength`.
4. `meta` may hold `description`, `default` (in words or as a value; never filled in),
   `expected` (what a refusal says in place of the regex) and `secret` (never shown).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from cerberus import TypeDefinition, Validator

from reconciler.documents.scalars import SCALARS, ScalarType
from reconciler.documents.tree import Finding, Path, number
from reconciler.resource import Json, Rules

TEXT_CHARS_MAX = 4096  # a path, a command, a message to a user: none is longer

_ON_FIELDS = frozenset({"required", "excludes", "dependencies"})
_ON_VALUES = frozenset(
    {"type", "allowed", "forbidden", "regex", "min", "max", "minlength", "maxlength", "empty"}
)
_ON_PARTS = frozenset({"schema", "keysrules", "valuesrules", "items", "anyof", "oneof"})
_VOCABULARY = _ON_FIELDS | _ON_VALUES | _ON_PARTS | {"meta"}
_META = frozenset({"description", "default", "expected", "secret"})
_TYPES = frozenset({"string", "integer", "number", "float", "boolean", "dict", "list"})


class RulesValidator(Validator):  # type: ignore[misc]
    """Cerberus with the types of `scalars`, with booleans that are not numbers, in linear time."""

    document: Any
    types_mapping: ClassVar[dict[str, TypeDefinition]] = {
        **Validator.types_mapping,
        "integer": TypeDefinition("integer", (int,), (bool,)),
        "float": TypeDefinition("float", (int, float), (bool,)),
        "number": TypeDefinition("number", (int, float), (bool,)),
        **{name: TypeDefinition(name, known.python, (bool,)) for name, known in SCALARS.items()},
    }

    def _error(self, *args: Any) -> None:
        # Cerberus sorts all errors again for each new one, for trees that nobody here looks at.
        if len(args) == 1:
            self._errors.extend(args[0])
        else:
            super()._error(*args)

    def _validate_anyof(self, definitions: Any, field: Any, value: Any) -> None:
        """{'type': 'list', 'logical': 'anyof'}"""
        self._alone(super()._validate_anyof, definitions, field, value)

    def _validate_oneof(self, definitions: Any, field: Any, value: Any) -> None:
        """{'type': 'list', 'logical': 'oneof'}"""
        self._alone(super()._validate_oneof, definitions, field, value)

    def _alone(self, validate: Callable[..., None], definitions: Any, field: Any, value: Any) -> None:
        # Cerberus looks at all siblings again for each alternative of each field.
        document: Any = self.document
        self.document = {field: value}
        validate(definitions, field, value)
        self.document = document


def compiled(rule: Rules) -> dict[str, Any]:
    """A rule in our vocabulary as one in cerberus'. Asserts that it is in our vocabulary."""
    assert set(rule) <= _VOCABULARY, f"not in the rules' vocabulary: {set(rule) - _VOCABULARY}"
    assert set(rule.get("meta", ())) <= _META, f"unknown meta: {rule['meta']}"
    types = types_of(rule)
    assert set(types) <= (_TYPES if len(types) > 1 else _TYPES | SCALARS.keys()), f"unknown types: {types}"
    assert types or {"anyof", "oneof"} & set(rule), f"a rule without type: {rule}"
    out = {key: value for key, value in rule.items() if key not in ("meta", "regex")}
    if "schema" in rule:
        out["schema"] = compiled_fields(rule["schema"]) if "dict" in types else compiled(rule["schema"])
    for key in ("keysrules", "valuesrules"):
        if key in rule:
            out[key] = compiled(rule[key])
    for key in ("anyof", "oneof", "items"):
        if key in rule:
            out[key] = [compiled(branch) for branch in rule[key]]
    scalar = SCALARS.get(types[0]) if types else None
    if scalar:
        # A word like "30s" does not compare with a limit in seconds; the check below does.
        out = {key: value for key, value in out.items() if key not in ("min", "max")}
        out["check_with"] = _scalar_check(scalar, rule)
    elif "string" in types and "allowed" not in rule:
        out["check_with"] = _text_check(rule)
    return out


def compiled_fields(fields: Rules) -> dict[str, Any]:
    return {name: compiled(rule) for name, rule in fields.items()}


def types_of(rule: Rules) -> tuple[str, ...]:
    types = rule.get("type", ())
    return (types,) if isinstance(types, str) else tuple(types)


Complain = Callable[[str, str], None]


def _scalar_check(scalar: ScalarType, rule: Rules) -> Callable[[str, Json, Complain], None]:
    def check(field: str, value: Json, complain: Complain) -> None:
        if value is None:
            return  # cerberus has said so already
        try:
            normal = scalar.read(value)
        except ValueError as error:
            complain(field, f"must be {error}")
            return
        if "min" in rule and normal < rule["min"]:
            complain(field, f"must be at least {scalar.show(rule['min'])}")
        if "max" in rule and normal > rule["max"]:
            complain(field, f"must be at most {scalar.show(rule['max'])}")

    return check


def _text_check(rule: Rules) -> Callable[[str, Json, Complain], None]:
    pattern = re.compile(rule["regex"]) if "regex" in rule else None
    length_max = rule.get("maxlength", TEXT_CHARS_MAX)

    def check(field: str, value: Json, complain: Complain) -> None:
        if not isinstance(value, str):
            return
        if len(value) > length_max:
            # Cerberus says so itself where the rule has a maxlength.
            if "maxlength" not in rule:
                complain(field, f"must have at most {length_max} characters")
        # Not cerberus' regex: its `$` lets a line feed pass at the end.
        elif pattern and not pattern.fullmatch(value):
            complain(field, f"must be {rule.get('meta', {}).get('expected') or 'like ' + rule['regex']}")

    return check


def branches(rule: Rules) -> Iterator[Rules]:
    """The alternatives of a rule, each with what it shares with the others; itself if it has none."""
    for operator in ("anyof", "oneof"):
        if operator in rule:
            shared = {key: value for key, value in rule.items() if key != operator}
            for branch in rule[operator]:
                yield from branches({**shared, **branch})
            return
    yield rule


def inside(rule: Rules, step: str | int) -> Iterator[Rules]:
    """The rules of what stands at a key or index of a value that `rule` is for."""
    for branch in branches(rule):
        types = types_of(branch)
        if isinstance(step, int):
            if "items" in branch:
                yield from branch["items"][step : step + 1]
            elif "schema" in branch and "list" in types:
                yield branch["schema"]
        elif step in (branch.get("schema", {}) if "dict" in types else {}):
            yield branch["schema"][step]
        elif "valuesrules" in branch:
            yield branch["valuesrules"]


def at(rule: Rules, path: Path) -> list[Rules]:
    """The rules that may be meant at a path; several below alternatives."""
    rules = [rule]
    for step in path:
        rules = [deeper for outer in rules for deeper in inside(outer, step)]
    return rules


def is_secret(rule: Rules, path: Path) -> bool:
    """Whether a value at `path`, or anything around it, must not be shown."""
    return any(
        branch.get("meta", {}).get("secret")
        for length in range(len(path) + 1)
        for outer in at(rule, path[:length])
        for branch in (outer, *branches(outer))
    )


def normal_form(rule: Rules, value: Json, path: Path = ()) -> tuple[Json, list[Finding]]:
    """The one form of a value that `rule` has let pass, and keys that turned out to be the same."""
    rule = _fitting(rule, value)
    types = types_of(rule)
    if types and types[0] in SCALARS:
        return SCALARS[types[0]].read(value), []
    if isinstance(value, float):
        return number(value)[0], []
    if isinstance(value, list):
        pairs = [normal_form(next(inside(rule, i), {}), item, (*path, i)) for i, item in enumerate(value)]
        return [item for item, _ in pairs], [finding for _, found in pairs for finding in found]
    if isinstance(value, Mapping):
        return _normal_mapping(rule, value, path)
    return value, []


def _normal_mapping(rule: Rules, value: Mapping[str, Json], path: Path) -> tuple[Json, list[Finding]]:
    normal: dict[str, Json] = {}
    findings: list[Finding] = []
    for written, item in value.items():
        key = normal_form(rule.get("keysrules", {}), written)[0]
        if key in normal:
            findings.append(Finding((*path, written), f"means the same key as another: {key}", on_key=True))
        normal[key], found = normal_form(next(inside(rule, written), {}), item, (*path, written))
        findings += found
    return normal, findings


def _fitting(rule: Rules, value: Json) -> Rules:
    """The alternative of a rule by which a value passes."""
    if not ("anyof" in rule or "oneof" in rule):
        return rule
    alternatives = _kept(
        rule, lambda: [(branch, validator_of({"value": branch})) for branch in branches(rule)]
    )
    fitting = (branch for branch, each in alternatives if each.validate({"value": value}, normalize=False))
    return next(fitting, alternatives[-1][0])


def validator_of(fields: Rules) -> RulesValidator:
    """Cerberus, ready to check a mapping by the rules of its fields."""
    validator: RulesValidator = _kept(fields, lambda: RulesValidator(compiled_fields(fields)))
    return validator


_made: dict[int, tuple[Rules, Any]] = {}


def _kept(rule: Rules, make: Callable[[], Any]) -> Any:
    # By identity, as rules are written once; and to make a validator takes longer than to use it.
    if id(rule) not in _made:
        _made[id(rule)] = (rule, make())
    return _made[id(rule)][1]
