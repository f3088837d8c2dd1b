"""What a guardian has left is thawed and paid, once; for real in test_guardian.py."""

import errno
import os
from pathlib import Path

import pytest

from reconciler.guarding import kernel
from reconciler.guarding.ledger import Ledger
from reconciler.guarding.rescue import thaw_all


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "freeze.json"))


def test_nothing_is_done_where_nothing_is_left(ledger: Ledger) -> None:
    assert thaw_all(ledger.path) == []
    assert not Path(ledger.path).exists()


def test_hooks_that_are_owed_are_paid_once(ledger: Ledger, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho $1 >>{tmp_path}/ran\n")
    hook.chmod(0o755)
    ledger.owe([str(hook)])
    assert thaw_all(ledger.path) == []
    assert thaw_all(ledger.path) == []
    assert (tmp_path / "ran").read_text() == "thaw\n"


def test_what_cannot_be_thawed_stays_in_the_ledger_and_is_told(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "thaw", lambda _: errno.EIO)
    number = Path("/proc").stat().st_dev
    ledger.begin(7, 160.0, [{"path": "/proc", "device": f"{os.major(number)}:{os.minor(number)}"}], "")
    assert thaw_all(ledger.path) == ["cannot thaw /proc: Input/output error"]
    assert "held" in ledger.read()


def test_what_is_mounted_no_more_holds_up_nobody(ledger: Ledger) -> None:
    ledger.begin(7, 160.0, [{"path": "/gone", "device": "255:255"}], "")
    assert thaw_all(ledger.path) == []
    assert ledger.read()["last"]["message"] == "unmounted while frozen, and it may be still: /gone"


def test_a_hung_guardian_is_not_waited_for_for_ever(ledger: Ledger) -> None:
    other = Ledger(ledger.path)
    assert other.lock()
    ledger.begin(7, 160.0, [], "")
    assert thaw_all(ledger.path, "GuardianDied") == []
    assert ledger.read()["last"]["ended"] == "GuardianDied"
    other.unlock()
