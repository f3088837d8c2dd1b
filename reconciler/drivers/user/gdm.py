"""GDM's door: its greeter is given a token that stands for the user, and nobody types.

GNOME's shell listens on the system bus for the signal that oVirt's agent sent, on the login screen too,
and begins PAM's service `gdm-ovirtcred` with the signal's token as its first answer. The rules of
that service are ours: a module that asks the agent whom the token stands for. GDM itself opens
sessions for its own greeter only; so if a session has the screen, GDM is first asked for a greeter.
"""

import os
import time
from contextlib import suppress
from typing import ClassVar, NamedTuple

from reconciler.errors import DriverError
from reconciler.facilities import display_unit
from reconciler.facilities.dbus import BUS, Bus, BusError, Call, Peer
from reconciler.facilities.display_unit import ANSWER_S
from reconciler.facilities.login_grant import Grant
from reconciler.resources.user import Facility, Way
from reconciler.subjects.seating import Door, Entry

_NAME = "org.gnome.DisplayManager"
_FACTORY = Peer(_NAME, "/org/gnome/DisplayManager/LocalDisplayFactory", f"{_NAME}.LocalDisplayFactory")
_OVIRT = Peer("org.ovirt.vdsm.Credentials", "/org/ovirt/vdsm/Credentials", "org.ovirt.vdsm.Credentials")
_STATS = Peer(BUS.name, BUS.path, f"{BUS.name}.Debug.Stats")
_LOGIN1 = "org.freedesktop.login1"
_LOGINS = Peer(_LOGIN1, "/org/freedesktop/login1", f"{_LOGIN1}.Manager")
_SEAT0 = Peer(_LOGIN1, "/org/freedesktop/login1/seat/seat0", f"{_LOGIN1}.Seat")
_PROGRAMS = ("/usr/sbin/gdm3", "/usr/sbin/gdm", "/usr/bin/gdm")
_UNIT = "gdm.service"
_SERVICE = "gdm-ovirtcred"  # the name stands in GNOME's shell; guest_runtime/units has its rules
_RULES = f"/etc/pam.d/{_SERVICE}"
_GREETS = "gdm-launch-environment"  # PAM's service for greeters
_OURS = "pam-token"  # the module that those rules name
_RULES_CHARS_MAX = 1 << 16
_PAM, _INCLUDED = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"), "gdm-password"
_FOLDERS = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_MODULE = "security/pam_python.so"
_SEAT = "seat0"  # GDM asks for a new greeter there only
# A new greeter is a whole shell: some seconds, and thirty in an emulated guest.
GREETER_S = 60.0
# A greeter that is still starting hears nothing; one that has heard would begin anew if told again. PAM
# begins within a second, and in some six in an emulated guest that is busy.
_AGAIN_S = 12.0
FRONT_S = 20.0  # from PAM's consent to the session on the screen; a second, and ten in an emulated guest
_COMES_S = 0.5  # between looks for a greeter that listens
_TOKEN_BYTES = 16


class _Greeter(NamedTuple):
    id: str
    uid: int
    active: bool


