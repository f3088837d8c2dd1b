"""The clock through timedated and the kernel, or without systemd by files and the kernel.

What is looked at is read from files, the kernel and systemd: to ask timedated itself would start it for
each look. Sources: org.freedesktop.timedate1(5), org.freedesktop.timesync1(5), systemd-timedated(8),
localtime(5), adjtime_config(5).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from reconciler.errors import DriverError, Unsupported
from reconciler.facilities import timex
from reconciler.facilities.dbus import Bus, BusError, NoAnswer, Peer
from reconciler.facilities.inotify import CREATE, SETTLED, Folders
from reconciler.resource import Watch
from reconciler.resources.clock import Clocks
from reconciler.subjects.timekeeping import Ntp, Reading
from reconciler.subjects.units import object_path

_NAME = "org.freedesktop.timedate1"
_TIMEDATED = Peer(_NAME, "/org/freedesktop/timedate1", _NAME)
_TIMESYNC = "org.freedesktop.timesync1"
_TIMESYNCD = Peer(_TIMESYNC, "/org/freedesktop/timesync1", f"{_TIMESYNC}.Manager")
_SYSTEMD = "org.freedesktop.systemd1"
_UNITS = Peer(_SYSTEMD, "/org/freedesktop/systemd1", f"{_SYSTEMD}.Manager")
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_ACTIVATION = f"/usr/share/dbus-1/system-services/{_NAME}.service"
_NTP_UNITS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")  # each with systemd/ntp-units.d
_NTP_UNITS_MAX = 16  # a guest has one or two
_TIMESYNCD_UNIT = "systemd-timesyncd.service"
_TIMEDATED_UNIT = "systemd-timedated.service"
_ACTIVE = frozenset({"active", "activating", "reloading"})
_CALL_S = 20.0  # timedated is started for it, and a busy guest takes a while
_SWITCH_S = 10.0  # to start or stop a service takes a tenth of a second
_SWITCH_GAP_S = 0.05
_LINES_MAX = 64  # of a list or of /etc/adjtime, which has three
_ZONEINFO = "zoneinfo/"
_ADJTIME = ("0.0 0 0.0", "0")  # what an absent /etc/adjtime means, but for its mode
_NAME_CHARS_MAX = 128  # the longest zone has 32

T = TypeVar("T")


class _Clocks:
    """What both drivers share: the kernel's side, and the files that say how it is set up."""

    def __init__(self, etc: str = "/etc", zones: str = "/usr/share/zoneinfo", rtc: str = timex.RTC_SYSFS):
        self._etc, self._zones, self._rtc = etc, zones, rtc

    def read(self, zone: str | None) -> Reading:
        try:
            now, kernel = timex.moment(), timex.kernel()
            rtc_s = timex.rtc_s(self._rtc)
            rtc_local = self._rtc_local()
            rtc_ahead_s = None if rtc_s is None else _ahead_s(rtc_s, time.time(), local=rtc_local)
            return Reading(
                boot_s=now.boot_s,
                wall_s=now.wall_s,
                slept_s=now.slept_s,
                slewing_s=kernel.slewing_s,
                synchronised=kernel.synchronised,
                correcting_s=kernel.correcting_s,
                error_s=kernel.error_s,
                zone=self._zone(),
                zone_exists=zone is None or os.path.isfile(f"{self._zones}/{zone}"),
                ntp=self._ntp(),
                rtc_ahead_s=rtc_ahead_s,
                rtc_local=rtc_local,
            )
        except OSError as error:
            raise DriverError(f"cannot read the clock: {error.strerror}") from error

    def step(self, by_s: float) -> None:
        _kernel("step the clock", lambda: timex.step(by_s))

    def slew(self, by_s: float) -> float:
        return _kernel("slew the clock", lambda: timex.slew(by_s))

    def write_rtc(self) -> None:
        _kernel("set the RTC", lambda: timex.set_rtc(local=self._rtc_local()))

    def watches(self) -> tuple[Watch, ...]:
        # A symbolic link is never closed after writing: that it is there is all that is told of it.
        names = ("localtime", "timezone", "adjtime")
        return (timex.Steps(), Folders(self._etc, names=names, mask=SETTLED | CREATE))

    def _ntp(self) -> Ntp | None:
        return None

    def _zone(self) -> str:
        try:
            _, found, name = os.readlink(f"{self._etc}/localtime").rpartition(_ZONEINFO)
        except FileNotFoundError:
            return "UTC"  # what the C library takes then
        except OSError:
            found = name = ""  # a copy: EINVAL
        if not found:
            name = next(_lines(f"{self._etc}/timezone"), "")
        return name[:_NAME_CHARS_MAX]

    def _rtc_local(self) -> bool:
        return [*_lines(f"{self._etc}/adjtime")][2:3] == ["LOCAL"]


