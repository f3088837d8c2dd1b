"""The pages say what is true: their examples are tried, their commands, links and tables are there."""

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from guest_runtime.cli import USAGE
from reconciler.documents import read, read_policy
from reconciler.documents.kinds import every_kind
from reconciler.errors import InvalidSpec
from reconciler.host import cli
from reconciler.journal import EVENTS_MAX
from reconciler.status import Phase
from tests.architecture import PAGE as ARCHITECTURE
from tests.architecture import ROOT, written
from tests.host.fake_guest import FakeGuest, Json
from tests.host.served import served

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "specs").rglob("*.md")])
README = (ROOT / "README.md").read_text()
STATUS = (ROOT / "specs/status.md").read_text()
MESSAGES = {"hostname": "web-01", "session": "1 session locked"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str, page: Path) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def everywhere(language: str) -> list[object]:
    return [
        pytest.param(text, id=f"{name(page)}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(language, page), 1)
    ]


def code(text: str) -> Iterator[str]:
    """Lines that a reader would type: in fences, indented, or within a sentence."""
    fenced = re.findall(r"^```(?:console|sh)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for block in fenced:
        yield from (line[2:] for line in block.splitlines() if line.startswith("$ "))
    yield from re.findall(r"^    ([a-z].*)$", text, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def typed(page: Path, program: str) -> list[list[str]]:
    """What follows the program's name, word by word, on each line that begins with it."""
    lines = [re.split(r" #|  ", line)[0].split() for line in code(page.read_text())]
    return [words[1:] for words in lines if words[:1] == [program] and words[1:]]


def _outcome(expected: str) -> tuple[str, int]:
    """What a command says, and its exit code: 0, or what stands in brackets on the last line."""
    found = re.search(r"^\[(\d+)\]\n\Z", expected, re.MULTILINE)
    return (expected[: found.start()], int(found[1])) if found else (expected, 0)


class Shown(FakeGuest):
    """As the pages show one: with the messages of real kinds, and conditions of just now."""

    def status(self) -> dict[str, Json]:
        status = super().status()
        for condition in status["conditions"]:
            condition["message"] = MESSAGES.get(condition["type"], "")
            condition["lastTransitionTime"] = datetime.now(UTC).isoformat()
        return status


@pytest.mark.parametrize("text", everywhere("yaml"))
def test_a_document_on_a_page_is_what_the_page_says(text: str) -> None:
    first = text.partition("\n")[0]
    if first == "# policy":
        assert read_policy(text)
    elif "(refused)" in first:
        with pytest.raises(InvalidSpec):
            read(text)
    else:
        assert read(text)


@pytest.mark.parametrize("text", everywhere("json"))
def test_json_on_a_page_is_json(text: str) -> None:
    assert json.loads(text)


def test_the_session_in_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in blocks("yaml", ROOT / "README.md"):
        if found := re.match(r"# (\S+\.yaml)", text):
            (tmp_path / found[1]).write_text(text)
    # The command that a snapshot is taken with, which not every machine has.
    (tmp_path / "lvcreate").write_text("#!/bin/sh\n")
    (tmp_path / "lvcreate").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("COLUMNS", "200")
    session = "".join(blocks("console", ROOT / "README.md"))
    commands = [part.split("\n", 1) for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]]
    assert len(commands) > 5
    with served(Shown(), tmp_path / "web-01.sock"):
        for command, expected in commands:
            words = shlex.split(command)
            if words[0] == "export":
                variable, value = words[1].split("=", 1)
                monkeypatch.setenv(variable, value.replace("/run/guests", str(tmp_path)))
                continue
            assert words[0] == "reconciler", command
            exit_code = cli.main(words[1:])
            said = capsys.readouterr()
            wanted, code_shown = _outcome(expected)
            assert (command, exit_code) == (command, code_shown)
            if wanted:
                told = said.out + said.err
                assert re.sub(r"\b\d+s$", "0s", told, flags=re.MULTILINE) == wanted


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_on_a_page_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in typed(page, "make")} <= targets
    assert {w[0] for w in typed(page, "reconciler") if w[0][0] not in "-C"} <= set(cli.names())
    for words in typed(page, "guest-reconciler"):
        assert f"guest-reconciler {words[0]}" in USAGE
        assert all(word in USAGE for word in words[1:] if word.startswith("--"))
    for words in (words for words in typed(page, "python") if words[0] == "-m"):
        assert find_spec(words[1])


def test_the_first_commands_and_the_test_command() -> None:
    made = typed(ROOT / "README.md", "make")
    assert [words[0] for words in made[:2]] == ["run", "vm"]
    assert ["test"] in made
    assert "make test" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?![a-z]+:)([^)#]*)(#[^)]*)?\)", page.read_text())
    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    inner = [((page.parent / link) if link else page, place[1:]) for link, place in links if place]
    assert [(name(at), place) for at, place in inner if place not in headings(at.resolve())] == []


def headings(page: Path) -> set[str]:
    """What stands behind `#` in a link to a heading, made from its words as forges do."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page)) for page in PAGES])
def test_paths_on_a_page_are_there(page: Path) -> None:
    folders = "reconciler|guest_runtime|tests|docs|specs|examples|bench"
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    named = set(re.findall(rf"`((?:{folders})/[a-z0-9_./-]+)`", text))
    example = {path for path in named if "motd" in path and page.name == "CONTRIBUTING.md"}
    assert [path for path in sorted(named - example) if not (ROOT / path).exists()] == []


def test_the_tree_and_the_floors_are_those_of_the_code() -> None:
    page = ARCHITECTURE.read_text()
    assert page == written(page), "python -m tests.architecture writes it anew"


def test_the_readme_has_every_kind() -> None:
    works = README.partition("## What works today")[2].partition("\n## ")[0]
    missing = README.partition("## What it does not do yet")[2].partition("\n## ")[0]
    kinds = set(re.findall(r"^\| `([a-z-]+)` \|", works, re.MULTILINE))
    assert kinds == set(every_kind())
    claimed = missing.partition("there are no ")[2].partition("(")[0]
    assert not set(re.findall(r"`([a-z-]+)`", claimed)) & kinds


def test_the_table_of_kinds_in_the_contract_is_whole_and_in_order() -> None:
    table = (ROOT / "specs/desired-state.md").read_text().partition("## 3.")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == sorted(every_kind())


def test_as_many_capabilities_as_the_page_says() -> None:
    unit = (ROOT / "guest_runtime/units/guest-reconciler.service.in").read_text()
    held = re.findall(r"CAP_\w+", " ".join(re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)))
    assert len(held) == len(set(held))
    assert f"closed list of {len(held)} capabilities" in (ROOT / "SECURITY.md").read_text()


def test_the_changelog_has_every_command() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    named = set(re.findall(r"`([a-z]+)`", changelog)) | {"completion"}
    assert set(cli.names()) <= named


def told_by(folder: Path) -> set[str]:
    """The reasons in verdicts, notices and obstacles of modules."""
    said = r'(?:Verdict|Notice|Obstacle)\(\s*(?:\w+,\s*)?"(\w+)"'
    return {reason for path in folder.rglob("*.py") for reason in re.findall(said, path.read_text())}


def test_the_status_page_has_every_reason_and_phase() -> None:
    assert set(re.findall(r"^\| `([A-Z]\w+)` \| ", STATUS.partition("## 3.")[2], re.MULTILINE)) == set(
        get_args(Phase)
    )
    reasons, subjects = (told_by(ROOT / "reconciler" / folder) for folder in ("resources", "subjects"))
    assert min(len(reasons), len(subjects)) > 10
    assert {reason for reason in reasons if f"`{reason}`" not in STATUS} == set()
    pages = "".join(page.read_text() for page in (ROOT / "specs").glob("*.md"))  # status.md leads to them
    assert {reason for reason in subjects if f"`{reason}`" not in pages} == set()
    assert f"last {EVENTS_MAX} in memory" in STATUS
