"""What systemd says of a display manager's unit, over a real bus."""

from contextlib import closing

import pytest

from reconciler.facilities import display_unit
from reconciler.facilities.dbus import Bus
from reconciler.facilities.display_unit import state
from tests.bus import PrivateBus, program
from tests.drivers.user.display_unit import FakeUnit


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        pytest.param(FakeUnit("greetd.service"), "up", id="runs"),
        pytest.param(FakeUnit("greetd.service", "reloading"), "up", id="reloads"),
        pytest.param(FakeUnit("greetd.service", "activating", 7), "starting", id="starts"),
        pytest.param(FakeUnit("greetd.service", "activating"), "starting", id="is restarted by systemd"),
        pytest.param(FakeUnit("greetd.service", "inactive", 7), "starting", id="waits for the boot"),
        pytest.param(FakeUnit("greetd.service", "inactive"), "down", id="is off"),
        pytest.param(FakeUnit("greetd.service", "failed"), "down", id="failed"),
        pytest.param(FakeUnit("gdm.service"), "down", id="is another one"),
    ],
)
def test_state(system_bus: PrivateBus, unit: FakeUnit, expected: str) -> None:
    with program("org.freedesktop.systemd1", unit.answer), closing(Bus()) as bus:
        assert state(bus, "greetd.service") == expected


def test_a_systemd_that_hangs_has_none(system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display_unit, "ANSWER_S", 0.1)
    unit = FakeUnit("greetd.service", silent=True)
    with program("org.freedesktop.systemd1", unit.answer), closing(Bus()) as bus:
        assert state(bus, "greetd.service") == "down"
