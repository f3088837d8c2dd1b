"""JSON objects, as json.loads returns them, as events: what came over a channel."""

from collections.abc import Iterator

from reconciler.documents.tree import Builder, Event, SyntaxFault, Tree, number, text_fault
from reconciler.resource import Json


def object_tree(value: Json) -> tuple[Tree, SyntaxFault | None]:
    """The tree of a JSON object, with the fault that ended the reading, if one did."""
    builder = Builder()
    try:
        builder.feed(_document(value))
    except SyntaxFault as fault:
        return builder.trees[-1], fault
    return builder.trees[-1], None


def _document(value: Json) -> Iterator[Event]:
    yield Event("document")
    yield from _events(value)


def _events(value: Json) -> Iterator[Event]:
    # The builder ends the reading at its depth limit, so this does not recurse further.
    if isinstance(value, dict):
        yield Event("mapping")
        for key, item in value.items():
            yield Event("scalar", value=str(key), fault=text_fault(str(key)))
            yield from _events(item)
        yield Event("end")
    elif isinstance(value, list):
        yield Event("list")
        for item in value:
            yield from _events(item)
        yield Event("end")
    elif isinstance(value, str):
        yield Event("scalar", value=value, fault=text_fault(value))
    elif value is None or isinstance(value, bool):
        yield Event("scalar", value=value)
    elif isinstance(value, (int, float)):
        normal, fault = number(value)
        yield Event("scalar", value=normal, fault=fault)
    else:
        yield Event("scalar", fault=f"not JSON: {type(value).__name__}")
