"""Prometheus' text format: metrics as text, and as a mapping that patches well.

A series is known by its text: its name and its labels, sorted and quoted as the format
itself (0.0.4) writes them: `backup_seconds{host="db",kind="full"}`. So a value that
changed travels as one member of a merge patch.

What the format allows and we refuse: timestamps, because a value has the age of what it
was read from. No message quotes what was refused, which may be no metrics at all but a
file that somebody linked here.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.errors import RemoteProtocolError

Value = int | float | str  # a number, or NaN, +Inf, -Inf, for which JSON has no number

SERIES_MAX = 1000  # of all texts together: 0.5 MiB as JSON at worst, a sixteenth of what a host takes
SERIES_CHARS_MAX = 512  # a name and some labels; what is longer is data and no name
HELP_CHARS_MAX = 256  # a sentence; cut
TEXT_BYTES_MAX = 256 * 1024  # SERIES_MAX series of an ordinary length, with their help

_TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|(?=\}))')
_LABELS_END = re.compile(r"[ \t]*\}")
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf(?:inity)?|nan", re.IGNORECASE | re.ASCII
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"\\": "\\", '"': '"', "n": "\n"}
_EXACT_MAX = 2**53  # integers that JSON's readers keep


@dataclass
class Exposition:
    """What one text says."""

    series: dict[str, Value] = field(default_factory=dict)
    families: dict[str, dict[str, str]] = field(default_factory=dict)  # name: type?, help?


@dataclass
class Gathered(Exposition):
    """What several texts say together: the first to name a series has it."""

    counts: dict[str, int] = field(default_factory=dict)  # text: its series
    faults: dict[str, str] = field(default_factory=dict)  # text: why none of it is here


def gather(texts: Iterable[tuple[str, bytes]]) -> Gathered:
    """Join texts by their names. One that is broken or too much costs itself only."""
    gathered = Gathered()
    for name, text in texts:
        try:
            exposition = parse(text)
            _fit(gathered, exposition)
        except RemoteProtocolError as error:
            gathered.faults[name] = str(error)
            continue
        gathered.counts[name] = len(exposition.series)
        gathered.series |= exposition.series
        gathered.families = exposition.families | gathered.families
    return gathered


def _fit(gathered: Gathered, exposition: Exposition) -> None:
    if len(gathered.series) + len(exposition.series) > SERIES_MAX:
        raise RemoteProtocolError(f"there would be more than {SERIES_MAX} series")
    if gathered.series.keys() & exposition.series.keys():
        raise RemoteProtocolError("another text has one of its series")


def parse(text: bytes) -> Exposition:
    """Raises RemoteProtocolError with the line; then nothing of the text is to be believed."""
    if len(text) > TEXT_BYTES_MAX:
        raise RemoteProtocolError(f"it is longer than {TEXT_BYTES_MAX} bytes")
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError:
        raise RemoteProtocolError("it is not UTF-8") from None
    exposition = Exposition()
    for number, line in enumerate(lines, 1):
        try:
            _take(exposition, line.strip(" \t\r"))
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"line {number}: {error}") from None
    return exposition


def _take(exposition: Exposition, line: str) -> None:
    if line.startswith("#"):
        _take_comment(exposition, line[1:].lstrip(" \t"))
    elif line:
        series, value = _sample(line)
        if series in exposition.series:
            raise RemoteProtocolError("the same series again")
        if len(exposition.series) >= SERIES_MAX:
            raise RemoteProtocolError(f"more than {SERIES_MAX} series")
        exposition.series[series] = value


def _take_comment(exposition: Exposition, comment: str) -> None:
    keyword, name, text = (*comment.split(None, 2), "", "", "")[:3]
    if keyword not in ("TYPE", "HELP"):
        return
    if not _NAME.fullmatch(name):
        raise RemoteProtocolError(f"no metric name after {keyword}")
    _check_length(name)
    if len(exposition.families) >= SERIES_MAX and name not in exposition.families:
        raise RemoteProtocolError(f"more than {SERIES_MAX} metrics")
    family = exposition.families.setdefault(name, {})
    if keyword.lower() in family:
        raise RemoteProtocolError(f"{keyword} of the same metric again")
    if keyword == "TYPE":
        if text.strip() not in _TYPES:
            raise RemoteProtocolError("not a type of metric")
        family["type"] = text.strip()
    else:
        family["help"] = _ESCAPE.sub(_unescape_help, text.strip(" \t"))[:HELP_CHARS_MAX]


def _sample(line: str) -> tuple[str, Value]:
    name = _NAME.match(line)
    if not name:
        raise RemoteProtocolError("not a sample")
    labels: dict[str, str] = {}
    end = name.end()
    opened = line[end:].lstrip(" \t")
    if opened.startswith("{"):
        end = _take_labels(labels, line, line.index("{", end) + 1)
    words = line[end:].split()
    if not 1 <= len(words) <= 2 or not all(_NUMBER.fullmatch(word) for word in words):
        raise RemoteProtocolError("not one number after the name")
    if len(words) == 2:
        raise RemoteProtocolError("a timestamp, which is refused")
    series = name[0] + canonical(labels)
    _check_length(series)
    return series, json_number(float(words[0]))


def _take_labels(labels: dict[str, str], line: str, start: int) -> int:
    """Read up to and with the closing brace; where it ends."""
    while not (closed := _LABELS_END.match(line, start)):
        label = _LABEL.match(line, start)
        if not label:
            raise RemoteProtocolError("not a label")
        if label[1] in labels:
            raise RemoteProtocolError("the same label again")
        labels[label[1]] = _ESCAPE.sub(_unescape, label[2])
        start = label.end()
    return closed.end()


def _unescape(escape: re.Match[str]) -> str:
    try:
        return _ESCAPED[escape[1]]
    except KeyError:
        raise RemoteProtocolError("not an escape") from None


def _unescape_help(escape: re.Match[str]) -> str:
    return {"\\": "\\", "n": "\n"}.get(escape[1], escape[0])


def _check_length(series: str) -> None:
    if len(series) > SERIES_CHARS_MAX:
        raise RemoteProtocolError(f"a series of more than {SERIES_CHARS_MAX} characters")


def canonical(labels: Mapping[str, str]) -> str:
    """Labels as the format writes them, sorted; nothing when there are none."""
    if not labels:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in sorted(labels.items()))
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def json_number(value: float) -> Value:
    """A number that JSON has; NaN and the infinities as Prometheus writes them."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return int(value) if value.is_integer() and abs(value) <= _EXACT_MAX else value
