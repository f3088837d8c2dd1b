"""CONTRIBUTING.md teaches to add a kind: followed to the letter in a copy, the kind is there and works."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "CONTRIBUTING.md").read_text().partition("## To add a kind\n")[2].partition("\n## ")[0]
# A path alone at the end of a paragraph, and a block after it.
FILES = re.findall(r"`([\w/]+\.\w+)`(?:[^\n`]*):\n\n```\w+\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
(SESSION,) = re.findall(r"^```console\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
MADE = {"ARCHITECTURE.md", "specs/schema/guest-state.schema.json"}
LIMIT_S = 120.0  # half a minute on two busy cores
MARK = "-- next --"


def files_of(tree: Path) -> dict[str, str]:
    """A digest of each file, but for what running it leaves."""
    passing = ignore_patterns("__pycache__", ".*_cache", ".hypothesis")
    found = {}
    for folder, folders, names in os.walk(tree):
        folders[:] = set(folders) - passing(folder, folders)
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(tree))] = sha256(path.read_bytes()).hexdigest()
    return found


def run(tree: Path, script: str) -> str:
    """What a shell in the copy prints; its programs are those of the copy, too."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tree), "COLUMNS": "200"}
    ran = subprocess.run(
        ["bash", "-ec", f"trap 'kill $(jobs -p) 2>&- || true' EXIT\n{script}"],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@dataclass(frozen=True)
class Followed:
    """A copy in which all was done that the page says."""

    tree: Path
    before: Mapping[str, str]  # digests of its files
    said: Mapping[str, str]  # what each command printed
    shown: Mapping[str, str]  # and what it prints on the page


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("kind")
    tree = folder / "tree"
    copytree(ROOT, tree, ignore=ignore_patterns(".*", "build", "__pycache__", "*.egg-info"))
    before = files_of(tree)
    for name, text in FILES:
        assert name not in before
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(text)
    shown = dict(part.split("\n", 1) for part in re.split(r"^\$ ", SESSION, flags=re.MULTILINE)[1:])
    script = f"\necho '{MARK}'\n".join(shown).replace("/tmp", str(folder))
    # A person takes longer to type on than it takes to start.
    started = f" >{folder}/log 2>&1 &\nuntil test -S {folder}/motd.sock; do sleep 0.05; done\n"
    said = run(tree, script.replace(" &\n", started)).split(f"{MARK}\n")
    return Followed(tree, before, dict(zip(shown, said, strict=True)), shown)


def test_the_page_has_all_that_a_kind_is_made_of() -> None:
    assert [name for name, _ in FILES] == [
        "reconciler/resources/motd.py",
        "reconciler/drivers/motd/__init__.py",
        "reconciler/drivers/motd/etc_motd.py",
        "tests/resources/test_motd.py",
        "tests/drivers/motd/test_etc_motd.py",
        "examples/motd.yaml",
    ]


def test_each_command_says_what_the_page_shows(followed: Followed) -> None:
    said = followed.said
    assert {c: said[c] for c, text in followed.shown.items() if text} == {
        c: text for c, text in followed.shown.items() if text
    }
    assert len([text for text in followed.shown.values() if text]) == 3
    tests = next(text for command, text in said.items() if "pytest" in command)
    assert re.search(r"^[5-9] passed", tests, re.MULTILINE), tests


def test_no_existing_file_was_opened_but_those_that_are_made(followed: Followed) -> None:
    after = files_of(followed.tree)
    assert after.keys() - followed.before.keys() == {name for name, _ in FILES}
    changed = {name for name, digest in followed.before.items() if after.get(name) != digest}
    assert changed == MADE
    assert "motd.py" in (followed.tree / "ARCHITECTURE.md").read_text()


def test_a_rehearsing_agent_has_converged_and_touched_nothing(followed: Followed) -> None:
    assert "Welcome." in followed.said["reconciler get motd"]
    motd = Path("/etc/motd")
    assert not motd.exists() or motd.read_text() != "Welcome."


def test_the_kind_sleeps_until_a_document_names_it(followed: Followed) -> None:
    code = "from reconciler import drivers as d, resources as r; print(d.sleeps('motd'), 'motd' in r.names())"
    assert run(followed.tree, f'python -c "{code}"') == "True True\n"


def test_the_rules_about_code_hold_for_it(followed: Followed) -> None:
    modules = " ".join(name for name, _ in FILES if name.endswith(".py"))
    run(followed.tree, f"ruff check {modules} && ruff format --check {modules} && python -m mypy {modules}")
    held = "tests/test_tidy.py tests/documents/test_kinds.py tests/documents/test_json_schema.py"
    passed = run(followed.tree, f"python -m pytest -q {held} -k 'motd or current'")
    assert re.search(r"^[1-9][0-9]+ passed", passed, re.MULTILINE), passed
