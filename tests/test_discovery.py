"""Modules that lie in a folder are imported, and nothing else of it."""

import sys
from pathlib import Path

import pytest

from reconciler.discovery import import_all, inner, modules


def test_each_module_is_imported_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "found_modules"
    folder.mkdir()
    (folder / "__init__.py").write_text("seen = []\n")
    for name in ("b.py", "a.py", "_private.py", "notes.txt", "c.pyc"):
        (folder / name).write_text(f"from found_modules import seen\nseen.append({name!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = __import__("found_modules")
    import_all("found_modules", package.__path__)
    assert package.seen == ["a.py", "b.py"]
    for name in [name for name in sys.modules if name.startswith("found_modules")]:
        del sys.modules[name]


def test_modules_are_told_without_being_imported(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "__init__.py"):
        (tmp_path / name).write_text("raise SystemExit\n")
    assert modules([str(tmp_path)]) == ["a", "b"]


def test_inner_folders_are_those_of_that_name(tmp_path: Path) -> None:
    for name in ("one/files", "two"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "two/files").write_text("")
    assert inner([f"{tmp_path}/one", f"{tmp_path}/two"], "files") == [f"{tmp_path}/one/files"]
