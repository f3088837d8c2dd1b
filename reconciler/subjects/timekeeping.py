"""How wrong a clock is, and how sure that is: readings, the host's time, estimates; pure.

What is off is counted in seconds that the guest's clock is ahead of the true time, so a
negative number is behind. An error is a bound, to either side.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.errors import InvalidSpec, NotHeld
from reconciler.resource import Json

DRIFT_PPM = 100  # of a clock that nobody disciplines; NTP assumes 15 of one that is
RTC_OFF_S = 2.0  # it counts whole seconds, so two are the least that is surely wrong
NAP_S_MIN = 0.1  # more than two clocks that are read one after the other can differ
REFERENCE_S_MAX = 60.0  # from the host's measurement to us; both have happened just now
ERROR_S_MAX = 3600.0  # a host that knows no better does not know the time
_EPOCHS = (946_684_800, 4_102_444_800)  # 2000 to 2100: a host whose clock says otherwise has none


@dataclass(frozen=True, kw_only=True)
class Ntp:
    """The NTP service of a guest; its system may have several, and switches one."""

    service: str  # a unit's name
    active: bool
    server: str = ""  # that it listens to
    distance_s: float = 0.0  # to that server's own source: the error that the kernel is not told of

    def __str__(self) -> str:
        if not self.active:
            return f"{self.service} does not run"
        return f"{self.service} listens to {self.server or 'no server yet'}"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The clocks of a guest, read together."""

    boot_s: float
    wall_s: float
    slept_s: float = 0.0  # of the boot clock
    slewing_s: float = 0.0  # still to be gained, or lost where negative
    synchronised: bool = False  # as the kernel has it
    correcting_s: float = 0.0  # what NTP has found and the kernel still makes up for
    error_s: float = 0.0  # the kernel's bound
    zone: str = ""  # empty where nobody knows its name
    zone_exists: bool = True  # the one that was asked about
    ntp: Ntp | None = None  # None: no such service is installed
    rtc_ahead_s: float | None = None  # of the clock, to the second; None: there is no RTC
    rtc_local: bool = False

    def shown(self) -> dict[str, Json]:
        """As the host is told it: nothing in it moves with time."""
        shown: dict[str, Json] = {"synchronised": self.synchronised}
        if self.zone:
            shown["zone"] = self.zone
        if self.ntp is not None:
            shown["ntp"] = {"service": self.ntp.service, "active": self.ntp.active}
            shown["ntp"] |= {"server": self.ntp.server} if self.ntp.server else {}
        if self.rtc_ahead_s is not None:
            off_s = round(self.rtc_ahead_s) if abs(self.rtc_ahead_s) >= RTC_OFF_S else 0
            shown["rtc"] = {"mode": "local" if self.rtc_local else "utc", "ahead": off_s}
        return shown


@dataclass(frozen=True)
class Estimate:
    """How wrong the clock is, by somebody who should know."""

    by: str
    ahead_s: float  # of the true time; negative: behind
    error_s: float  # more or less

    def shown(self) -> dict[str, Json]:
        """As the host is told it: coarse enough to keep still, and true as a bound."""
        error_s = coarse(self.error_s * 1.5)
        ahead_s = round(self.ahead_s / error_s * 2) * error_s / 2  # so it is moved by a quarter at most
        return {"source": self.by, "ahead": round(ahead_s, 6), "error": round(error_s, 6)}


@dataclass(frozen=True)
class Reference:
    """What the host's clock was at a time of our boot clock."""

    boot_s: float
    host_s: float
    error_s: float
    slept_s: float  # until then
    slewing_s: float  # what was to be slewed from then on, all in all


def reference(params: Mapping[str, Json], now: Reading) -> Reference:
    """Of `{bootClock, time, error}`, as a host says it. Raises InvalidSpec, and NotHeld for old news."""
    boot_s, host_s, error_s = (_number(params, name) for name in ("bootClock", "time", "error"))
    if not _EPOCHS[0] <= host_s <= _EPOCHS[1]:
        raise InvalidSpec("cannot take the time: it is none of this century")
    if not 0 <= error_s <= ERROR_S_MAX:
        raise InvalidSpec(f"cannot take the time: error is not from 0 to {ERROR_S_MAX:g} s")
    if not now.boot_s - REFERENCE_S_MAX <= boot_s <= now.boot_s:
        raise NotHeld("cannot take the time: bootClock is not of the last minute of this boot")
    return Reference(boot_s, host_s, error_s, now.slept_s, now.slewing_s)


def _number(params: Mapping[str, Json], name: str) -> float:
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _EPOCHS[1]:
        raise InvalidSpec(f"cannot take the time: {name} is not a number of seconds")
    return float(value)


def by_host(host: Reference | None, now: Reading) -> Estimate | None:
    """How wrong the clock is by the host's; None where that is not known, or no more."""
    # On waking the kernel sets the boot clock by the RTC, which is good for seconds only.
    if host is None or now.slept_s > host.slept_s + NAP_S_MIN:
        return None
    # A slew moves the boot clock as well, so it does not show in their difference.
    slewed_s = host.slewing_s - now.slewing_s
    ahead_s = (now.wall_s - now.boot_s) - (host.host_s - host.boot_s) + slewed_s
    return Estimate("host", ahead_s, host.error_s + (now.boot_s - host.boot_s) * DRIFT_PPM / 1e6)


def by_rtc(now: Reading) -> Estimate | None:
    """By the RTC, which counts whole seconds; None where there is none."""
    return None if now.rtc_ahead_s is None else Estimate("rtc", -now.rtc_ahead_s, 0.5)


def by_kernel(now: Reading) -> Estimate | None:
    """By whoever disciplines the clock and has told the kernel; None where nobody has."""
    if not now.synchronised:
        return None
    distance_s = now.ntp.distance_s if now.ntp else 0.0
    return Estimate("ntp" if now.ntp else "kernel", -now.correcting_s, now.error_s + distance_s)


def coarse(seconds: float) -> float:
    """Rounded up to 1, 2 or 5 of a power of ten, so that it changes seldom."""
    unit = 1e-6
    while unit * 10 < seconds:
        unit *= 10
    return next((unit * part for part in (1, 2, 5) if seconds <= unit * part), unit * 10)
