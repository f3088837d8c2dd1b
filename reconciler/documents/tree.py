"""Trees: plain JSON values, where in the text each stands, and what is wrong with the text.

Readers of YAML, of JSON and of JSON objects turn what they read into events; one
builder makes trees of the events, so limits and refusals are the same for all three.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from reconciler.errors import Fault
from reconciler.resource import Json

DEPTH_MAX = 32  # the deepest kind needs 8; recursion further on stays far from the interpreter's limit
NODES_MAX = 20_000  # a document of every kind has some 200; this many are checked within a second
INTEGER_MAX = 2**53 - 1  # beyond it readers of JSON disagree (RFC 7493, 2.2)
NUMBER_CHARS_MAX = 40  # the longest that a double or such an integer needs

Path = tuple[str | int, ...]  # keys and indexes from the root

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_SIMPLE = re.compile(r"[A-Za-z0-9_-]+")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None, "~": None, "": None}


class SyntaxFault(Exception):
    """The text is neither YAML nor JSON from here on."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line, self.column, self.message = line, column, message
        super().__init__(message)


class LimitFault(SyntaxFault):
    """The text goes on, but further than anyone needs; it is not read on."""


@dataclass(frozen=True, slots=True)
class Event:
    """One step through a text; lines and columns count from 1, both 0 where there was no text."""

    what: Literal["document", "mapping", "list", "end", "scalar"]
    line: int = 0
    column: int = 0
    value: Json = None  # of a scalar
    text: str | None = None  # of a scalar that was written plain and is not text: what was written
    fault: str = ""  # why it is refused; the value is then not to be believed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value and its key stand, and how a plain scalar was written."""

    line: int
    column: int
    key_line: int
    key_column: int
    text: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path; where that is in the text, the tree knows."""

    path: Path
    message: str
    on_key: bool = False  # the key is wrong, not its value
    place: tuple[int, int] | None = None  # known already: line, column


@dataclass
class Tree:
    """One document: its value as JSON, the places of all its parts, what is wrong with its text."""

    value: Json = None
    places: dict[Path, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def place(self, path: Path, on_key: bool = False) -> tuple[int, int]:
        """Line and column of what stands at `path`, or of the nearest thing around it."""
        while path and path not in self.places:
            path, on_key = path[:-1], False
        place = self.places.get(path, Place(0, 0, 0, 0))
        return (place.key_line, place.key_column) if on_key else (place.line, place.column)

    def written(self, path: Path) -> str | None:
        """How the plain scalar at `path` was written, if it is not text."""
        place = self.places.get(path)
        return place.text if place else None

    def fault(self, finding: Finding, source: str, prefix: Path = ()) -> Fault:
        line, column = finding.place or self.place(finding.path, finding.on_key)
        return Fault(line, column, dotted(prefix + finding.path), finding.message, source)


class Builder:
    """Takes events, gives trees. A fault that ends the reading is raised as SyntaxFault."""

    def __init__(self) -> None:
        self.trees: list[Tree] = []
        self._open: list[_Frame] = []
        self._nodes = 0

    @property
    def whole(self) -> bool:
        """Whether the last tree was read to its end."""
        return not self._open

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.what == "document":
                self.trees.append(Tree())
            elif event.what == "end":
                frame = self._open.pop()
                if frame.is_key:
                    self._open[-1].key = _LOST
            else:
                self._node(event)

    def _node(self, event: Event) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise LimitFault(event.line, event.column, f"more than {NODES_MAX} keys and values")
        if not self._open:
            self._hang((), event, None)
            return
        frame = self._open[-1]
        if isinstance(frame.container, list):
            path = (*frame.path, len(frame.container))
            frame.container.append(self._hang(path, event, None))
        elif frame.key is None:
            self._take_key(frame, event)
        else:
            path = (*frame.path, frame.key)
            value = self._hang(path, event, frame)
            if not frame.lost:
                frame.container[frame.key] = value
            frame.key, frame.lost = None, False

    def _hang(self, path: Path, event: Event, key: "_Frame | None") -> Json:
        """Make the value of an event that opens or is one, and note its place."""
        tree = self.trees[-1]
        value = {"mapping": dict, "list": list}.get(event.what, lambda: event.value)()
        if not path:
            tree.value = value
        at = (key.key_line, key.key_column) if key else (event.line, event.column)
        if not (key and key.lost):
            tree.places[path] = Place(event.line, event.column, *at, event.text)
        if event.fault:
            tree.findings.append(Finding(path, event.fault, place=(event.line, event.column)))
        if event.what != "scalar":
            self._push(_Frame(value, path), event)
        return value

    def _take_key(self, frame: "_Frame", event: Event) -> None:
        frame.key_line, frame.key_column = event.line, event.column
        here = (event.line, event.column)
        findings = self.trees[-1].findings
        if event.what != "scalar":
            findings.append(Finding(frame.path, "a key must be a word, not a mapping or a list", place=here))
            frame.lost = True
            self._push(
                _Frame({} if event.what == "mapping" else [], (*frame.path, _LOST), is_key=True), event
            )
            return
        # Every key is the text that was written, so that `8080:` and `off:` are words like others.
        frame.key = event.value if isinstance(event.value, str) else str(event.text)
        path = (*frame.path, frame.key)
        if event.fault:
            findings.append(Finding(path, event.fault, place=here))
        if frame.key == "<<":
            frame.lost = True
            findings.append(Finding(path, "merge keys are refused; write the keys out", place=here))
        elif frame.key in frame.container:
            frame.lost = True
            line = self.trees[-1].places[path].key_line
            first = f", first on line {line}" if line else ""
            findings.append(Finding(path, f"key given twice{first}", place=here))

    def _push(self, frame: "_Frame", event: Event) -> None:
        self._open.append(frame)
        if len(self._open) > DEPTH_MAX:
            raise LimitFault(event.line, event.column, f"nested deeper than {DEPTH_MAX} levels")


_LOST = "?"  # stands in a path for a key that is none


@dataclass
class _Frame:
    """A mapping or list that is being read."""

    container: Json
    path: Path
    is_key: bool = False  # the whole of it stands where a key should
    key: str | None = None  # read, and waiting for its value
    key_line: int = 0
    key_column: int = 0
    lost: bool = False  # the value of the waiting key is read for its faults alone


def plain(text: str) -> tuple[Json, str]:
    """What an unquoted word is, and why it is refused if it is.

    Only `true` and `false` are booleans, only `null`, `~` and nothing are null, and
    numbers are written as in JSON; all else is text: `off`, `0755`, `52:54:00:12:34:56`.
    """
    if text in _WORDS:
        return _WORDS[text], ""
    if not _NUMBER.fullmatch(text):
        return text, text_fault(text)
    if len(text) > NUMBER_CHARS_MAX:
        return 0, f"a number has at most {NUMBER_CHARS_MAX} characters"
    return number(float(text) if set(text) & set(".eE") else int(text))


def number(value: float) -> tuple[float, str]:
    """A number in its one form, whole ones as int (1.0 is 1), and why it is refused if it is."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return 0, "not a number that JSON can hold"
        if not value.is_integer():
            return value, ""
        value = int(value)
    if abs(value) > INTEGER_MAX:
        return 0, f"a whole number must lie within -{INTEGER_MAX} and {INTEGER_MAX}"
    return value, ""


def text_fault(text: str) -> str:
    """Why a text is refused, or nothing."""
    if "\0" in text:
        return "text must not hold a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "text must not hold half of a surrogate pair"
    return ""


def dotted(path: Path) -> str:
    """A path as a person writes it: `spec.filesystems.mounts[0]`, `spec.files["/etc/motd"].mode`."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _SIMPLE.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{quoted(step)}]")
    return "".join(parts)


def quoted(text: str, length_max: int = 60) -> str:
    """A text in double quotes on one line, shortened, with all that does not print escaped."""
    cut = text if len(text) <= length_max else text[: length_max - 1] + "…"
    return '"' + "".join(_printable(character) for character in cut) + '"'


def _printable(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    # Controls, line breaks and the marks that turn the direction of writing would spoil the message.
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"
