"""Modules that lie in a folder are imported, and nothing else of it."""

import sys
from pathlib import Path

import pytest

from reconciler.discovery import import_all


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
