"""What more than one driver asks of logind; see org.freedesktop.login1(5)."""

import os
from collections.abc import Callable
from typing import Any

from reconciler.facilities.dbus import Bus, BusError, Call, Peer

Row = tuple[str, int, str, str, str]  # of ListSessions: id, uid, user, seat, path

NAME = "org.freedesktop.login1"
MANAGER = Peer(NAME, "/org/freedesktop/login1", f"{NAME}.Manager")
NEEDS = "logind on the system bus"
RESTARTED = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{NAME}'"

_SIGNAL = f"type='signal',sender='{NAME}'"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_SESSION = f"{NAME}.Session"
_GONE = (f"{NAME}.NoSuchSession", "org.freedesktop.DBus.Error.UnknownObject")


def there() -> bool:
    return Bus.there() and os.path.exists(_BOOTED)


def told(*members: str) -> tuple[str, ...]:
    """Matches for the manager's own signals."""
    return tuple(f"{_SIGNAL},interface='{MANAGER.interface}',member='{member}'" for member in members)


def changed(scope: str) -> str:
    """A match for changed properties: of the manager with `path='...'`, or of what `scope` else narrows."""
    return f"{_SIGNAL},interface='{_PROPERTIES}',member='PropertiesChanged',{scope}"


SESSIONS_CHANGED = changed(f"path_namespace='{MANAGER.path}/session',arg0='{_SESSION}'")


def sessions(
    bus: Bus, order: Callable[[Row], Any] | None = None, most: int | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """The properties of all, or of the first `most`, by their ids. One that ends meanwhile is left out."""
    (rows,) = bus.call(MANAGER, "ListSessions")
    rows = (sorted(rows, key=order) if order else rows)[:most]
    # At once: on a busy guest each wait for an answer costs as much as all of them.
    asked = [Call(Peer(NAME, path, _PROPERTIES), "GetAll", "s", (_SESSION,)) for *_, path in rows]
    found = []
    for row, body in zip(rows, bus.call_all(asked), strict=True):
        if not isinstance(body, BusError):
            found.append((str(row[0]), {name: value for name, (_, value) in body[0].items()}))
        elif not is_gone(body):
            raise body  # a session that cannot be seen must not pass for one that ended
    return found


def is_gone(error: BusError) -> bool:
    """Whether it says that the session is no more."""
    return error.name in _GONE