class Timedated(_Clocks, Clocks):
    needs = "timedated on the system bus"

    def __init__(self, **folders: str) -> None:
        super().__init__(**folders)
        self._candidates = tuple(_candidates(_NTP_UNITS))
        self._given_up = threading.Event()
        # From systemd alone: anybody on the bus may send signals that look like its own.
        properties = "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
        match = f"type='signal',sender='org.freedesktop.systemd1',{properties}"
        self._bus = Bus(*(f"{match},path='{object_path(unit)}'" for unit in self._candidates))

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and os.path.exists(_BOOTED) and os.path.exists(_ACTIVATION)

    def watches(self) -> tuple[Watch, ...]:
        # timesyncd makes its folder as it starts, a file there when it has the time, and leaves nothing.
        return (
            *super().watches(),
            self._bus.watch(),
            Folders("/run/systemd/timesync", mask=SETTLED | CREATE),
        )

    def cancel(self) -> None:
        self._given_up.set()
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def set_zone(self, zone: str) -> None:
        self._set("SetTimezone", "sb", zone, False)
        if self._zone() != zone:
            self._end_timedated()
            self._set("SetTimezone", "sb", zone, False)

    def set_rtc_mode(self, local: bool) -> None:
        fix_clock = False  # write the RTC by the clock, not the other way round
        self._set("SetLocalRTC", "bbb", local, fix_clock, False)
        if self._rtc_local() is not local:
            self._end_timedated()
            self._set("SetLocalRTC", "bbb", local, fix_clock, False)

    def set_ntp(self, on: bool) -> None:
        """Timedated starts the first service that is installed, stops all others, and does not wait."""
        self._set("SetNTP", "bb", on, False)
        self._await(lambda: (ntp := self._ntp()) is None or ntp.active is on)

    def _set(self, method: str, signature: str, *body: Any) -> None:
        self._bus.call(_TIMEDATED, method, signature, *body, timeout_s=_CALL_S)

    def _end_timedated(self) -> None:
        """It goes by the files as they were when it started, and so does nothing about a change by hand."""
        self._bus.call(_UNITS, "StopUnit", "ss", _TIMEDATED_UNIT, "replace")
        self._await(lambda: self._states(_TIMEDATED_UNIT).get(_TIMEDATED_UNIT) == "inactive")

    def _await(self, done: Callable[[], bool]) -> None:
        self._given_up.clear()
        ends_s = time.monotonic() + _SWITCH_S
        while not done() and time.monotonic() < ends_s:
            if self._given_up.wait(_SWITCH_GAP_S):
                raise DriverError("cannot wait for the clock's services any longer")

    def _states(self, *units: str) -> dict[str, str]:
        """Of those that are installed: active, inactive, and so on."""
        (rows,) = self._bus.call(_UNITS, "ListUnitsByNames", "as", list(units))
        return {row[0]: row[3] for row in rows if row[2] == "loaded"}

    def _ntp(self) -> Ntp | None:
        if not self._candidates:
            return None
        # Else systemd sends no signals; each time anew, as the connection may be another one.
        with suppress(BusError):  # subscribed already
            self._bus.call(_UNITS, "Subscribe")
        states = self._states(*self._candidates)
        loaded = [unit for unit in self._candidates if unit in states]
        if not loaded:
            return None
        service = next((unit for unit in loaded if states[unit] in _ACTIVE), loaded[0])
        active = states[service] in _ACTIVE
        if not active or service != _TIMESYNCD_UNIT:
            return Ntp(service=service, active=active)
        try:
            found = self._bus.properties(_TIMESYNCD)
        except (BusError, NoAnswer):
            return Ntp(service=service, active=True)  # it has not come to its bus yet
        server, distance_s = _heard(found)
        return Ntp(service=service, active=True, server=server, distance_s=distance_s)


