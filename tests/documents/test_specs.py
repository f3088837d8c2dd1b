"""The page about documents says what is true: its examples are read, its kinds and limits exist."""

import re
from pathlib import Path

import pytest

from reconciler.documents import API_VERSION, read
from reconciler.documents.kinds import FINDINGS_MAX, every_kind
from reconciler.documents.rules import TEXT_CHARS_MAX
from reconciler.documents.text import TEXT_BYTES_MAX
from reconciler.documents.tree import DEPTH_MAX, NODES_MAX
from reconciler.resource import Phase

PAGE = (Path(__file__).parents[2] / "specs/desired-state.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS)
def test_an_example_is_accepted(text: str) -> None:
    assert len(read(text)) == 1


def test_the_two_that_mean_the_same_do() -> None:
    short, long = (read(text)[0].normal for text in BLOCKS[2:4])
    assert short == long


def test_every_kind_and_no_other_is_named() -> None:
    [table] = re.findall(r"^## 3\. Kinds\n(.*?)^## 4\.", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == set(every_kind())


def test_every_phase_and_no_other_is_named_in_its_order() -> None:
    assert re.findall(r"^\| `([a-z]+)` \|", PAGE[PAGE.index("The order of") :], re.MULTILINE) == [
        phase.name.lower() for phase in Phase
    ]


def test_limits() -> None:
    assert f"**{API_VERSION}**" in PAGE
    assert f"| text | {TEXT_BYTES_MAX >> 10} KiB |" in PAGE
    assert f"| depth | {DEPTH_MAX} |" in PAGE
    assert f"| keys and values in a text | {NODES_MAX:,} |" in PAGE
    assert f"| text of a field | {TEXT_CHARS_MAX:,} characters" in PAGE
    assert f"| faults listed | {FINDINGS_MAX} |" in PAGE
