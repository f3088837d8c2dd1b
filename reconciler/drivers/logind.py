"""Sessions, shutdown and sleep through logind; see org.freedesktop.login1(5)."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from reconciler.errors import DriverError, Unsupported
from reconciler.facilities import login1
from reconciler.facilities.dbus import Bus, BusError, NoAnswer, Peer
from reconciler.facilities.inotify import Folders
from reconciler.facilities.login1 import MANAGER, NAME, NEEDS, RESTARTED
from reconciler.resource import Watch
from reconciler.resources.power import Inhibitor, Machine, Scheduled, State, Switch, Verb, booted_s
from reconciler.resources.session import Sessions
from reconciler.subjects.logins import Login, Station
from reconciler.subjects.timestamps import stamp

_SYSTEMD = Peer("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_SCHEDULED = "/run/systemd/shutdown"

_METHODS: Mapping[Verb, str] = {
    "off": "PowerOff",
    "halt": "Halt",
    "reboot": "Reboot",
    "suspend": "Suspend",
    "hibernate": "Hibernate",
}
_UNABLE = {"na": "the hardware or its kernel cannot", "no": "logind forbids it"}
_HEED = 1 << 0  # SD_LOGIND_ROOT_CHECK_INHIBITORS; root's own it never checks, so the kind does
_SKIP = 1 << 4  # SD_LOGIND_SKIP_INHIBITORS, since systemd 257; before, root skips them without a flag
_BLOCKED = (f"{NAME}.BlockedByInhibitorLock", "org.freedesktop.DBus.Error.AccessDenied")
_STATION_S = 5.0  # no news of it comes, and to ask each time would hold up what is news
_TEXT_CHARS_MAX = 256  # names of hosts and units
_NEVER_US = 2**64 - 1

# What cuts a shutdown short must outlive us, who are stopped early, and logind: a timer that
# no shutdown stops. The signals reach everything but PID 1 and this shell, in an order that
# a service which hangs no longer holds up; PID 1 then only unmounts and ends. Without them
# it would wait once more, DefaultTimeoutStopSec= long; see systemctl(1) --force, kill(2).
_TIMER = "guest-reconciler-deadline.timer"
_SHELL = "/bin/sh"
_COMMANDS: Mapping[Verb, str] = {"off": "poweroff", "halt": "halt", "reboot": "reboot"}
_SCRIPT = "kill -TERM -1; sleep 5; kill -KILL -1; exec /bin/systemctl --force"  # 5 s to save what is open


class LogindSessions(Sessions):
    needs = NEEDS
    forbidden_users: tuple[str, ...] = ()  # shell patterns; the policy's

    def __init__(self) -> None:
        self._station = Station()  # as a look would tell it that comes too soon for a new one
        self._bus = Bus(*login1.told("SessionNew", "SessionRemoved"), login1.SESSIONS_CHANGED, RESTARTED)

    @classmethod
    def available(cls) -> bool:
        return login1.there()

    def watches(self) -> tuple[Watch, ...]:
        return (self._bus.watch(),)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def clocks(self) -> tuple[float, str]:
        return _boot_clock_s(), stamp(time.time())

    def sessions(self) -> tuple[Login, ...]:
        return tuple(self._seen(_login(id, found)) for id, found in login1.sessions(self._bus))

    def station(self) -> Station:
        now_s, again_s = _boot_clock_s(), self._station.again_s
        if now_s < again_s:
            return self._station
        found = self._bus.properties(MANAGER)
        fresh = Station(
            lid_closed=bool(found.get("LidClosed")),
            docked=bool(found.get("Docked")),
            mains=bool(found.get("OnExternalPower", True)),
            idle_since=_idle_since(found),
        )
        self._station = replace(fresh, again_s=now_s + _STATION_S)
        return fresh

    def lock(self, session: str) -> None:
        self._bus.call(MANAGER, "LockSession", "s", session)

    def unlock(self, session: str) -> None:
        self._bus.call(MANAGER, "UnlockSession", "s", session)

    def end(self, session: str) -> None:
        try:
            self._bus.call(MANAGER, "TerminateSession", "s", session)
        except BusError as error:
            if not login1.is_gone(error):
                raise

    def _seen(self, login: Login) -> Login:
        return replace(login, forbidden=any(fnmatchcase(login.user, p) for p in self.forbidden_users))


class LogindPower(Switch):
    needs = NEEDS

    def __init__(self) -> None:
        signals = login1.told("PrepareForShutdown", "PrepareForSleep")
        self._bus = Bus(*signals, login1.changed(f"path='{MANAGER.path}'"), RESTARTED)

    @classmethod
    def available(cls) -> bool:
        return login1.there()

    def watches(self) -> tuple[Watch, ...]:
        # logind sends no signal for this one, yet writes a file; shutdown(8).
        return self._bus.watch(), Folders(_SCHEDULED, names=("scheduled",))

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def boot_clock_s(self) -> float:
        return _boot_clock_s()

    def machine(self) -> Machine:
        found = self._bus.properties(MANAGER)
        (inhibitors,) = self._bus.call(MANAGER, "ListInhibitors")
        return Machine(
            boot_id=_read("/proc/sys/kernel/random/boot_id"),
            booted_at=stamp(booted_s(_read("/proc/stat"))),
            state=_state(found),
            able=frozenset(verb for verb in _METHODS if self._can(verb) not in ("", *_UNABLE)),
            inhibitors=tuple(sorted(map(_inhibitor, inhibitors), key=str)),
            scheduled=_scheduled(found),
        )

    def bring(self, verb: Verb, *, message: str, heed: bool, deadline_s: float | None) -> None:
        can = self._can(verb)
        if can in ("", *_UNABLE):
            raise Unsupported(f"cannot {verb}: {_UNABLE.get(can, 'logind does not know how')}")
        try:
            if message:
                self._bus.call(MANAGER, "SetWallMessage", "sb", message, True)
            if deadline_s is not None:
                self._arm(verb, deadline_s)
            # Often the answer is lost because the shutdown wins; the next look will tell.
            with suppress(NoAnswer):
                self._ask(verb, _HEED if heed else _SKIP)
        except DriverError as error:
            self._take_back(message, deadline_s)
            if isinstance(error, BusError) and error.name in _BLOCKED and heed:
                raise DriverError(f"cannot {verb}: somebody inhibits it") from error
            raise

    def _take_back(self, message: str, deadline_s: float | None) -> None:
        """So that a shutdown by somebody else is neither announced in our words nor cut short."""
        if deadline_s is not None:
            self._disarm()
        if message:
            with suppress(BusError, NoAnswer):
                self._bus.call(MANAGER, "SetWallMessage", "sb", "", True)

    def _ask(self, verb: Verb, flags: int) -> None:
        method = _METHODS[verb]
        try:
            self._bus.call(MANAGER, f"{method}WithFlags", "t", flags)
        except BusError as error:
            if error.name == "org.freedesktop.DBus.Error.InvalidArgs" and flags == _SKIP:
                self._bus.call(MANAGER, f"{method}WithFlags", "t", 0)
            elif error.name == "org.freedesktop.DBus.Error.UnknownMethod":  # elogind, systemd before 246
                self._bus.call(MANAGER, method, "b", False)
            else:
                raise

    def _can(self, verb: Verb) -> str:
        """yes, challenge, no, na; empty where logind is too old to say."""
        try:
            (answer,) = self._bus.call(MANAGER, f"Can{_METHODS[verb]}")
        except BusError:
            return ""
        return str(answer)

    def _arm(self, verb: Verb, deadline_s: float) -> None:
        self._disarm()  # one of another document
        command = _COMMANDS[verb]
        lasting = ("DefaultDependencies", ("b", False))
        timer = [
            ("Description", ("s", f"Cut a {command} short that takes too long")),
            lasting,
            ("TimersMonotonic", ("a(st)", [("OnActiveSec", round(deadline_s * 1e6))])),
            ("AccuracyUSec", ("t", 1_000_000)),
        ]
        service = [
            ("Description", ("s", f"Cut a {command} short")),
            lasting,
            ("Slice", ("s", "-.slice")),
            ("Type", ("s", "oneshot")),
            ("ExecStart", ("a(sasb)", [(_SHELL, [_SHELL, "-c", f"{_SCRIPT} {command}"], False)])),
        ]
        units = [(_TIMER.replace(".timer", ".service"), service)]
        try:
            self._bus.call(
                _SYSTEMD, "StartTransientUnit", "ssa(sv)a(sa(sv))", _TIMER, "replace", timer, units
            )
        except (BusError, NoAnswer) as error:
            raise DriverError(f"cannot set a deadline for {verb}: {error}") from error

    def _disarm(self) -> None:
        with suppress(BusError, NoAnswer):  # as a rule there is none
            self._bus.call(_SYSTEMD, "StopUnit", "ss", _TIMER, "replace")


def _login(id: str, found: Mapping[str, Any]) -> Login:
    return Login(
        id=id,
        user=found["Name"],
        uid=found["User"][0],
        seat=found["Seat"][0],
        tty=found["TTY"],
        display=found["Display"],
        type=found["Type"],
        group=found["Class"],
        state=found["State"],
        remote=found["Remote"],
        host=str(found.get("RemoteHost", ""))[:_TEXT_CHARS_MAX],
        service=str(found.get("Service", ""))[:_TEXT_CHARS_MAX],
        scope=str(found.get("Scope", ""))[:_TEXT_CHARS_MAX],
        since=stamp(found["Timestamp"] // 1_000_000) if found.get("Timestamp") else "",
        since_s=found.get("TimestampMonotonic", 0) / 1e6,
        locked=found.get("LockedHint", False),
        idle_since=_idle_since(found),
    )


def _idle_since(found: Mapping[str, Any]) -> str:
    idle_s = found.get("IdleSinceHint", 0) // 1_000_000
    return stamp(idle_s) if found.get("IdleHint") and idle_s else ""


def _state(found: Mapping[str, Any]) -> State:
    if found["PreparingForShutdown"]:
        return "shutting-down"
    return "going-to-sleep" if found["PreparingForSleep"] else "running"


def _inhibitor(row: tuple[str, str, str, str, int, int]) -> Inhibitor:
    what, who, why, mode, uid, _ = row
    return Inhibitor(tuple(sorted(what.split(":"))), who, why, mode, f"uid {uid}" if uid else "root")


def _scheduled(found: Mapping[str, Any]) -> Scheduled | None:
    verb, at_us = found.get("ScheduledShutdown", ("", 0))
    return Scheduled(verb, stamp(at_us // 1_000_000)) if verb and 0 < at_us < _NEVER_US else None


def _boot_clock_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
