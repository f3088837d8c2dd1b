"""Cerberus' errors in plain words: what is expected, what was found, the nearest valid word."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cerberus import errors

from reconciler.documents.hints import lacking, nearest
from reconciler.documents.rules import at, branches, is_secret, types_of
from reconciler.documents.scalars import SCALARS
from reconciler.documents.tree import Finding, Path, dotted, quoted
from reconciler.resource import Json, Rules

LISTED_MAX = 12  # more words than this are cut short with "…"

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "float": "a number",
    "boolean": "true or false",
    "dict": "a mapping",
    "list": "a list",
}


def findings(rule: Rules, found: Iterable[Any], base: Path = ()) -> Iterator[Finding]:
    """Our findings for cerberus' errors on the value that `rule` is for, which stands at `base`.

    The errors' paths begin with `base`.
    """
    for error in found:
        path = tuple(error.document_path)
        if error.is_logic_error and error.value is None:
            continue  # Cerberus 1.3.4 says this beside the plainer "null value not allowed"
        if error.is_logic_error:
            yield from _alternatives(rule, error, base)
        elif error.is_group_error:
            yield from findings(rule, error.child_errors, base)
        elif error.code == errors.UNALLOWED_VALUES.code:
            steps = (
                enumerate(error.value)
                if isinstance(error.value, list)
                else zip(error.value, error.value, strict=True)
            )
            words = one_of(error.constraint)
            for step, item in steps:
                if item not in error.constraint:
                    yield Finding(
                        (*path, step), complaint(rule, words, item, path[len(base) :], error.constraint)
                    )
        else:
            yield _finding(rule, error, path, path[len(base) :])


def _finding(rule: Rules, error: Any, path: Path, inner: Path) -> Finding:
    on_key = "keysrules" in error.schema_path and error.value == path[-1]
    if error.code == errors.UNKNOWN_FIELD.code:
        words = unknown("field", str(path[-1]), _known(rule, inner[:-1]))
        # A secret that lost its key looks like a key.
        return Finding(path[:-1], words) if is_secret(rule, inner[:-1]) else Finding(path, words, on_key=True)
    rules = at(rule, inner)
    if error.code == errors.REQUIRED_FIELD.code:
        return Finding(path, f"is missing; must be {expected_of(rules)}")
    if error.code in _BESIDE:
        return Finding(path, _BESIDE[error.code](error))
    if error.code in _LENGTHS:
        length = "(secret)" if is_secret(rule, inner) else len(error.value)
        return Finding(path, f"{_LENGTHS[error.code](error)} (got {length})")
    words = _words(error, rules)
    allowed = error.constraint if error.code == errors.UNALLOWED_VALUE.code else ()
    return Finding(path, complaint(rule, words, error.value, inner, allowed), on_key)


def _words(error: Any, rules: Sequence[Rules]) -> str:
    """What is expected, in place of cerberus' message."""
    if error.code in _WORDS:
        return _WORDS[error.code](error)
    assert error.code in (errors.BAD_TYPE.code, errors.NOT_NULLABLE.code), f"no words for {error!r}"
    return f"must be {expected_of(rules)}"


def _alternatives(rule: Rules, error: Any, base: Path) -> Iterator[Finding]:
    """For a value that fits no alternative: what is wrong by the one that was surely meant, or all."""
    path = tuple(error.document_path)
    inner = path[len(base) :]
    by_branch: list[list[Any]] = list(error.definitions_errors.values())
    meant = [
        found
        for found in by_branch
        if not any(e.code == errors.BAD_TYPE.code and tuple(e.document_path) == path for e in found)
    ]
    nested = [
        found for found in meant if all(e.is_group_error or len(e.document_path) > len(path) for e in found)
    ]
    if len(meant) == 1 or nested:
        best = sorted(nested or meant, key=len)[0]
        yield from findings(rule, best, base)
        return
    outer = at(rule, inner)
    words = [expected(branch) for each in outer for branch in branches(each)]
    yield Finding(path, complaint(rule, "must be " + _or(words), error.value, inner, _choices(outer)))


def _known(rule: Rules, inner: Path) -> list[str]:
    return sorted(
        {name for outer in at(rule, inner) for branch in branches(outer) for name in branch.get("schema", ())}
    )


def _choices(rules: Iterable[Rules]) -> list[Json]:
    return [word for rule in rules for branch in branches(rule) for word in branch.get("allowed", ())]


def unknown(what: str, word: str, known: Sequence[str]) -> str:
    """For a key that no rule has; the word itself stands in the path."""
    if not known:
        return f"unknown {what}; none may stand here"
    hint = nearest(word, known)
    return f"unknown {what}, {one_of(sorted(known))}" + (f" ({hint})" if hint else "")


def complaint(rule: Rules, words: str, value: Json, inner: Path = (), allowed: Iterable[Json] = ()) -> str:
    """What is wrong with a value at `inner` of what `rule` is for; a secret is not shown."""
    if is_secret(rule, inner):
        return f"{words} (got (secret))"
    return got(words, value, allowed, at(rule, inner))


