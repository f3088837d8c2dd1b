"""Which fields of a document are secrets, and the document with none of them shown."""

from collections.abc import Iterator, Mapping

from reconciler.documents.kinds import Kinds, every_kind, forms
from reconciler.documents.rules import inside, is_secret
from reconciler.documents.tree import Path
from reconciler.resource import Json, Rules
from reconciler.spec import Normal

SHOWN = "(secret)"


def secret_files(normal: Normal, kinds: Kinds | None = None) -> dict[Path, str]:
    """The file in which each secret lies, by the path of its field, which begins with the kind."""
    return {
        path: value["fromFile"]
        for path, value in _secrets(normal, every_kind() if kinds is None else kinds)
        if isinstance(value, Mapping) and isinstance(value.get("fromFile"), str)
    }


def without_secrets(normal: Normal, kinds: Kinds | None = None) -> dict[str, Json]:
    """The same with `(secret)` for each secret that stands in it; where one lies may be known."""
    hidden = {
        path
        for path, value in _secrets(normal, every_kind() if kinds is None else kinds)
        if not isinstance(value, Mapping)
    }
    return {kind: _masked(value, (kind,), hidden) for kind, value in normal.items()}


def _masked(value: Json, path: Path, hidden: set[Path]) -> Json:
    if path in hidden:
        return SHOWN
    if isinstance(value, Mapping):
        return {key: _masked(item, (*path, key), hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, (*path, place), hidden) for place, item in enumerate(value)]
    return value


def _secrets(normal: Normal, kinds: Kinds) -> Iterator[tuple[Path, Json]]:
    for kind, value in normal.items():
        if kind in kinds:
            yield from _inside([forms(kinds[kind]).long.rule], value, (kind,))


def _inside(rules: list[Rules], value: Json, path: Path) -> Iterator[tuple[Path, Json]]:
    if any(is_secret(rule, ()) for rule in rules):
        yield path, value
        return
    parts: Mapping[str | int, Json] = {}
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, list):
        parts = dict(enumerate(value))
    for step, part in parts.items():
        deeper = [found for rule in rules for found in inside(rule, step)]
        yield from _inside(deeper, part, (*path, step))
