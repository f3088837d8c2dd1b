"""The nearest valid word, or what a value lacks to be what was wanted."""

import re
from collections.abc import Iterable, Sequence

from reconciler.documents.rules import branches, types_of
from reconciler.documents.scalars import SCALARS
from reconciler.documents.tree import quoted
from reconciler.resource import Json, Rules

NEAREST_CHARS_MAX = 64  # comparing takes time squared in the length, and no valid word is longer

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_SYNONYMS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def nearest(value: Json, valid: Iterable[Json]) -> str:
    """`did you mean "off"?` or nothing."""
    if not isinstance(value, str) or len(value) > NEAREST_CHARS_MAX:
        return ""
    # Late: documents without a fault need it not.
    from difflib import get_close_matches

    words = {str(word).lower(): str(word) for word in valid}
    near = get_close_matches(value.lower(), words, n=1)
    return f"did you mean {quoted(words[near[0]])}?" if near else ""


def lacking(value: Json, rules: Sequence[Rules]) -> str:
    """What a value lacks to be of the types that any of the rules wants, or nothing."""
    wanted = [branch for rule in rules if "allowed" not in rule for branch in branches(rule)]
    types = {name for branch in wanted for name in types_of(branch)}
    if isinstance(value, str) and len(value) <= NEAREST_CHARS_MAX:
        return _of_text(value, types, wanted)
    if isinstance(value, int) and not isinstance(value, bool) and types & {"integer", "number", "float"}:
        return ""  # it is of a right type, and out of bounds
    if types & {"string", "path", "timestamp"} and isinstance(value, (bool, int, float)):
        return "write it in quotes"
    return ""


def _of_text(text: str, types: set[str], wanted: Sequence[Rules]) -> str:
    if "boolean" in types:
        word = _SYNONYMS.get(text.lower(), text.lower())
        return f"did you mean {word}?" if word in ("true", "false") else ""
    if types & {"integer", "number", "float", "duration"} and _WHOLE.fullmatch(text):
        return "write it without quotes"
    if "list" in types:
        words = [word for rule in wanted for word in rule.get("schema", {}).get("allowed", ())]
        return f"did you mean [{text}]?" if text in words else ""
    joined = text.replace(" ", "")
    if joined != text and any(_reads(name, joined) for name in types & {"duration", "size", "timestamp"}):
        return f"did you mean {quoted(joined)}?"
    if "dict" in types:
        names = [name for rule in wanted for name in rule.get("schema", {})]
        return f"did you mean {{{text}: …}}?" if text in names else ""
    return ""


def _reads(name: str, text: str) -> bool:
    try:
        SCALARS[name].read(text)
    except ValueError:
        return False
    return True
