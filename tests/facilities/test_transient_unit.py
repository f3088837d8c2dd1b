"""Starting a unit, over a real bus, with a systemd that agrees, refuses or hangs."""

from contextlib import closing

import pytest

from reconciler.errors import DriverError
from reconciler.facilities import transient_unit
from reconciler.facilities.dbus import Bus
from reconciler.facilities.transient_unit import start
from tests.bus import PrivateBus, program
from tests.drivers.user.display_unit import FakeUnit

PROPERTIES = [("Description", ("s", "one")), ("IgnoreOnIsolate", ("b", True))]


def test_starts_one(system_bus: PrivateBus) -> None:
    unit = FakeUnit("any")
    with program("org.freedesktop.systemd1", unit.answer), closing(Bus()) as bus:
        start(bus, "one.service", PROPERTIES)
    assert unit.started == [("one.service", "fail", PROPERTIES, [])]


def test_says_that_it_was_refused(system_bus: PrivateBus) -> None:
    unit = FakeUnit("any", refuses="no more units")
    with (
        program("org.freedesktop.systemd1", unit.answer),
        closing(Bus()) as bus,
        pytest.raises(DriverError, match="no more units"),
    ):
        start(bus, "one.service", PROPERTIES)


def test_one_that_may_have_been_started_is_no_error(
    system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transient_unit, "_START_S", 0.1)
    unit = FakeUnit("any", silent=True)
    with program("org.freedesktop.systemd1", unit.answer), closing(Bus()) as bus:
        start(bus, "one.service", PROPERTIES)
