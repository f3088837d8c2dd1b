"""The measuring itself: a table that says what was missed, and rounds that really happen."""

import json
from pathlib import Path

import pytest

from bench import documents
from bench.table import Line, keep, rendered

REACHED = Line("resident", "MiB", 12.345, 16, "of one process")
MISSED = Line("a change", "ms", 5.01, 5)
UNKNOWN = Line("freeze", "ms", None, 10, "needs root")


def test_table_has_aligned_columns_and_plain_verdicts() -> None:
    heading, *rows = rendered([REACHED, MISSED, UNKNOWN]).splitlines()
    assert heading.split() == ["what", "measured", "target", "beside", "it"]
    assert rows == [
        "resident  12.35 MiB  <= 16 MiB  ok            of one process",
        "a change  5.01 ms    <= 5 ms    MISSED",
        "freeze    -          <= 10 ms   not measured  needs root",
    ]


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        pytest.param(5.0, "ok", id="exactly"),
        pytest.param(5.001, "MISSED", id="just-above"),
        pytest.param(None, "not measured", id="unknown"),
    ],
)
def test_verdict(measured: float | None, verdict: str) -> None:
    assert Line("a change", "ms", measured, 5).verdict == verdict


def test_json_keeps_each_line_with_its_verdict(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    keep([REACHED, MISSED], {"kernel": "6.1"}, path)
    run = json.loads(path.read_text())
    assert run["machine"] == {"kernel": "6.1"}
    assert [(line["name"], line["measured"], line["verdict"]) for line in run["lines"]] == [
        ("resident", 12.345, "ok"),
        ("a change", 5.01, "MISSED"),
    ]


def test_a_few_rounds_give_a_time_each(tmp_path: Path) -> None:
    for line in (documents.resend(tmp_path, rounds=10), documents.change(tmp_path, rounds=10)):
        assert len(line.samples) == 10
        assert all(0 < sample < 5000 for sample in line.samples)
        assert line.measured is not None
        assert min(line.samples) <= line.measured <= max(line.samples)