def got(words: str, value: Json, allowed: Iterable[Json] = (), rules: Sequence[Rules] = ()) -> str:
    """`must be … (got "of"; did you mean "off"?)`."""
    hint = nearest(value, allowed) or lacking(value, rules)
    return f"{words} (got {shown(value)}{'; ' + hint if hint else ''})"


def shown(value: Json) -> str:
    """A value as a person may have written it, short and on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return json.dumps(value)


def expected(rule: Rules) -> str:
    """What a rule lets pass, as `must be …` goes on."""
    if "allowed" in rule and "list" not in types_of(rule):
        return one_of(rule["allowed"]).removeprefix("must be ")
    if words := rule.get("meta", {}).get("expected"):
        return str(words)
    if "anyof" in rule or "oneof" in rule:
        return _or([expected(branch) for branch in branches(rule)])
    types = types_of(rule)
    if types == ("list",) and "schema" in rule:
        inner = expected(rule["schema"])
        return f"a list of {inner[7:]}" if inner.startswith("one of ") else f"a list, each entry {inner}"
    if types == ("dict",) and (needed := [name for name, each in _fields(rule) if each.get("required")]):
        return f"a mapping with {' and '.join(needed)}"
    words = _or([SCALARS[name].expected if name in SCALARS else _TYPES[name] for name in types])
    return words + _range(rule)


def _fields(rule: Rules) -> Iterable[tuple[str, Rules]]:
    inner: Rules = rule.get("schema", {})
    return inner.items()


def _range(rule: Rules) -> str:
    limits = {key: _limit(rule, rule[key]) for key in ("min", "max") if key in rule}
    match limits:
        case {"min": low, "max": high}:
            return f", from {low} to {high}"
        case {"min": low}:
            return f", at least {low}"
        case {"max": high}:
            return f", at most {high}"
    return ""


def _limit(rule: Rules, limit: Json) -> str:
    types = types_of(rule)
    return SCALARS[types[0]].show(limit) if types[0] in SCALARS else str(limit)


def expected_of(rules: Iterable[Rules]) -> str:
    """What any of the rules lets pass."""
    return _or([expected(rule) for rule in rules])


def one_of(words: Collection[Json]) -> str:
    return f"must be {'one of ' if len(words) > 1 else ''}{_listed(words)}"


def _listed(words: Iterable[Json]) -> str:
    texts = [_word(word) for word in words]
    return ", ".join([*texts[:LISTED_MAX], *["…"][: len(texts) > LISTED_MAX]])


def _word(word: Json) -> str:
    return word if isinstance(word, str) else json.dumps(word)


def _or(words: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(words)) or "left out"


def _count(number: int, value: Json) -> str:
    unit = "character" if isinstance(value, str) else "entry"
    plural = unit if number == 1 else {"character": "characters", "entry": "entries"}[unit]
    return f"{number} {plural}"


def _names(names: Json) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _needs(fields: dict[str, Json]) -> str:
    def one(name: str, value: Json) -> str:
        values = value if isinstance(value, (list, tuple)) else [value]
        return f"{dotted((name,))}: {_or(map(_word, values))}"

    return " and ".join(one(name, value) for name, value in fields.items())


_WORDS: Mapping[int, Callable[[Any], str]] = {
    errors.CUSTOM.code: lambda e: str(e.info[0]),
    errors.UNALLOWED_VALUE.code: lambda e: one_of(e.constraint),
    errors.MIN_VALUE.code: lambda e: f"must be at least {e.constraint}",
    errors.MAX_VALUE.code: lambda e: f"must be at most {e.constraint}",
    errors.EMPTY_NOT_ALLOWED.code: lambda _: "must not be empty",
    errors.FORBIDDEN_VALUE.code: lambda e: f"must not be {_listed(e.constraint)}",
    errors.FORBIDDEN_VALUES.code: lambda e: f"must not hold {_listed(e.constraint)}",
}
_LENGTHS: Mapping[int, Callable[[Any], str]] = {
    errors.MIN_LENGTH.code: lambda e: f"must have at least {_count(e.constraint, e.value)}",
    errors.MAX_LENGTH.code: lambda e: f"must have at most {_count(e.constraint, e.value)}",
    errors.ITEMS_LENGTH.code: lambda e: f"must have {_count(len(e.constraint), e.value)}",
}
_BESIDE: Mapping[int, Callable[[Any], str]] = {
    errors.EXCLUDES_FIELD.code: lambda e: f"cannot stand beside {_or(_names(e.constraint))}",
    errors.DEPENDENCIES_FIELD.code: lambda e: f"needs {e.info[0]} beside it",
    errors.DEPENDENCIES_FIELD_VALUE.code: lambda e: f"needs {_needs(e.constraint)} beside it",
}
