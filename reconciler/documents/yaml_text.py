"""YAML text as events: PyYAML parses, but what a word means is not for YAML 1.1 to say."""

from collections.abc import Iterator
from typing import Any

from reconciler.documents.json_text import Lines
from reconciler.documents.tree import Event, SyntaxFault, plain, quoted, text_fault

# What PyYAML's two parsers say, by a part that both share, in words for who writes the document.
_PLAIN_WORDS = (
    ("mapping values are not allowed", 'a ":" cannot stand here; put text that holds ": " in quotes'),
    ("found unexpected ':'", 'a ":" needs a space behind it'),
    ("block sequence entries are not allowed", "a list cannot begin here; begin it on a line of its own"),
    ("could not find expected ':'", 'a key without ":"'),
    ("did not find expected key", "expected a key here; look at the indentation and the quotes above"),
    ("expected <block end>", "expected a key here; look at the indentation and the quotes above"),
    ("did not find expected '-' indicator", 'expected "- " here; look at the indentation'),
    ("did not find expected ',' or '}'", 'expected "," or "}"'),
    ("expected ',' or '}'", 'expected "," or "}"'),
    ("did not find expected ',' or ']'", 'expected "," or "]"'),
    ("expected ',' or ']'", 'expected "," or "]"'),
    ("unexpected end of stream", "a quote is opened and never closed"),
    ("found unexpected document", "a quote is opened and not closed before the document ends"),
    ("unknown escape character", "unknown escape in double quotes; single quotes take a backslash as it is"),
    ("did not find expected hexdecimal number", "an escape in double quotes lacks its hexadecimal digits"),
    ("expected escape sequence of", "an escape in double quotes lacks its hexadecimal digits"),
    ("invalid Unicode character escape code", "an escape in double quotes that is no character"),
    ("expected node content", "expected a value"),
    ("expected the node content", "expected a value"),
    ("expected <document start>", 'expected "---" before another document'),
    ("expected '<document start>'", 'expected "---" before another document'),
    ("undefined tag handle", "tags are refused"),
    ("incompatible YAML document", "this is not YAML 1"),
    ("unknown directive name", "unknown directive"),
    ("while scanning an anchor", "anchors are refused"),
    ("while scanning an alias", "aliases are refused"),
    ("comment or line break", "after | and > a line must end"),
    ("chomping or indentation indicators", "after | and > a line must end"),
    ("tab character", "a tab cannot indent; indent with spaces"),
)


def yaml_events(text: str) -> Iterator[Event]:
    """The events of every document in `text`; raises SyntaxFault where it is not YAML."""
    # Late: a guest that validates a JSON object needs no YAML.
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is 20 times as fast
    try:
        events: Iterator[Any] = yaml.parse(text, Loader=loader)
        for event in events:
            translated = _translate(event, event.start_mark.line + 1, event.start_mark.column + 1)
            if translated:
                yield translated
    except yaml.MarkedYAMLError as error:
        raise _syntax_fault(error, text) from None
    except yaml.YAMLError:
        # The characters were looked at before, so the parsers' readers find nothing more.
        raise SyntaxFault(1, 1, "this text is not YAML") from None


def _translate(event: Any, line: int, column: int) -> Event | None:
    match type(event).__name__:
        case "DocumentStartEvent":
            return Event("document", line, column)
        case "ScalarEvent":
            return _scalar(event, line, column)
        case "MappingStartEvent":
            return Event("mapping", line, column, fault=_decoration(event))
        case "SequenceStartEvent":
            return Event("list", line, column, fault=_decoration(event))
        case "MappingEndEvent" | "SequenceEndEvent":
            return Event("end", line, column)
        case "AliasEvent":
            fault = f"aliases are refused; write the value of *{quoted(event.anchor)[1:-1]} out"
            return Event("scalar", line, column, text=f"*{event.anchor}", fault=fault)
    return None


def _scalar(event: Any, line: int, column: int) -> Event:
    if event.style:  # quoted or a block: text, whatever it looks like
        fault = text_fault(event.value) or _decoration(event)
        return Event("scalar", line, column, event.value, fault=fault)
    value, fault = plain(event.value)
    written = None if isinstance(value, str) else event.value
    return Event("scalar", line, column, value, written, _decoration(event) or fault)


def _decoration(event: Any) -> str:
    if event.anchor is not None:
        return f"anchors are refused; take &{quoted(event.anchor)[1:-1]} away"
    if event.tag is not None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        if "$" in tag:  # the hash of a locked password, out of shadow(5), which is not to be shown
            return "tags are refused; text that begins with ! needs quotes"
        return f"tags are refused; take {quoted(tag)[1:-1]} away"
    return ""


def _syntax_fault(error: Any, text: str) -> SyntaxFault:
    mark = error.problem_mark or error.context_mark
    said = f"{error.context}: {error.problem}"
    words = next((words for part, words in _PLAIN_WORDS if part in said), error.problem)
    if "cannot start any token" in said:
        words = _bad_start(text[mark.index : mark.index + 1])
    if "quote is opened" in words:
        mark = error.context_mark or mark
    place = (mark.line + 1, mark.column + 1)
    # Where something is missing at the end, that is behind the last word, not on a line that is none.
    return SyntaxFault(*min(place, Lines(text).end), f"not YAML: {words}")


def _bad_start(character: str) -> str:
    if character == "\t":
        return "a tab cannot indent; indent with spaces"
    return f"nothing can begin with {quoted(character)}; put it in quotes"
