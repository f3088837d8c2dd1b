"""Text to trees: UTF-8 text, YAML or JSON, one document or a stream of them."""

import re

from reconciler.documents.json_text import Lines, json_events
from reconciler.documents.tree import Builder, LimitFault, SyntaxFault, Tree
from reconciler.documents.yaml_text import yaml_events

# A document of every kind is some 10 KiB; this is a stream for hundreds of guests, read within a second.
TEXT_BYTES_MAX = 256 * 1024

# All but YAML 1.1's printable characters (5.1), and a byte order mark inside the text.
_SPOILT = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_trees(text: str | bytes) -> tuple[list[Tree], SyntaxFault | None]:
    """Every document of a text, in order, and the fault that ended the reading, if one did.

    With such a fault, the value of the last tree may lack what stands behind it.
    """
    try:
        decoded = _decode(text)
    except SyntaxFault as fault:
        return [], fault
    if decoded.lstrip(" \t\r\n")[:1] not in ("{", "["):
        return _build(decoded, json=False)
    as_json, json_fault = _build(decoded, json=True)
    if json_fault is None or isinstance(json_fault, LimitFault):
        return as_json, json_fault
    as_yaml, yaml_fault = _build(decoded, json=False)
    if yaml_fault is None or isinstance(yaml_fault, LimitFault):
        return as_yaml, yaml_fault
    # Who meant JSON got further with JSON.
    if (json_fault.line, json_fault.column) >= (yaml_fault.line, yaml_fault.column):
        return as_json, json_fault
    return as_yaml, yaml_fault


def _build(text: str, *, json: bool) -> tuple[list[Tree], SyntaxFault | None]:
    builder = Builder()
    try:
        builder.feed(json_events(text) if json else yaml_events(text))
    except SyntaxFault as fault:
        return builder.trees, fault
    return builder.trees, None


def _decode(text: str | bytes) -> str:
    """The text without a byte order mark; raises SyntaxFault for what is no text, or too much."""
    if len(text) > TEXT_BYTES_MAX:
        raise LimitFault(1, 1, f"larger than {TEXT_BYTES_MAX // 1024} KiB")
    decoded = _utf8(text) if isinstance(text, bytes) else text
    decoded = decoded.removeprefix("\ufeff")
    if spoilt := _SPOILT.search(decoded):
        place = Lines(decoded).place(spoilt.start())
        raise SyntaxFault(*place, f"the character U+{ord(spoilt[0]):04X} is refused in a document")
    return decoded


def _utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        raise SyntaxFault(*Lines(before + "?").place(len(before)), "not UTF-8") from None
