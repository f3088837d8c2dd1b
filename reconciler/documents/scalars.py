"""The types of words and numbers that rules may name beside cerberus' own, each said once.

A type is what may be written, how that becomes its one normal form, and the JSON
Schema that lets the same through. Reading a normal form gives it back.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from reconciler.documents.tree import INTEGER_MAX, number
from reconciler.resource import Json

DURATION_S_MAX = 366 * 86_400  # nothing in a guest waits longer than a year
TOKEN_CHARS_MAX = 128  # a UUID has 36, a digest with its name 71
PATH_BYTES_MAX = 4096  # PATH_MAX of linux/limits.h

_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9})d)?(?:([0-9]{1,9}(?:\.[0-9]{1,3})?)h)?(?:([0-9]{1,9}(?:\.[0-9]{1,3})?)m(?!s))?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,3})?)s)?(?:([0-9]{1,12})ms)?"
)
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_TOKEN = re.compile(r"[!-~]+")
_SIZE = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,3})?)((?:[KMGTP]i|[kMGTP])?)B?")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15} | {
    unit + "i": 1024**power for power, unit in enumerate("KMGTP", 1)
}


@dataclass(frozen=True)
class ScalarType:
    """One type: its read function raises ValueError with what is expected, as `must be …` goes on."""

    expected: str
    python: tuple[type, ...]  # what it may be written as; bool is never among them
    read: Callable[[Json], Json]
    schema: Mapping[str, Json]  # JSON Schema
    show: Callable[[Any], str] = str  # a limit, as a person writes it


def duration_s(written: str | float) -> float:
    """Seconds, to the millisecond, of `30s`, `10m`, `1h30m`, `250ms` or a number of seconds.

    An int when whole. Raises ValueError.
    """
    if isinstance(written, str):
        match = _DURATION.fullmatch(written)
        if not match:
            raise ValueError(_DURATION_WORDS)
        days, hours, minutes, seconds, milliseconds = (Decimal(part or 0) for part in match.groups())
        total = days * 86_400 + hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    else:
        if not written >= 0:  # so that not-a-number fails too
            raise ValueError(_DURATION_WORDS)
        total = Decimal(repr(written))
    if total > DURATION_S_MAX:
        raise ValueError(_DURATION_LIMIT)
    return number(float(round(total, 3)))[0]


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration: 90 is `90s`, 600 is `10m`."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms" if seconds < 1 else f"{seconds}s"
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{int(seconds) // size}{unit}"
    return f"{int(seconds)}s"


def timestamp(written: str) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ` of a time in RFC 3339 with an offset; fractions of a second are cut off."""
    match = _TIMESTAMP.fullmatch(written)
    if not match:
        raise ValueError(_TIMESTAMP_WORDS)
    *parts, sign, hours, minutes = match.groups()
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        year, month, day, hour, minute, second = map(int, parts)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("a time that exists") from None
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z".zfill(20)  # glibc does not pad years before 1000


def token(written: str | int) -> str:
    """The text of a token: whoever counts may write a whole number."""
    text = str(written)
    if not _TOKEN.fullmatch(text) or len(text) > TOKEN_CHARS_MAX:
        raise ValueError(_TOKEN_WORDS)
    return text


def size_bytes(written: str | int) -> int:
    """Bytes of `10Mi`, `1G`, `1.5GiB` or a whole number of bytes."""
    if isinstance(written, str):
        match = _SIZE.fullmatch(written)
        if not match:
            raise ValueError(_SIZE_WORDS)
        exact = Decimal(match[1]) * _UNITS[match[2]]
        if exact != int(exact):
            raise ValueError("a whole number of bytes")
        written = int(exact)
    if not 0 <= written <= INTEGER_MAX:
        raise ValueError(f"a size from 0 to {INTEGER_MAX} bytes")
    return written


def size_text(size: int) -> str:
    """The shortest exact way to write a size: 1048576 is `1Mi`, 2000 is `2k`."""
    sizes = sorted(_UNITS.items(), key=lambda unit: -unit[1])
    name, unit = next((name, unit) for name, unit in sizes if size % unit == 0 and (size or not name))
    return f"{size // unit}{name}"


def path(written: str) -> str:
    """An absolute path without `..`, doubled or trailing slashes and single dots."""
    parts = written.split("/")
    if not written.startswith("/") or ".." in parts or "\0" in written:
        raise ValueError(_PATH_WORDS)
    if len(written.encode(errors="surrogatepass")) > PATH_BYTES_MAX:
        raise ValueError(f"a path of at most {PATH_BYTES_MAX} bytes")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


_DURATION_WORDS = "a duration such as 30s, 10m or 1h30m, or a number of seconds"
_DURATION_LIMIT = f"a duration of at most {duration_text(DURATION_S_MAX)}"
_TIMESTAMP_WORDS = "a time with its offset such as 2026-01-31T18:00:00Z or 2026-01-31T18:00:00+01:00"
_TOKEN_WORDS = f"1 to {TOKEN_CHARS_MAX} printable ASCII characters without spaces, or a whole number"
_SIZE_WORDS = "a size such as 10Mi or 1G, or a number of bytes"
_PATH_WORDS = "an absolute path without .."


def _text(pattern: re.Pattern[str], **more: Json) -> dict[str, Json]:
    return {"type": "string", "pattern": f"^(?:{pattern.pattern})$", **more}


SCALARS: Mapping[str, ScalarType] = {
    "duration": ScalarType(
        _DURATION_WORDS,
        (str, int, float),
        duration_s,
        {"anyOf": [_text(_DURATION), {"type": "number", "minimum": 0, "maximum": DURATION_S_MAX}]},
        duration_text,
    ),
    "timestamp": ScalarType(_TIMESTAMP_WORDS, (str,), timestamp, _text(_TIMESTAMP)),
    "token": ScalarType(
        _TOKEN_WORDS,
        (str, int),
        token,
        {"anyOf": [_text(_TOKEN, maxLength=TOKEN_CHARS_MAX), {"type": "integer"}]},
    ),
    "size": ScalarType(
        _SIZE_WORDS,
        (str, int),
        size_bytes,
        {"anyOf": [_text(_SIZE), {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}]},
        size_text,
    ),
    "path": ScalarType(
        _PATH_WORDS,
        (str,),
        path,
        {"type": "string", "pattern": r"^/(?!(?:[\s\S]*/)?\.\.(?:/|$))", "maxLength": PATH_BYTES_MAX},
    ),
}
