"""The format's own examples, what is refused, and texts written from what they must say."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import RemoteProtocolError
from reconciler.protocols import prometheus
from reconciler.protocols.prometheus import Value, canonical, gather, json_number, parse

TEXT = b"""\
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027
http_requests_total { code = "400" , method="post" , }  3.5

# Escaping in label values:
msdos_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find \\"FILE\\"\\n"} 1.458255915e9
   # any other comment
#
# HELP\tnot_a_number\tafter a tab
metric_without_labels\t12.47\r
not_a_number NaN
above_all +Inf
below_all -inf
# TYPE rpc_seconds histogram
# HELP rpc_seconds Two\\nlines and a \\\\ and a \\q.
rpc_seconds_bucket{le="0.05"} 24054
rpc_seconds_sum 1e-3
empty{} -0
"""


def test_what_the_format_allows() -> None:
    exposition = parse(TEXT)
    assert exposition.series == {
        'http_requests_total{code="200",method="post"}': 1027,
        'http_requests_total{code="400",method="post"}': 3.5,
        r'msdos_seconds{error="Cannot find \"FILE\"\n",path="C:\\DIR\\FILE.TXT"}': 1458255915,
        "metric_without_labels": 12.47,
        "not_a_number": "NaN",
        "above_all": "+Inf",
        "below_all": "-Inf",
        'rpc_seconds_bucket{le="0.05"}': 24054,
        "rpc_seconds_sum": 0.001,
        "empty": 0,
    }
    assert exposition.families == {
        "http_requests_total": {"help": "The total number of HTTP requests.", "type": "counter"},
        "not_a_number": {"help": "after a tab"},
        "rpc_seconds": {"type": "histogram", "help": "Two\nlines and a \\ and a \\q."},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"a 1\nroot:x:0:0:root:/root:/bin/bash", "line 2: not one number", id="a linked file"),
        pytest.param(b"1a 1", "line 1: not a sample", id="name"),
        pytest.param(b"a", "line 1: not one number", id="no value"),
        pytest.param(b"a one", "line 1: not one number", id="a word for a value"),
        pytest.param(b"a 1_000", "line 1: not one number", id="Python's own numbers"),
        pytest.param(b"a 0x10", "line 1: not one number", id="hexadecimal"),
        pytest.param("a ٣".encode(), "line 1: not one number", id="other digits"),
        pytest.param(b"a 1 1395066363000", "line 1: a timestamp", id="timestamp"),
        pytest.param(b"a 1 2 3", "line 1: not one number", id="too many words"),
        pytest.param(b'a{b="c" 1', "line 1: not a label", id="open brace"),
        pytest.param(b'a{b="c} 1', "line 1: not a label", id="open quote"),
        pytest.param(b"a{b=c} 1", "line 1: not a label", id="no quotes"),
        pytest.param(b'a{b="c",,} 1', "line 1: not a label", id="two commas"),
        pytest.param(b'a{b="c"d="e"} 1', "line 1: not a label", id="no comma"),
        pytest.param(b'a{b:c="d"} 1', "line 1: not a label", id="colon in a label"),
        pytest.param(b'a{b="\\q"} 1', "line 1: not an escape", id="escape"),
        pytest.param(b'a{b="1",b="2"} 1', "line 1: the same label again", id="label twice"),
        pytest.param(b'a{b="1",c=""} 1\na{c="",b="1"} 2', "line 2: the same series again", id="series twice"),
        pytest.param(b"# TYPE a gauge\n# TYPE a gauge", "line 2: TYPE of the same metric", id="type twice"),
        pytest.param(b"# TYPE a thing", "line 1: not a type", id="type"),
        pytest.param(b"# HELP 1", "line 1: no metric name after HELP", id="help for nothing"),
        pytest.param(b"a\xff 1", "it is not UTF-8", id="bytes"),
        pytest.param(b"a" * 513 + b" 1", "line 1: a series of more than 512", id="long name"),
        pytest.param(b'a{b="%s"} 1' % (b'"' * 512), "line 1: not a label", id="quotes"),
        pytest.param(b'a{b="%s"} 1' % (b'\\"' * 300), "line 1: a series of more than 512", id="long label"),
        pytest.param(b"\n" * (256 * 1024 + 1), "it is longer than 262144", id="long text"),
        pytest.param(
            b"".join(b"a%d 1\n" % n for n in range(1001)), "line 1001: more than 1000", id="many series"
        ),
        pytest.param(
            b"".join(b"# TYPE a%d gauge\n" % n for n in range(1001)),
            "line 1001: more than 1000",
            id="many types",
        ),
    ],
)
def test_what_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^{message}"):
        parse(text)


def test_a_refusal_quotes_nothing() -> None:
    for line in TEXT.splitlines():
        secret = b"s3cret" + line + b"s3cret"
        assert "s3cret" not in str(gather([("text", secret)]).faults)


def test_a_long_help_is_cut() -> None:
    assert parse(b"# HELP a " + b"x" * 1000).families == {"a": {"help": "x" * 256}}


def test_texts_are_joined_and_a_broken_one_costs_itself() -> None:
    gathered = gather(
        [
            ("first", b"# TYPE a gauge\na 1\nb 2"),
            ("broken", b"c 1\nwhat"),
            ("again", b"d 1\na 5"),
            ("last", b"# TYPE a counter\n# TYPE e gauge\ne 5"),
        ]
    )
    assert gathered.series == {"a": 1, "b": 2, "e": 5}
    assert gathered.families == {"a": {"type": "gauge"}, "e": {"type": "gauge"}}
    assert gathered.counts == {"first": 2, "last": 1}
    assert gathered.faults == {
        "broken": "line 2: not one number after the name",
        "again": "another text has one of its series",
    }


def test_what_is_too_much_together_is_refused_by_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SERIES_MAX", 2)
    gathered = gather([("one", b"a 1"), ("two", b"b 1\nc 1"), ("three", b"d 1")])
    assert gathered.counts == {"one": 1, "three": 1}
    assert gathered.faults == {"two": "there would be more than 2 series"}


LABELS = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), st.text(max_size=9), max_size=4
)
NUMBERS = st.floats(width=64) | st.integers(-(2**60), 2**60)


@given(st.from_regex(r"[a-z_:][a-z0-9_:]{0,9}", fullmatch=True), LABELS, NUMBERS)
def test_what_is_written_comes_back(name: str, labels: dict[str, str], number: float) -> None:
    series = name + canonical(labels)
    line = f"{series} {number!r}"
    if not line.isprintable() and any(0xD800 <= ord(char) <= 0xDFFF for char in line):
        return  # what no file in UTF-8 can hold
    assert parse(line.encode()).series == {series: json_number(float(number))}


@given(st.floats())
def test_a_number_survives_json(number: float) -> None:
    value: Value = json.loads(json.dumps(json_number(number), allow_nan=False))
    assert float(value) == number or math.isnan(number)


@given(st.binary(max_size=60) | st.text('a{b="c\\n,}# \n\t1', max_size=40).map(str.encode))
def test_any_text_is_read_or_refused(text: bytes) -> None:
    gathered = gather([("text", text)])
    assert ("text" in gathered.counts) is not ("text" in gathered.faults)


def test_a_long_line_of_quotes_takes_no_longer_than_its_length() -> None:
    """A pattern that backtracks would not return."""
    for text in (b'a{b="' + b"\\" * 250_000, b'a{b="' + b'\\"' * 120_000, b"a{" + b" " * 250_000 + b"x"):
        assert gather([("text", text)]).faults
