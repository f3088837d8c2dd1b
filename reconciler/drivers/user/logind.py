"""Who is logged in, from logind, and who may be, from PAM; org.freedesktop.login1(5)."""

import os
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.dbus import Bus, BusError, Call, Peer
from reconciler.facilities.pam import Inquiry, judged
from reconciler.resource import Watch
from reconciler.resources.user import Facility, Logins
from reconciler.secret import Secret
from reconciler.subjects.seating import Login

_NAME = "org.freedesktop.login1"
_MANAGER = Peer(_NAME, "/org/freedesktop/login1", f"{_NAME}.Manager")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_SIGNAL = f"type='signal',sender='{_NAME}'"
_LOOK_S = 0.1  # between looks while an act waits for a locker or for processes to end
_LOGINS_MAX = 256  # a guest for a classroom has some dozens; what is not at a seat is only shown
_DEATH_S = 5.0  # what was sent SIGKILL is gone in a moment, unless its disk does not answer
_SIGKILL = 9
_NO_OBJECT = ("org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.UnknownMethod")


class Logind(Facility, Logins):
    """No way in itself: it knows who came in, and who may."""

    needs: ClassVar[str] = "logind on the system bus"
    forbidden_users: tuple[str, ...] = ()  # shell patterns; the policy's
    passwordless_users: tuple[str, ...] = ()  # names; the policy's

    def __init__(self) -> None:
        self._bus = Bus(
            f"{_SIGNAL},interface='{_MANAGER.interface}',member='SessionNew'",
            f"{_SIGNAL},interface='{_MANAGER.interface}',member='SessionRemoved'",
            f"{_SIGNAL},interface='{_PROPERTIES}',member='PropertiesChanged',"
            f"path_namespace='{_MANAGER.path}/session',arg0='{_NAME}.Session'",
        )

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and os.path.exists(_BOOTED)

    def watches(self) -> tuple[Watch, ...]:
        return (self._bus.watch(),)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def trusted(self, user: str) -> bool:
        return user in self.passwordless_users

    def check(self, user: str, tty: str, take: Callable[[], Secret] | None) -> str:
        return judged(Inquiry(user=user, tty=tty, credential=take is not None), take)

    def now_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def logins(self, user: str) -> tuple[Login, ...]:
        return tuple(
            _login(id, session, forbidden=any(fnmatchcase(session["Name"], p) for p in self.forbidden_users))
            for id, session in self._people(user)
            if session["State"] != "closing"
        )

    def lock(self, session: str, within_s: float) -> bool:
        ends_s = time.monotonic() + within_s
        try:
            self._bus.call(_MANAGER, "LockSession", "s", session)
            # A session that is gone has no screen left to lock.
            while (seen := self._properties(session)) and not seen.get("LockedHint", False):
                if time.monotonic() >= ends_s:
                    return False
                time.sleep(_LOOK_S)
        except BusError as error:
            if not _is_gone(error):
                raise
        return True

    def end(self, session: str, within_s: float) -> None:
        try:
            self._bus.call(_MANAGER, "TerminateSession", "s", session)
            if not self._ended(session, within_s):
                self._bus.call(_MANAGER, "KillSession", "ssi", session, "all", _SIGKILL)
                if not self._ended(session, _DEATH_S):
                    raise DriverError(f"cannot end session {session}: its processes do not die")
        except BusError as error:
            if not _is_gone(error):
                raise

    def activate(self, session: str) -> None:
        self._bus.call(_MANAGER, "ActivateSession", "s", session)

    def await_login(self, user: str, seat: str, known: frozenset[str], within_s: float) -> str:
        ends_s = time.monotonic() + within_s
        while True:
            for id, session in self._people(user):
                here = (session["Name"], session["Seat"][0]) == (user, seat)
                if here and id not in known and session["State"] not in ("opening", "closing"):
                    return id
            if time.monotonic() >= ends_s:
                return ""
            time.sleep(_LOOK_S)

    def _people(self, user: str) -> list[tuple[str, dict[str, Any]]]:
        """The sessions of people, by their ids: those at seats, the user's, and then others."""
        (rows,) = self._bus.call(_MANAGER, "ListSessions")
        rows = sorted(rows, key=lambda row: (not row[3], row[2] != user))[:_LOGINS_MAX]
        peers = [Peer(_NAME, str(path), _PROPERTIES) for *_, path in rows]
        answers = self._bus.call_all([Call(peer, "GetAll", "s", (f"{_NAME}.Session",)) for peer in peers])
        people = []
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, BusError):
                if not _is_gone(answer):  # who is not seen is not locked
                    raise answer
                continue
            session = {name: value for name, (_, value) in answer[0].items()}
            if session.get("Class", "").startswith("user"):
                people.append((str(row[0]), session))
        return people

    def _ended(self, session: str, within_s: float) -> bool:
        ends_s = time.monotonic() + within_s
        while any(row[0] == session for row in self._bus.call(_MANAGER, "ListSessions")[0]):
            if time.monotonic() >= ends_s:
                return False
            time.sleep(_LOOK_S)
        return True

    def _properties(self, session: str) -> dict[str, Any]:
        (path,) = self._bus.call(_MANAGER, "GetSession", "s", session)
        return self._session(path)

    def _session(self, path: str) -> dict[str, Any]:
        """Its properties; empty when it ended since it was listed. Raises BusError."""
        try:
            return self._bus.properties(Peer(_NAME, path, f"{_NAME}.Session"))
        except BusError as error:
            if not _is_gone(error):
                raise
            return {}


def _login(id: str, session: Mapping[str, Any], *, forbidden: bool) -> Login:
    return Login(
        id=id,
        user=session["Name"],
        seat=session["Seat"][0],
        tty=session["TTY"],
        type=session["Type"],
        active=session["Active"],
        locked=session.get("LockedHint", False),
        forbidden=forbidden,
    )


def _is_gone(error: BusError) -> bool:
    return error.name in (f"{_NAME}.NoSuchSession", *_NO_OBJECT)
