"""The rules about the code itself, as tests: one place, one command, no wiki."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
MODULES = sorted([*(ROOT / "reconciler").rglob("*.py"), *(ROOT / "guest_runtime").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
KINDS = sorted((ROOT / "reconciler/resources").glob("[!_]*.py"))
DRIVERS = sorted((ROOT / "reconciler/drivers").glob("[!_]*.py"))
# Words that say where code was put, and not what it is.
EMPTY_WORDS = {"manager", "handler", "engine", "service", "util", "utils", "helper", "helpers", "common"}
LINTERS = [
    pytest.param([BIN / "ruff", "check"], id="ruff-check"),
    pytest.param([BIN / "ruff", "format", "--check"], id="ruff-format"),
    pytest.param([sys.executable, "-m", "mypy"], id="mypy"),
    pytest.param([BIN / "lint-imports"], id="import-contracts"),
]
# Words of which a test by itself would repeat the text; other tests stand on each of them.
VOCABULARY = {
    "reconciler/errors.py",
    "reconciler/resource.py",
    "reconciler/documents/hints.py",
    "reconciler/documents/json_object.py",
    "reconciler/documents/wording.py",
}
# In halves, so that this file does not hold what it looks for.
UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
MACHINE = re.compile(r"/wo" r"rk/|/tmp/te" r"am|/home/\w+/(?:src|git|projects)/|/Us" r"ers/")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    taken = function.args
    names = [argument.arg for argument in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def words(name: str) -> set[str]:
    """Of a name in either writing: SomeThing and some_thing."""
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def tracked() -> list[Path]:
    """What git would hand to somebody else; a tree without git has no other files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


# A package and its `__main__` are tested with what they hold.
TESTED = [path for path in MODULES if path.stem[:2] != "__" and relative(path) not in VOCABULARY]


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_says_what_it_is_in_one_line(path: Path) -> None:
    summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    assert summary.endswith(".")
    assert len(summary) <= 90


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=relative)
def test_module_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=relative)
def test_function_fits_on_a_screen(path: Path) -> None:
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(path)}
    assert {name: lines for name, lines in lengths.items() if lines > 50} == {}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_function_takes_five_things_at_most(path: Path) -> None:
    assert {f.name: parameters(f) for f in functions(path) if len(parameters(f)) > 5} == {}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_names_say_something(path: Path) -> None:
    tree = ast.parse(path.read_text())
    named = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = {path.stem, *named, *(function.name for function in functions(path))}
    assert {name for name in names if words(name) & EMPTY_WORDS} == set()


@pytest.mark.parametrize("path", KINDS, ids=lambda path: path.stem)
def test_kind_has_a_test_and_an_example(path: Path) -> None:
    assert (ROOT / f"tests/resources/test_{path.stem}.py").exists()
    assert (ROOT / f"examples/{path.stem}.yaml").exists()


@pytest.mark.parametrize("path", DRIVERS, ids=lambda path: path.stem)
def test_driver_has_a_test(path: Path) -> None:
    assert (ROOT / f"tests/drivers/test_{path.stem}.py").exists()


@pytest.mark.parametrize("path", TESTED, ids=relative)
def test_module_has_a_test(path: Path) -> None:
    mirrored = relative(path).removeprefix("reconciler/")
    assert (ROOT / "tests" / mirrored).with_name(f"test_{path.name}").exists()


@pytest.mark.parametrize("command", LINTERS)
def test_linter_finds_nothing(command: list[str | Path]) -> None:
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE], ids=["unfinished", "machine"])
def test_nothing_is_left_unfinished_or_tied_to_one_machine(pattern: re.Pattern[str]) -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_tracked_files_were_found() -> None:
    assert tracked() or not (ROOT / ".git").exists()
