"""What many tests stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus import PrivateBus


@pytest.fixture
def system_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    """A system bus of the test's own, which the code under test takes for the guest's."""
    bus = PrivateBus(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    bus.start()
    yield bus
    bus.stop()
