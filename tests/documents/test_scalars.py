"""Durations, times, sizes, tokens and paths: what may be written, and its one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.scalars import (
    DURATION_S_MAX,
    SCALARS,
    duration_s,
    duration_text,
    path,
    size_bytes,
    size_text,
    timestamp,
    token,
)
from reconciler.resource import Json
from tests.documents.values import SAMPLES


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1s250ms", 1.25),
        ("1d2h3m4s5ms", 93784.005),
        ("1.5h", 5400),
        ("0s", 0),
        ("90m", 5400),
        (90, 90),
        (1.0, 1),
        (0.25, 0.25),
        (0.0004, 0),
        (DURATION_S_MAX, DURATION_S_MAX),
    ],
)
def test_durations(written: str | float, seconds: float) -> None:
    read = duration_s(written)
    assert (read, type(read)) == (seconds, type(seconds))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "30",
        "-1s",
        "1s1m",
        "1m1m",
        "1 s",
        "30S",
        ".5s",
        "1.s",
        "1d1",
        "1.2345s",
        "٣s",
        "9" * 20 + "s",
    ],
)
def test_no_durations(written: str) -> None:
    with pytest.raises(ValueError, match=r"^a duration such as"):
        duration_s(written)


@pytest.mark.parametrize("written", ["367d", "999999999h", DURATION_S_MAX + 1, 1e300, float("inf")])
def test_durations_beyond_a_year(written: str | float) -> None:
    with pytest.raises(ValueError, match=r"^a duration of at most 366d$"):
        duration_s(written)


@pytest.mark.parametrize("written", [-1, -0.001, float("nan")])
def test_numbers_that_are_no_durations(written: float) -> None:
    with pytest.raises(ValueError, match=r"^a duration such as"):
        duration_s(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (30, "30s"), (90, "90s"), (600, "10m"), (7200, "2h"), (86400, "1d"), (0.25, "250ms")],
)
def test_duration_texts(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.floats(0, DURATION_S_MAX) | st.integers(0, DURATION_S_MAX))
def test_a_duration_reads_back(seconds: float) -> None:
    normal = duration_s(seconds)
    assert duration_s(normal) == normal
    assert duration_s(duration_text(normal)) == normal


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-01-31T18:00:00Z", "2026-01-31T18:00:00Z"),
        ("2026-01-31t18:00:00.999z", "2026-01-31T18:00:00Z"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z"),
        ("2026-12-31T23:30:00-00:45", "2027-01-01T00:15:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_times(written: str, utc: str) -> None:
    assert timestamp(written) == utc
    assert timestamp(utc) == utc


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-01-31T18:00:00", "a time with its offset"),
        ("2026-01-31 18:00:00Z", "a time with its offset"),
        ("2026-1-31T18:00:00Z", "a time with its offset"),
        ("2026-01-31T18:00Z", "a time with its offset"),
        ("2026-01-31T18:00:00+0100", "a time with its offset"),
        ("2026-02-29T18:00:00Z", "a time that exists"),
        ("2026-01-31T24:00:00Z", "a time that exists"),
        ("2026-01-31T23:59:60Z", "a time that exists"),
        ("2026-01-31T18:00:00+25:00", "a time that exists"),
        ("0001-01-01T00:00:00+01:00", "a time that exists"),
        ("9999-12-31T23:59:59-01:00", "a time that exists"),
    ],
)
def test_no_times(written: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}"):
        timestamp(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("10Mi", 10 << 20),
        ("1G", 10**9),
        ("1.5GiB", 3 << 29),
        ("2kB", 2000),
        ("12", 12),
        ("12B", 12),
        (4096, 4096),
    ],
)
def test_sizes(written: str | int, size: int) -> None:
    assert size_bytes(written) == size


@pytest.mark.parametrize(
    "written", ["", "1K", "1m", "1 M", "-1", -1, 2**53, "9P", "9000000P", "0.5", "1.0001k", "1e3"]
)
def test_no_sizes(written: str | int) -> None:
    if written == "9P":
        assert size_bytes(written) == 9 * 10**15
        return
    with pytest.raises(ValueError, match=r"^a (size|whole number)"):
        size_bytes(written)


@given(st.integers(0, 2**53 - 1))
def test_a_size_reads_back(size: int) -> None:
    assert size_bytes(size_text(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1 << 20, "1Mi"), (2000, "2k"), (1536, "1536"), (3 << 30, "3Gi")]
)
def test_size_texts(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("written", "normal"), [("a", "a"), (7, "7"), (-1, "-1"), ("x" * 128, "x" * 128), ("~!", "~!")]
)
def test_tokens(written: str | int, normal: str) -> None:
    assert token(written) == normal


@pytest.mark.parametrize("written", ["", " ", "a b", "a\n", "ä", "x" * 129, "\x7f"])
def test_no_tokens(written: str) -> None:
    with pytest.raises(ValueError, match=r"^1 to 128 printable"):
        token(written)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/a/", "/a"),
        ("/a//b/./c", "/a/b/c"),
        ("/..a/b..", "/..a/b.."),
        ("/ä b", "/ä b"),
    ],
)
def test_paths(written: str, normal: str) -> None:
    assert path(written) == normal


@pytest.mark.parametrize("written", ["", "a", "./a", "/..", "/a/../b", "/a/..", "/a\0", "/" + "ä" * 2048])
def test_no_paths(written: str) -> None:
    with pytest.raises(ValueError, match=r"^(an absolute path without|a path of at most)"):
        path(written)


@pytest.mark.parametrize(
    ("name", "written"), [(name, written) for name, samples in SAMPLES.items() for written in samples]
)
def test_reading_a_normal_form_gives_it_back(name: str, written: Json) -> None:
    scalar = SCALARS[name]
    if not isinstance(written, scalar.python):
        return
    try:
        normal = scalar.read(written)
    except ValueError:
        return
    assert scalar.read(normal) == normal
