"""Tables, JSON and YAML that are true to the value and safe for a terminal."""

import io
import json

import pytest
import yaml
from hypothesis import given

from reconciler.host import output
from reconciler.host.output import as_json, as_yaml, colour, cut, escape, flat, grid, table, width
from tests.host.test_mirror import JSON

UNPRINTABLE = "\x00\x07\x1b\x7f\x85\x9b\u00ad\u200b\u202e\u2028\ufeff\U000e0001\ud800"


@pytest.mark.parametrize("character", UNPRINTABLE, ids=lambda c: f"U+{ord(c):04X}")
def test_nothing_unprintable_goes_out(character: str) -> None:
    value = [character, {character: character}]
    shown = [escape(character), as_json(value), as_json(value, indent=None), grid(value)]
    shown += [table(("A",), [[character]]), flat(value) and escape(flat(value))]
    shown += [] if character == "\ud800" else [as_yaml(value)]
    for text in shown:
        assert text.replace("\n", "").isprintable()


@given(JSON)
def test_json_and_yaml_say_the_same_value(value: object) -> None:
    assert json.loads(as_json(value)) == value
    assert as_json(value).replace("\n", "").isprintable()
    assert yaml.safe_load(as_yaml(value)) == value
    assert as_yaml(value).replace("\n", "").isprintable()


def test_a_table_is_straight_in_any_script() -> None:
    rows = [["東京", "1"], ["Zoë", "22"], ["e\u0301", ""]]
    lines = table(("NAME", "N"), rows).splitlines()
    assert lines == ["NAME  N", "東京  1", "Zoë   22", "e\u0301"]
    assert [width(line.split()[0]) for line in lines] == [4, 4, 3, 1]


def test_long_cells_are_cut_unless_wide() -> None:
    long = "x" * 100
    assert table(("A",), [[long]]).splitlines()[1] == "x" * 59 + "…"
    assert table(("A",), [[long]], wide=True).splitlines()[1] == long
    assert width(cut("東" * 50, 60)) <= 60


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(
            [{"name": "eth0", "up": True}, {"name": "lo"}], "NAME  UP\neth0  true\nlo    -\n", id="rows"
        ),
        pytest.param({"a": {"x": 1}, "b": {"x": 2}}, "NAME  X\na     1\nb     2\n", id="objects"),
        pytest.param({"a": 1.5, "b": [1, "c"]}, "FIELD  VALUE\na      1.5\nb      1, c\n", id="members"),
        pytest.param(
            {"a": 1, "b": [{"c": 2}]}, "FIELD  VALUE\na      1\n\nB\n  C\n  2\n", id="members-with-rows"
        ),
        pytest.param(["a", "b"], "a\nb\n", id="words"),
        pytest.param("a", "a\n", id="word"),
        pytest.param({}, "FIELD  VALUE\n", id="nothing"),
    ],
)
def test_any_value_is_a_table(value: object, shown: str) -> None:
    assert grid(value) == shown


def test_nested_columns_are_for_wide() -> None:
    rows = [{"name": "eth0", "counters": {"in": 1}}]
    assert "COUNTERS" not in grid(rows)
    assert "in=1" in grid(rows, wide=True)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour("x", "red", _Terminal()) == "\x1b[31mx\x1b[0m"
    assert colour("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert colour("x", "red", _Terminal()) == "x"


def test_progress_is_for_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output.progress("quiet")
    assert capsys.readouterr().err == ""
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    output.progress("loud")
    assert terminal.getvalue() == "loud\n"
