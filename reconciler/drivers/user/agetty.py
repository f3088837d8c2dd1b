"""Text consoles: agetty(8) lets a user in on a virtual terminal, in a unit of its own.

As on a terminal with `--autologin`, agetty starts login(1) with `-f`: nothing is asked, and
PAM's account and session rules of `login` run, so logind shows a session like any other. A
login prompt that waits on the terminal is stopped for it, and one stands there when the user
has left. The unit belongs to systemd: it outlives the agent.
"""

import fcntl
import os
import struct
import time
from typing import Any, ClassVar

from reconciler.errors import DriverError
from reconciler.facilities import transient_unit
from reconciler.facilities.dbus import Bus, BusError, Peer
from reconciler.facilities.transient_unit import SYSTEMD
from reconciler.resources.user import Facility, Way
from reconciler.subjects.seating import Door, Entry

_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_PROGRAMS = ("/sbin/agetty", "/usr/sbin/agetty")
_CONSOLE = "/dev/tty0"
_SEAT = "seat0"  # virtual terminals are never at another one; sd-login(3)
_CONSOLES = range(1, 13)  # those that a keyboard reaches, as Ctrl+Alt+F12
_VT_GETSTATE = 0x5603  # linux/vt.h
_VT_STAT = struct.Struct("3H")  # active, signal, state
_COMM_BYTES_MAX = 64
_ANSWER_S = 1.0  # a look has 5 s for all doors
_FREE_S = 5.0  # a terminal is let go of a moment after its session has ended
_LOOK_S = 0.1  # between looks: the kernel tells nobody that a terminal is let go of


class Agetty(Facility, Way):
    name: ClassVar[str] = "agetty"
    needs: ClassVar[str] = "agetty under systemd"

    def __init__(self, console: str = _CONSOLE, proc: str = "/proc") -> None:
        self._console, self._proc = console, proc
        self._bus = Bus()

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and os.path.exists(_BOOTED) and any(map(os.path.exists, _PROGRAMS))

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def doors(self) -> tuple[Door, ...]:
        try:
            taken = self._taken()
        except OSError:
            return ()  # no virtual terminals, as in a container
        try:
            prompts = self._prompts() if taken else frozenset[str]()
        except DriverError:
            prompts = frozenset()  # systemd does not answer; whoever is there stays
        return tuple(_door(f"tty{number}", number in taken, prompts) for number in _CONSOLES)

    def enter(self, entry: Entry) -> None:
        tty = entry.door.tty
        unit = f"guest-reconciler-{tty}.service"
        terms = _terms(entry.user, tty)
        self._await_free(entry)  # or somebody who has come since would be hung up on
        try:
            transient_unit.start(self._bus, unit, terms)
        except DriverError as error:
            raise DriverError(f"cannot log in {entry.user} on {tty}: {error}") from error

    def _await_free(self, entry: Entry) -> None:
        """Raises DriverError."""
        tty, ends_s = entry.door.tty, time.monotonic() + _FREE_S
        while True:
            door = next((door for door in self.doors() if door.tty == tty), None)
            if door is not None and not door.shut:
                return
            if time.monotonic() >= ends_s:
                raise DriverError(
                    f"cannot log in {entry.user} on {tty}: {door.shut if door else 'it is gone'}"
                )
            time.sleep(_LOOK_S)

    def _taken(self) -> frozenset[int]:
        """The virtual terminals that some process has open. Raises OSError."""
        fd = os.open(self._console, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            state = fcntl.ioctl(fd, _VT_GETSTATE, bytes(_VT_STAT.size))
        finally:
            os.close(fd)
        _, _, opened = _VT_STAT.unpack(state)
        return frozenset(number for number in _CONSOLES if opened >> number & 1)

    def _prompts(self) -> frozenset[str]:
        """The terminals on which a prompt waits for somebody's name."""
        terms = (["active"], ["getty@tty*.service"])
        (rows,) = self._bus.call(SYSTEMD, "ListUnitsByPatterns", "asas", *terms, timeout_s=_ANSWER_S)
        return frozenset(
            str(row[0]).removeprefix("getty@").removesuffix(".service")
            for row in rows
            # Once a name was given, it is login(1) that runs there, until the user leaves.
            if self._program(row[6]) == "agetty"
        )

    def _program(self, unit: str) -> str:
        try:
            prompt = Peer(SYSTEMD.name, unit, f"{SYSTEMD.name}.Service")
            pid = self._bus.properties(prompt, _ANSWER_S)["MainPID"]
            with open(f"{self._proc}/{pid}/comm") as file:
                return file.read(_COMM_BYTES_MAX).strip()
        except (BusError, OSError):
            return ""  # it ended just now


def _door(tty: str, taken: bool, prompts: frozenset[str]) -> Door:
    prompt = tty in prompts
    return Door(
        way=Agetty.name,
        seat=_SEAT,
        tty=tty,
        prompt=prompt,
        shut="in use" if taken and not prompt else "",
    )


def _terms(user: str, tty: str) -> list[tuple[str, tuple[str, Any]]]:
    """As systemd's own getty@.service has them; see systemd.exec(5)."""
    program = next(filter(os.path.exists, _PROGRAMS), _PROGRAMS[0])
    prompt = [f"getty@{tty}.service"]
    return [
        ("Description", ("s", f"Login of {user} on {tty} by the host's document")),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("After", ("as", ["systemd-user-sessions.service", "plymouth-quit-wait.service", *prompt])),
        ("Conflicts", ("as", prompt)),
        ("OnSuccess", ("as", prompt)),
        ("OnFailure", ("as", prompt)),
        ("IgnoreOnIsolate", ("b", True)),
        ("Type", ("s", "simple")),
        ("ExecStart", ("a(sasb)", [(program, [program, "--autologin", user, tty, "linux"], True)])),
        ("UtmpIdentifier", ("s", tty)),
        ("StandardInput", ("s", "tty")),
        ("StandardOutput", ("s", "tty")),
        ("TTYPath", ("s", f"/dev/{tty}")),
        ("TTYReset", ("b", True)),
        ("TTYVHangup", ("b", True)),
        ("TTYVTDisallocate", ("b", True)),
        ("IgnoreSIGPIPE", ("b", False)),
        ("SendSIGHUP", ("b", True)),
    ]
