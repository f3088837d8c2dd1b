"""Units of systemd's that are started for one purpose, and outlive the agent."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from reconciler.facilities.dbus import Bus, NoAnswer, Peer

SYSTEMD = Peer("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_START_S = 10.0  # systemd may be reading all of its units anew

Properties = Sequence[tuple[str, tuple[str, Any]]]  # by name, with their D-Bus signatures


def start(bus: Bus, unit: str, properties: Properties) -> None:
    """Have systemd start it; see StartTransientUnit in org.freedesktop.systemd1(5).

    Returns when it is queued, or may be, as systemd has not answered: what it leaves tells. Raises
    DriverError where it surely is not.
    """
    body: tuple[Any, ...] = (unit, "fail", list(properties), [])
    with suppress(NoAnswer):
        bus.call(SYSTEMD, "StartTransientUnit", "ssa(sv)a(sa(sv))", *body, timeout_s=_START_S)
