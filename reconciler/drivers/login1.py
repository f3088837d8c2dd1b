"""Who is logged in, for the inventory, from logind; see org.freedesktop.login1(5)."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from reconciler.errors import DriverError
from reconciler.facilities import login1
from reconciler.facilities.dbus import Bus, BusError, Peer
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

_MATCHES = (
    *login1.told("SessionNew", "SessionRemoved", "UserNew", "UserRemoved"),
    login1.SESSIONS_CHANGED,
    login1.RESTARTED,
)

_DEADLINE_S = 1.0  # for all calls of a read; each takes half a millisecond
_LOGINS_MAX = 256  # the first by id: beyond that it is a terminal server, and a list no use
_TEXT_CHARS_MAX = 256  # names of users and hosts


class Login1(Source):
    """`sessions`: `{id: session}`; `users`: `{name: user}`, of those who are logged in or linger.

    A session is `{user, uid, type, class, state, active, remote, locked, idle, seat?, tty?,
    display?, remoteHost?, since?, idleSince?}`, a user `{uid, state, lingering, sessions: [id],
    since?}`. Times are RFC 3339; words are logind's.
    """

    items: ClassVar[tuple[str, ...]] = ("sessions", "users")
    needs: ClassVar[str] = login1.NEEDS

    def __init__(self) -> None:
        self._bus = Bus(*_MATCHES)

    @classmethod
    def available(cls) -> bool:
        return login1.there()

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        return (self._bus.watch(),)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def read(self, item: str) -> Json:
        assert item in self.items
        ends_s = time.monotonic() + _DEADLINE_S
        method, interface, show = _WAYS[item]
        (rows,) = self._call(login1.MANAGER, method, ends_s)
        told = {}
        for row in sorted(rows)[:_LOGINS_MAX]:
            key, path = (str(row[0]), row[4]) if item == "sessions" else (str(row[1]), row[2])
            try:
                (found,) = self._call(
                    Peer(login1.NAME, path, "org.freedesktop.DBus.Properties"),
                    "GetAll",
                    ends_s,
                    "s",
                    interface,
                )
            except BusError as error:
                if not login1.is_gone(error):
                    raise
                continue  # it ended since it was listed
            told[key[:_TEXT_CHARS_MAX]] = show({name: value for name, (_, value) in found.items()})
        return told

    def _call(
        self, peer: Peer, method: str, ends_s: float, signature: str = "", *body: str
    ) -> tuple[Any, ...]:
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise DriverError("cannot list logins: logind is too slow")
        return self._bus.call(peer, method, signature, *body, timeout_s=left_s)


def session(found: Mapping[str, Any]) -> Json:
    """A session's properties in our words."""
    optional = {
        "seat": found.get("Seat", ("", "/"))[0],
        "tty": found.get("TTY", ""),
        "display": found.get("Display", ""),
        "remoteHost": found.get("RemoteHost", ""),
        "since": _stamp(found.get("Timestamp", 0)),
        "idleSince": _stamp(found.get("IdleSinceHint", 0)) if found.get("IdleHint") else "",
    }
    return {
        "user": str(found.get("Name", ""))[:_TEXT_CHARS_MAX],
        "uid": int(found.get("User", (0, "/"))[0]),
        "type": str(found.get("Type", "")),
        "class": str(found.get("Class", "")),
        "state": str(found.get("State", "")),
        "active": bool(found.get("Active", False)),
        "remote": bool(found.get("Remote", False)),
        "locked": bool(found.get("LockedHint", False)),
        "idle": bool(found.get("IdleHint", False)),
    } | {name: str(value)[:_TEXT_CHARS_MAX] for name, value in optional.items() if value}


def user(found: Mapping[str, Any]) -> Json:
    """A user's properties in our words."""
    since = _stamp(found.get("Timestamp", 0))
    return {
        "uid": int(found.get("UID", 0)),
        "state": str(found.get("State", "")),
        "lingering": bool(found.get("Linger", False)),
        "sessions": sorted(str(id) for id, _ in found.get("Sessions", ()))[:_LOGINS_MAX],
    } | ({"since": since} if since else {})


_WAYS = {
    "sessions": ("ListSessions", f"{login1.NAME}.Session", session),
    "users": ("ListUsers", f"{login1.NAME}.User", user),
}


def _stamp(epoch_us: int) -> str:
    """RFC 3339 of microseconds since 1970; empty for never, which logind writes as 0."""
    return stamp(epoch_us // 1_000_000) if epoch_us else ""
