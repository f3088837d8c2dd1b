"""Whether a display manager runs, or is about to: what systemd says of its unit."""

from typing import Literal

from reconciler.errors import DriverError
from reconciler.facilities.dbus import Bus, Peer
from reconciler.facilities.transient_unit import SYSTEMD

_NO_JOB = 0
ANSWER_S = 1.0  # for each question on the way to a door; a look has 5 s for all of them
_UP = ("active", "reloading")


def state(bus: Bus, unit: str) -> Literal["up", "starting", "down"]:
    """`starting` has no door yet, and is worth waiting for; a guest that boots is full of it."""
    try:
        (path,) = bus.call(SYSTEMD, "GetUnit", "s", unit, timeout_s=ANSWER_S)
        found = bus.properties(Peer(SYSTEMD.name, path, f"{SYSTEMD.name}.Unit"), ANSWER_S)
    except DriverError:
        return "down"  # nobody has asked systemd for it in this boot, or systemd does not answer
    if found["ActiveState"] in _UP:
        return "up"
    waits = found["Job"][0] != _NO_JOB
    return "starting" if waits or found["ActiveState"] == "activating" else "down"