class Gdm(Facility, Way):
    """One door: that of the first seat, where GDM runs and its PAM rules know of us."""

    name: ClassVar[str] = "gdm"
    needs: ClassVar[str] = "GDM"

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
        shut = _obstacle()
        starting = state == "starting" and not shut  # what is not installed does not come by waiting
        if starting:
            shut = "GDM is just starting"
        return (Door(way=self.name, seat=_SEAT, graphical=True, shut=shut, opening=starting),)

    def enter(self, entry: Entry) -> None:
        token = os.urandom(_TOKEN_BYTES).hex()
        with Grant(entry.user, _SERVICE, token, valid_s=GREETER_S) as grant:
            try:
                self._show_greeter()
                self._tell(f"{token}:{entry.user}", grant)
            except DriverError as error:
                if not grant.used:  # else the user was let in, whatever went wrong with the rest
                    raise DriverError(f"cannot log in {entry.user}: {error}") from error
            finally:
                self._bus.close()  # and with it the name, which an agent of oVirt's may want
            if not grant.used:
                raise DriverError(f"cannot log in {entry.user}: GDM's greeter did not ask for {_SERVICE}")
        with suppress(DriverError):  # the user was let in
            self._see_it_in_front(entry.user)

    def _tell(self, words: str, grant: Grant) -> None:
        """Until the greeter has used it, or is taking too long; nobody else on the bus hears it.

        Only while the greeter has the screen: who took it meanwhile may have unlocked.
        """
        while grant.left_s():
            greeter = self._greeter()
            names = self._listeners(greeter.uid) if greeter and greeter.active else []
            self._bus.own(_OVIRT.name)  # again, should the connection be a new one
            if grant.used:
                return
            for name in names:
                self._bus.emit(name, _OVIRT, "UserAuthenticated", "s", words)
            if grant.wait(_AGAIN_S if names else _COMES_S):
                return

    def _see_it_in_front(self, user: str) -> None:
        """The greeter begins the session, and GDM brings it to the front.

        Who does so before leaves a greeter that cannot draw, and that begins it never.
        """
        ends_s = time.monotonic() + FRONT_S
        while time.monotonic() < ends_s:
            seat = self._bus.properties(_SEAT0, ANSWER_S)
            name, path = seat["ActiveSession"]
            if name and self._bus.properties(Peer(_LOGIN1, path, f"{_LOGIN1}.Session"))["Name"] == user:
                return
            time.sleep(_COMES_S)

    def _show_greeter(self) -> None:
        """Bring the greeter to the front; a new one where there is none."""
        greeter = self._greeter()
        if greeter:
            self._bus.call(_LOGINS, "ActivateSession", "s", greeter.id)
        else:
            self._bus.call(_FACTORY, "CreateTransientDisplay")

    def _listeners(self, uid: int) -> list[str]:
        """The names of that user's programs on the bus that wait for the signal, or may."""
        (names,) = self._bus.call(BUS, "ListNames")
        unique = [name for name in names if name.startswith(":")]
        users = self._bus.call_all([Call(BUS, "GetConnectionUnixUser", "s", (name,)) for name in unique])
        theirs = [name for name, user in zip(unique, users, strict=True) if user == (uid,)]
        # Only dbus-daemon tells what others wait for; see its DBUS_INTERFACE_STATS. dbus-broker says no.
        rules = self._bus.call_all([Call(_STATS, "GetConnectionMatchRules", "s", (name,)) for name in theirs])
        return [
            name
            for name, found in zip(theirs, rules, strict=True)
            if isinstance(found, BusError) or any(_OVIRT.path in rule for rule in found[0])
        ]

    def _greeter(self) -> _Greeter | None:
        """The greeter's session at the seat; the one in front where there are several."""
        (sessions,) = self._bus.call(_LOGINS, "ListSessions", timeout_s=ANSWER_S)
        at_seat = [(name, uid, path) for name, uid, _, seat, path in sessions if seat == _SEAT]
        found = self._bus.properties_of([Peer(_LOGIN1, path, f"{_LOGIN1}.Session") for *_, path in at_seat])
        greeters = [
            _Greeter(name, uid, session["Active"])
            for (name, uid, _), session in zip(at_seat, found, strict=True)
            # Who may set its environment may call any session a greeter's, but not its service.
            if session
            and (session["Class"], session["Service"]) == ("greeter", _GREETS)
            and session["State"] != "closing"
        ]
        return max(greeters, key=lambda greeter: greeter.active, default=None)


def _obstacle() -> str:
    """Why GDM would not know of us; empty where it would."""
    try:
        with open(_RULES, encoding="utf-8", errors="replace") as file:
            rules = file.read(_RULES_CHARS_MAX).splitlines()
    except OSError:
        rules = []
    scripts = [rule.split()[-1] for rule in rules if _OURS in rule and not rule.lstrip().startswith("#")]
    if not scripts:
        return f"{_RULES} does not name {_OURS}"
    if not os.path.exists(scripts[0]):
        return f"{scripts[0]}, which {_RULES} names, is not there"
    if not any(os.path.exists(f"{folder}/{_INCLUDED}") for folder in _PAM):
        return f"PAM has no rules {_INCLUDED}, which {_RULES} includes"
    if not any(map(_has_module, _FOLDERS)):
        return "PAM's module pam_python is not installed (libpam-python)"
    return ""


def _has_module(folder: str) -> bool:
    """Whether it is there, or in the folder of an architecture below, as x86_64-linux-gnu."""
    if os.path.exists(f"{folder}/{_MODULE}"):
        return True
    try:
        inner = os.listdir(folder)
    except OSError:
        return False
    return any("-linux-" in name and os.path.exists(f"{folder}/{name}/{_MODULE}") for name in inner)
