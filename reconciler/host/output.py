"""What people and programs read: tables, JSON, YAML, colours; nothing goes out raw.

A guest is not trusted: a control character in a host name could rewrite the terminal of
whoever asks for it. Whatever is not printable is shown as an escape.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from reconciler.resource import Json

CELL_WIDTH_MAX = 60  # a table of some columns fits on a screen; `wide` cuts nothing
FORMATS = ("table", "wide", "json", "yaml", "name")

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}
_OUTSIDE_ASCII = re.compile(r"[^\n -~]")


def escape(text: object) -> str:
    r"""One line that any terminal can be given: `\x1b` for the character."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else _escaped(c) for c in shown)


def _escaped(character: str) -> str:
    code = ord(character)
    return {10: "\\n", 9: "\\t"}.get(code) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def width(text: str) -> int:
    """Columns that a terminal takes for it."""
    if text.isascii():
        return len(text)
    # Late: its tables are 1 MiB, and most text is ASCII.
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width_max: int) -> str:
    if width(text) <= width_max:
        return text
    kept, columns = "", 1
    for character in text:
        columns += width(character)
        if columns > width_max:
            break
        kept += character
    return kept + "…"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, wide: bool = False) -> str:
    """Columns under their names, two spaces between them; lines end without spaces."""
    cells = [[cell if wide else cut(cell, CELL_WIDTH_MAX) for cell in map(escape, row)] for row in rows]
    lines = [list(head), *cells]
    widths = [max(width(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(
            cell + " " * (columns - width(cell)) for cell, columns in zip(line, widths, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def as_json(value: Json, *, indent: int | None = 2) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _OUTSIDE_ASCII.sub(_json_escape, text) + "\n"


def _json_escape(match: re.Match[str]) -> str:
    # Outside of strings JSON is ASCII, so whatever stands here is inside of one.
    character = match.group()
    return character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def as_yaml(value: Json) -> str:
    # Late: yaml takes 15 ms, and only this format needs it.
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what is not printable, so that it can be escaped."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = None if text.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)

    Dumper.add_representer(str, represent)
    text = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return "".join(c if c == "\n" or c.isprintable() else _escaped(c) for c in text)


def encode(value: Json, form: str) -> str:
    return as_json(value) if form == "json" else as_yaml(value)


def flat(value: Json) -> str:
    """Any JSON value in one table cell."""
    match value:
        case str():
            return value
        case bool() | None:
            return json.dumps(value)
        case float():
            return f"{value:g}"
        case int():
            return str(value)
        case list():
            return ", ".join(flat(item) for item in value)
        case dict():
            return " ".join(f"{key}={flat(item)}" for key, item in value.items())
        case _:
            return str(value)


def grid(value: Json, *, wide: bool = False) -> str:
    """Any JSON value as a table: a list of objects by its rows, an object by its members."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return _rows(value, wide=wide)
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        return _rows([{"name": name} | row for name, row in value.items()], wide=wide)
    if isinstance(value, dict):
        return _members(value, wide=wide)
    if isinstance(value, list):
        return "".join(escape(flat(item)) + "\n" for item in value)
    return escape(flat(value)) + "\n"


def _members(value: Mapping[str, Json], *, wide: bool) -> str:
    """The plain members as a table, and a table for each of the others below it."""
    plain = {key: flat(item) for key, item in value.items() if not _is_grid(item)}
    top = table(("FIELD", "VALUE"), plain.items(), wide=wide) if plain or not value else ""
    below = (
        f"{escape(key).upper()}\n{indent(grid(item, wide=wide))}"
        for key, item in value.items()
        if _is_grid(item)
    )
    return "\n".join(part for part in (top, *below) if part)


def _is_grid(value: Json) -> bool:
    items = list(value.values()) if isinstance(value, dict) else value
    return isinstance(items, list) and bool(items) and all(isinstance(item, dict) for item in items)


def indent(text: str) -> str:
    """Every line two columns further in; `none` where there is no line."""
    return "".join(f"  {line}" for line in text.splitlines(keepends=True)) or "  none\n"


def _rows(rows: Sequence[Mapping[str, Json]], *, wide: bool) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if not wide:
        # What nests is for `wide`, unless nothing else is there.
        keys = [key for key in keys if not any(isinstance(row.get(key), dict) for row in rows)] or keys
    head = [cut(escape(key), CELL_WIDTH_MAX).upper() for key in keys]
    return table(head, ([flat(row[key]) if key in row else "-" for key in keys] for row in rows), wide=wide)


def colour(text: str, name: str, stream: TextIO | None = None) -> str:
    """`text` in a colour, where `stream` (standard output) is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m"


def say(text: str) -> None:
    """Data: to standard output, and out of this process before anything else happens."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: object) -> None:
    """Everything that is not data: a line to standard error."""
    print(escape(text), file=sys.stderr, flush=True)


def progress(text: object) -> None:
    """What only somebody who watches wants to know."""
    if sys.stderr.isatty():
        note(text)
