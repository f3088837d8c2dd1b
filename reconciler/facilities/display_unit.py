"""Whether a display manager runs, or is about to: what systemd says of its unit."""

from typing import Literal

from reconciler.facilities.dbus import Bus, BusError, Peer

_NAME = "org.freedesktop.systemd1"
_MANAGER = Peer(_NAME, "/org/freedesktop/systemd1", f"{_NAME}.Manager")
_NO_JOB = 0
_UP = ("active", "reloading")


def state(bus: Bus, unit: str) -> Literal["up", "starting", "down"]:
    """`starting` has no door yet, and is worth waiting for; a guest that boots is full of it."""
    try:
        (path,) = bus.call(_MANAGER, "GetUnit", "s", unit)
        found = bus.properties(Peer(_NAME, path, f"{_NAME}.Unit"))
    except BusError:
        return "down"  # nobody has asked systemd for it in this boot
    if found["ActiveState"] in _UP:
        return "up"
    waits = found["Job"][0] != _NO_JOB
    return "starting" if waits or found["ActiveState"] == "activating" else "down"
