"""Who is logged in, from logind, and who may be, from PAM; org.freedesktop.login1(5)."""

import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from reconciler.errors import DriverError
from reconciler.facilities import login1
from reconciler.facilities.dbus import Bus, BusError, Peer
from reconciler.facilities.login1 import MANAGER
from reconciler.facilities.pam import Inquiry, judged
from reconciler.resource import Watch
from reconciler.resources.user import Facility, Logins
from reconciler.secret import Secret
from reconciler.subjects.seating import Login

_LOOK_S = 0.1  # between looks while an act waits for a locker or for processes to end
_LOGINS_MAX = 256  # a guest for a classroom has some dozens; what is not at a seat is only shown
_DEATH_S = 5.0  # what was sent SIGKILL is gone in a moment, unless its disk does not answer
_SIGKILL = 9


class Logind(Facility, Logins):
    """No way in itself: it knows who came in, and who may."""

    needs: ClassVar[str] = login1.NEEDS
    forbidden_users: tuple[str, ...] = ()  # shell patterns; the policy's
    passwordless_users: tuple[str, ...] = ()  # names; the policy's

    def __init__(self) -> None:
        self._bus = Bus(*login1.told("SessionNew", "SessionRemoved"), login1.SESSIONS_CHANGED)

    @classmethod
    def available(cls) -> bool:
        return login1.there()

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
            self._bus.call(MANAGER, "LockSession", "s", session)
            # A session that is gone has no screen left to lock.
            while (seen := self._properties(session)) and not seen.get("LockedHint", False):
                if time.monotonic() >= ends_s:
                    return False
                time.sleep(_LOOK_S)
        except BusError as error:
            if not login1.is_gone(error):
                raise
        return True

    def end(self, session: str, within_s: float) -> None:
        try:
            self._bus.call(MANAGER, "TerminateSession", "s", session)
            if not self._ended(session, within_s):
                self._bus.call(MANAGER, "KillSession", "ssi", session, "all", _SIGKILL)
                if not self._ended(session, _DEATH_S):
                    raise DriverError(f"cannot end session {session}: its processes do not die")
        except BusError as error:
            if not login1.is_gone(error):
                raise

    def activate(self, session: str) -> None:
        self._bus.call(MANAGER, "ActivateSession", "s", session)

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
        found = login1.sessions(self._bus, lambda row: (not row[3], row[2] != user), _LOGINS_MAX)
        return [(id, session) for id, session in found if session.get("Class", "").startswith("user")]

    def _ended(self, session: str, within_s: float) -> bool:
        ends_s = time.monotonic() + within_s
        while any(row[0] == session for row in self._bus.call(MANAGER, "ListSessions")[0]):
            if time.monotonic() >= ends_s:
                return False
            time.sleep(_LOOK_S)
        return True

    def _properties(self, session: str) -> dict[str, Any]:
        (path,) = self._bus.call(MANAGER, "GetSession", "s", session)
        return self._session(path)

    def _session(self, path: str) -> dict[str, Any]:
        """Its properties; empty when it ended since it was listed. Raises BusError."""
        try:
            return self._bus.properties(Peer(login1.NAME, path, f"{login1.NAME}.Session"))
        except BusError as error:
            if not login1.is_gone(error):
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
