"""A logind that is made up, held to org.freedesktop.login1(5), on a bus of the test's own."""

from dataclasses import dataclass, field
from typing import Any

from tests.bus import FakeProgram, Refusal, Reply

NAME = "org.freedesktop.login1"
PATH = "/org/freedesktop/login1"
UNKNOWN = "org.freedesktop.DBus.Error.UnknownMethod"
NO_SESSION = f"{NAME}.NoSuchSession"


@dataclass
class FakeSession:
    user: str
    uid: int
    seat: str = "seat0"
    tty: str = "tty2"
    type: str = "tty"
    group: str = "user"
    state: str = "active"
    locked: bool = False
    idle_since_us: int = 0
    host: str = ""
    service: str = "login"
    since_us: int = 0
    awake_us: int = 0  # the same on CLOCK_MONOTONIC

    def properties(self, id: str) -> dict[str, tuple[str, Any]]:
        return {
            "Id": ("s", id),
            "User": ("(uo)", (self.uid, f"{PATH}/user/_{self.uid}")),
            "Name": ("s", self.user),
            "Seat": ("(so)", (self.seat, f"{PATH}/seat/{self.seat}" if self.seat else "/")),
            "TTY": ("s", self.tty),
            "Display": ("s", ""),
            "Remote": ("b", not self.seat),
            "RemoteHost": ("s", self.host),
            "Service": ("s", self.service),
            "Scope": ("s", f"session-{id}.scope"),
            "Timestamp": ("t", self.since_us),
            "TimestampMonotonic": ("t", self.awake_us),
            "Type": ("s", self.type),
            "Class": ("s", self.group),
            "Active": ("b", self.state == "active"),
            "State": ("s", self.state),
            "IdleHint": ("b", bool(self.idle_since_us)),
            "IdleSinceHint": ("t", self.idle_since_us),
            "LockedHint": ("b", self.locked),
        }


@dataclass
class FakeLogind:
    """Lockers answer at once; a shutdown is only noted."""

    sessions: dict[str, FakeSession] = field(default_factory=dict)
    inhibitors: list[tuple[str, str, str, str, int, int]] = field(default_factory=list)
    can: dict[str, str] = field(default_factory=dict)  # by method, where not "yes"
    refuses: dict[str, tuple[str, str]] = field(default_factory=dict)  # by method: name and text
    silent: set[str] = field(default_factory=set)  # methods that are never answered
    shutting_down: bool = False
    lid_closed: bool = False
    scheduled: tuple[str, int] = ("", 2**64 - 1)
    heard: list[tuple[Any, ...]] = field(default_factory=list)  # method and arguments
    program: FakeProgram | None = None

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method == "GetAll":
            return "a{sv}", (self._properties(path),)
        if method == "ListSessions":
            rows = [(id, s.uid, s.user, s.seat, _path(id)) for id, s in self.sessions.items()]
            return "a(susso)", (rows,)
        if method == "ListInhibitors":
            return "a(ssssuu)", (self.inhibitors,)
        if method in self.refuses:
            raise Refusal(*self.refuses[method])
        if method.startswith("Can"):
            return "s", (self.can.get(method, "yes"),)
        self.heard.append((method, *body))
        if method in self.silent:
            return None
        if method in ("LockSession", "UnlockSession", "TerminateSession"):
            self._session(method, *body)
        elif method.removesuffix("WithFlags") in ("PowerOff", "Reboot", "Halt"):
            self.shutting_down = True
            self._emit(PATH, f"{NAME}.Manager", "PrepareForShutdown", "b", True)
        return "", ()

    def _session(self, method: str, id: str) -> None:
        if id not in self.sessions:
            raise Refusal(NO_SESSION, f"No session '{id}' known")
        if method == "TerminateSession":
            del self.sessions[id]
            self._emit(PATH, f"{NAME}.Manager", "SessionRemoved", "so", id, _path(id))
            return
        self.sessions[id].locked = method == "LockSession"
        changed = {"LockedHint": ("b", self.sessions[id].locked)}
        properties = "org.freedesktop.DBus.Properties"
        self._emit(_path(id), properties, "PropertiesChanged", "sa{sv}as", f"{NAME}.Session", changed, [])

    def _properties(self, path: str) -> dict[str, tuple[str, Any]]:
        if path == PATH:
            return {
                "PreparingForShutdown": ("b", self.shutting_down),
                "PreparingForSleep": ("b", False),
                "ScheduledShutdown": ("(st)", self.scheduled),
                "LidClosed": ("b", self.lid_closed),
                "Docked": ("b", False),
                "OnExternalPower": ("b", not self.lid_closed),
                "IdleHint": ("b", self.lid_closed),
                "IdleSinceHint": ("t", 1_767_225_600_000_000),
            }
        for id, session in self.sessions.items():
            if path == _path(id):
                return session.properties(id)
        raise Refusal("org.freedesktop.DBus.Error.UnknownObject", f"Unknown object '{path}'.")

    def _emit(self, path: str, interface: str, member: str, signature: str, *body: Any) -> None:
        if self.program is not None:
            self.program.emit(path, interface, member, signature, *body)


def _path(id: str) -> str:
    """As sd_bus_path_encode(3) does: a digit at the start is written in hexadecimal."""
    return f"{PATH}/session/_3{id}" if id[:1].isdigit() else f"{PATH}/session/{id}"
