"""LightDM's door: it is asked to switch to the user, as its own dm-tool(1) does.

LightDM has PAM authenticate whoever it switches to, by rules of ours that are put before its
own: they ask for the permission that is given here. So nobody types anything, its greeter
ends by itself, and a session that had the screen is kept and locked.
"""

import os
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities import display_unit
from reconciler.facilities.dbus import CALL_S, Bus, BusError, NoAnswer, Peer
from reconciler.facilities.display_unit import ANSWER_S
from reconciler.facilities.login_grant import Grant
from reconciler.resources.user import Facility, Way
from reconciler.subjects.seating import Door, Entry

_NAME = "org.freedesktop.DisplayManager"
_MANAGER = Peer(_NAME, "/org/freedesktop/DisplayManager", _NAME)
_PROGRAMS = ("/usr/sbin/lightdm", "/usr/bin/lightdm")
_UNIT = "lightdm.service"
_SERVICE = "guest-reconciler-lightdm"  # PAM's; guest_runtime/units has its rules
_SEAT = "seat0"  # LightDM numbers its seats and does not name them; the first is logind's first
_USERS_OWN = ""  # the session that the user has chosen before, or the guest's default


class LightDm(Facility, Way):
    """One door: that of the first seat, where LightDM runs and may switch users."""

    name: ClassVar[str] = "lightdm"
    needs: ClassVar[str] = "LightDM"

    def __init__(self) -> None:
        self._bus = Bus()

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and any(map(os.path.exists, _PROGRAMS))

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def doors(self) -> tuple[Door, ...]:
        state = display_unit.state(self._bus, _UNIT)
        if state == "down":
            return ()
        starting = False
        try:
            shut = (
                "" if self._seat(ANSWER_S)[1] else "LightDM may not switch users here (allow-user-switching)"
            )
        except BusError:
            shut, starting = "LightDM is just starting", True
        except DriverError:
            shut = "LightDM does not answer"
        return (Door(way=self.name, seat=_SEAT, graphical=True, shut=shut, opening=starting),)

    def enter(self, entry: Entry) -> None:
        try:
            seat = self._seat(CALL_S)[0]
        except DriverError as error:
            raise DriverError(f"cannot log in {entry.user}: LightDM says: {error}") from error
        with Grant(entry.user, _SERVICE) as grant:
            try:
                self._bus.call(seat, "SwitchToUser", "ss", entry.user, _USERS_OWN)
            except NoAnswer:
                pass  # whether it was carried out is seen by what PAM asks
            except BusError as error:
                raise DriverError(f"cannot log in {entry.user}: LightDM says: {error}") from error
            if not grant.wait():
                why = f"LightDM did not ask as its pam-service {_SERVICE} would; was it restarted since"
                raise DriverError(f"cannot log in {entry.user}: {why}?")

    def _seat(self, answer_s: float) -> tuple[Peer, bool]:
        """The first seat, and whether it may switch. Raises BusError while LightDM is not on the bus."""
        paths = self._bus.properties(_MANAGER, answer_s)["Seats"]
        if not paths:
            raise BusError("LightDM has no seat yet", _NAME)
        seat = Peer(_NAME, paths[0], f"{_NAME}.Seat")
        return seat, self._bus.properties(seat, answer_s)["CanSwitch"]
