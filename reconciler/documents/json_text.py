"""JSON text as events: one value or several after each other, with their places.

YAML is not quite a superset of JSON (tabs before a key, surrogate pairs, keys of
more than 1,024 characters), so text that is JSON is read as JSON.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator

from reconciler.documents.tree import Event, SyntaxFault, plain, text_fault

_BREAK = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<mark>[\[\]{},:])
      | (?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")
      | (?P<word>(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)(?![0-9A-Za-z.+-]))
      | (?P<end>\Z))""",
    re.VERBOSE,
)
_VALUES = {"{": "first key", "[": "first item", "string": "after", "word": "after"}
# What is expected, what comes, what is expected then. Marks that close are looked up in the stack too.
_NEXT: dict[str, dict[str, str]] = {
    "document": {**_VALUES, "end": "over"},
    "value": _VALUES,
    "first item": {**_VALUES, "]": "after"},
    "first key": {"string": "colon", "}": "after"},
    "key": {"string": "colon"},
    "colon": {":": "value"},
    "after": {",": "next", "}": "after", "]": "after"},
}
_WORDS = {
    "document": "a value",
    "value": "a value",
    "first item": 'a value or "]"',
    "first key": 'a key in double quotes or "}"',
    "key": "a key in double quotes",
    "colon": '":"',
    "{": '"," or "}"',
    "[": '"," or "]"',
}


class Lines:
    """Offsets in a text as line and column, both from 1."""

    def __init__(self, text: str) -> None:
        self._end = len(text.rstrip(" \t\r\n"))
        self._starts = [0, *(match.end() for match in _BREAK.finditer(text))]

    @property
    def end(self) -> tuple[int, int]:
        """Behind the last character that is not blank."""
        return self.place(self._end)

    def place(self, offset: int) -> tuple[int, int]:
        """Of an offset; of the end of what is written for one behind all that."""
        offset = min(offset, self._end)
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def json_events(text: str) -> Iterator[Event]:
    """The events of every value in `text`; raises SyntaxFault where it is not JSON."""
    lines = Lines(text)
    opened: list[str] = []
    expected, offset = "document", 0
    while expected != "over":
        match = _TOKEN.match(text, offset)
        token, start = _token(match) if match else ("", offset)
        place = lines.place(start)
        closes = token in ("}", "]")
        then = _NEXT[expected].get(token)
        if match is None or then is None or (closes and {"}": "{", "]": "["}[token] != opened[-1]):
            wanted = opened[-1] if expected == "after" else expected
            at = lines.place(_skip_blank(text, offset))
            raise SyntaxFault(*at, f"not JSON: expected {_WORDS[wanted]}")
        if expected == "document" and then != "over":
            yield Event("document", *place)
        yield from _events(token, match, place)
        if token in ("{", "["):
            opened.append(token)
        elif closes:
            opened.pop()
        expected = _settled(then, opened)
        offset = match.end()


def _settled(then: str, opened: list[str]) -> str:
    if then == "after" and not opened:
        return "document"
    if then == "next":
        return "key" if opened[-1] == "{" else "value"
    return then


def _token(match: re.Match[str]) -> tuple[str, int]:
    """The token as the table names it, and where it starts."""
    kind = str(match.lastgroup)
    return (match[kind] if kind == "mark" else kind), match.start(kind)


def _events(token: str, match: re.Match[str], place: tuple[int, int]) -> Iterator[Event]:
    if token == "string":
        value = json.loads(match["string"])
        yield Event("scalar", *place, value, fault=text_fault(value))
    elif token == "word":
        value, fault = plain(match["word"])
        yield Event("scalar", *place, value, match["word"], fault)
    elif token in ("{", "["):
        yield Event("mapping" if token == "{" else "list", *place)
    elif token in ("}", "]"):
        yield Event("end", *place)


def _skip_blank(text: str, offset: int) -> int:
    while offset < len(text) and text[offset] in " \t\r\n":
        offset += 1
    return offset