class Files(_Clocks, Clocks):
    """For guests without systemd: the zone and the RTC's mode, but no NTP service is known there."""

    @classmethod
    def available(cls) -> bool:
        return True

    def set_zone(self, zone: str) -> None:
        fresh = f"{self._etc}/localtime.new"

        def link() -> None:
            with suppress(FileNotFoundError):
                os.unlink(fresh)
            os.symlink(f"{self._zones}/{zone}", fresh)
            os.rename(fresh, f"{self._etc}/localtime")
            if os.path.exists(f"{self._etc}/timezone"):  # Debian's copy of the name
                self._replace("timezone", f"{zone}\n")

        _kernel("set the zone", link)
        if self._rtc_local() and timex.rtc_s(self._rtc) is not None:
            self.write_rtc()  # timedated does so too

    def set_ntp(self, on: bool) -> None:
        raise Unsupported("cannot switch NTP: this guest has no timedated")

    def set_rtc_mode(self, local: bool) -> None:
        kept = [*_lines(f"{self._etc}/adjtime")][:2]
        lines = [*kept, *_ADJTIME[len(kept) :]]
        _kernel(
            "set the RTC's mode",
            lambda: self._replace("adjtime", "\n".join([*lines, "LOCAL" if local else "UTC", ""])),
        )
        self.write_rtc()

    def _replace(self, name: str, text: str) -> None:
        path = f"{self._etc}/{name}"
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with open(fd, "w") as file:
            os.fchmod(fd, 0o644)  # everybody reads it, whatever the agent's own umask
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(f"{path}.new", path)


def _kernel(what: str, do: Callable[[], T]) -> T:
    try:
        return do()
    except OSError as error:
        raise DriverError(f"cannot {what}: {error.strerror}") from error


def _ahead_s(rtc_s: float, wall_s: float, *, local: bool) -> float:
    """How far the RTC is ahead of the clock. It counts whole seconds: half of one is the best guess."""
    time.tzset()  # the zone may be another one by now
    zone_s = time.localtime(wall_s).tm_gmtoff if local else 0
    return rtc_s + 0.5 - zone_s - wall_s


def _lines(path: str) -> Iterator[str]:
    """The lines of a small file, without white space around them; none where it is absent."""
    try:
        with open(path, errors="replace") as file:
            for _ in range(_LINES_MAX):
                line = file.readline(_NAME_CHARS_MAX)
                if not line:
                    return
                yield line.strip()
    except FileNotFoundError:
        return


def _candidates(roots: tuple[str, ...]) -> list[str]:
    """The NTP services that timedated knows of, in its order; systemd-timedated(8), its lists."""
    lists: dict[str, str] = {}
    for folder in (f"{root}/systemd/ntp-units.d" for root in reversed(roots)):
        with suppress(FileNotFoundError, NotADirectoryError):
            lists |= {name: f"{folder}/{name}" for name in os.listdir(folder) if name.endswith(".list")}
    units = [line for _, path in sorted(lists.items()) for line in _lines(path) if line[:1] not in ("", "#")]
    return [*dict.fromkeys(units)][:_NTP_UNITS_MAX]


def _heard(found: Mapping[str, Any]) -> tuple[str, float]:
    """The server's name, and how far the time that it told may be off; RFC 5905, sections 8 and 11.1."""
    message = found.get("NTPMessage", ())
    server = str(found.get("ServerName", ""))[:_NAME_CHARS_MAX]
    if len(message) < 14 or not message[13]:  # packets; none has come
        return "", 0.0
    root_delay_us, root_dispersion_us = message[5], message[6]
    originate_us, receive_us, transmit_us, destination_us = message[8:12]
    delay_us = (destination_us - originate_us) - (transmit_us - receive_us)
    return server, (root_delay_us / 2 + root_dispersion_us + max(0, delay_us) / 2) / 1e6
