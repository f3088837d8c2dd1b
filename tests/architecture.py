"""The parts of ARCHITECTURE.md that are made from the code: `python -m tests.architecture`."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
PACKAGES = ("reconciler", "guest_runtime")


def first_line(module: Path) -> str:
    """The first line of a module's docstring; empty where there is none."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]


def tree() -> str:
    """Each package and module, with what it says of itself."""
    return "\n".join(line for package in PACKAGES for line in _branch(ROOT / package, 0))


def floors() -> str:
    """The layers of the import contract, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [layer.replace("reconciler.", "") for layer in layers]
    return "\n".join(f"{len(names) - 1 - number:>2}  {name}" for number, name in enumerate(names))


def written(page: str) -> str:
    """`page` with its made parts as they should be."""
    for name, text in (("tree", tree()), ("floors", floors())):
        head = f"<!-- {name} -->\n```\n"
        before, _, rest = page.partition(head)
        _, end, after = rest.partition("```\n")
        assert end, f"ARCHITECTURE.md has no block for {name}"
        page = f"{before}{head}{text}\n{end}{after}"
    return page


def _branch(folder: Path, depth: int) -> Iterator[str]:
    yield _entry(f"{folder.name}/", depth, folder / "__init__.py")
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").exists():
            yield from _branch(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield _entry(path.name, depth + 1, path)


def _entry(name: str, depth: int, module: Path) -> str:
    return f"{'    ' * depth + name:<31} {first_line(module)}".rstrip()


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
