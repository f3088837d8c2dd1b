"""Which programs are hooks, and what becomes of them."""

import os
from pathlib import Path

import pytest

from reconciler.guarding import hooks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "freeze.d"
    folder.mkdir(mode=0o755)
    return folder


def hook(folder: Path, name: str, mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(mode)
    return path


def test_hooks_are_found_in_order(folder: Path) -> None:
    for name in ("20-web.sh", "10-db", "10-db~", "README.sample"):
        hook(folder, name)
    hook(folder, "notes", 0o644)
    found = hooks.find(str(folder), os.getuid())
    assert [os.path.basename(path) for path in found] == ["10-db", "20-web.sh"]
    assert hooks.find("/nonexistent") == []


def test_a_hook_of_another_user_is_refused(folder: Path) -> None:
    hook(folder, "10-db")
    with pytest.raises(hooks.UnsafeHook):
        hooks.find(str(folder), os.getuid() + 1)


def test_too_many_hooks_are_refused(folder: Path) -> None:
    for number in range(hooks.HOOKS_MAX + 1):
        hook(folder, f"{number:02}")
    with pytest.raises(hooks.UnsafeHook, match="more than 32 hooks"):
        hooks.find(str(folder), os.getuid())


def test_a_hook_that_hangs_is_ended(folder: Path) -> None:
    path = hook(folder, "10-db")
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    assert hooks.run(str(path), "freeze", deadline_s=0.2) == f"{path} freeze: it did not end in time"


def test_hooks_that_are_owed_run_in_reverse_and_each_payment_is_noted(folder: Path) -> None:
    good, bad = hook(folder, "10-good"), hook(folder, "20-bad")
    bad.write_text("#!/bin/sh\nexit 1\n")
    paid: list[list[str]] = []
    faults = hooks.run_owed([str(good), str(bad)], paid.append)
    assert paid == [[str(good)], []]
    assert faults == [f"{bad} thaw: it exited with 1"]


def test_what_a_hook_said_last_is_told(folder: Path) -> None:
    path = hook(folder, "10-db")
    path.write_text("#!/bin/sh\necho $1; seq 1000; echo the end >&2; exit 4\n")
    fault = hooks.run(str(path), "freeze")
    assert fault.startswith(f"{path} freeze: it exited with 4: ")
    assert fault.endswith("\n1000\nthe end")
    assert len(fault.partition(": it exited with 4: ")[2]) <= 300
