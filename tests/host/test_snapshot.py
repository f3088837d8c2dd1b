"""A command while a guest is frozen: it starts after the freeze and ends before the thaw."""

import asyncio
from pathlib import Path

import pytest

from reconciler.host.client import connect
from reconciler.host.failures import NotFrozen
from reconciler.host.freezing import Wish
from reconciler.host.snapshot import snapshot
from tests.host.fake_guest import FakeGuest
from tests.host.wire import Wire


def _snapshot(guest: FakeGuest, *words: str) -> int:
    async def work() -> int:
        async with connect(Wire(guest).open) as client:
            return await snapshot(client, Wish(lease_s=30), words)

    return asyncio.run(work())


def test_the_order_of_things(tmp_path: Path) -> None:
    guest = FakeGuest()
    seen: list[tuple[str, bool, bool]] = []
    guest.on_call = lambda m: seen.append((m, guest.freeze is not None, (tmp_path / "x").exists()))
    assert _snapshot(guest, "touch", str(tmp_path / "x")) == 0
    assert ("apply", False, False) in seen  # nothing was saved before the freeze
    assert ("status", True, True) in seen  # checked while frozen, after the command
    assert seen.index(("status", True, True)) < seen.index(("apply", True, True))  # the thaw
    assert guest.last_freeze == {"epoch": 1, "generation": 1, "ended": "Thawed"}
    assert guest.spec == {}


def test_the_status_of_the_command_counts() -> None:
    assert _snapshot(FakeGuest(), "sh", "-c", "exit 3") == 3


def test_no_freeze_no_command(tmp_path: Path) -> None:
    guest = FakeGuest()
    guest.errors["apply"] = {"code": -32005, "message": "EROFS"}
    with pytest.raises(NotFrozen, match="EROFS"):
        _snapshot(guest, "touch", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
