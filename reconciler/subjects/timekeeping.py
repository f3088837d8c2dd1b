"""How wrong a clock is, and how sure that is: readings, the host's time, estimates; pure.

What is off is counted in seconds that the guest's clock is ahead of the true time, so a
negative number is behind. An error is a bound, to either side.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.errors import InvalidSpec, NotHeld
from reconciler.resource import Json, Rules

DRIFT_PPM = 100  # of a clock that nobody disciplines; NTP assumes 15 of one that is
SLEW_PPM = 500  # as the kernel does it; it moves the boot clock too
RTC_ERROR_S = 0.5  # it counts whole seconds
RTC_OFF_S = 2.0  # it counts whole seconds, so two are the least that is surely wrong
NAP_S_MIN = 0.1  # more than two clocks that are read one after the other can differ
REFERENCE_S_MAX = 60.0  # from the host's measurement to us; both have happened just now
WIDE = 10  # what was told is kept, for the host's sake, until it is that much wider than it need be
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
        """As the host is told it, once it is `steadied`."""
        return {"source": self.by, "ahead": round(self.ahead_s, 6), "error": round(self.error_s, 6)}


@dataclass(frozen=True)
class Reference:
    """What the host's clock was at a time of our boot clock."""

    boot_s: float
    host_s: float
    error_s: float
    slept_s: float  # until then
    slewing_s: float  # what was to be slewed from then on, all in all


def reference(params: Mapping[str, Json], now: Reading) -> Reference:
    """Of `{bootClock, awakeClock, time, error}`, as a host says it.

    Raises InvalidSpec, and NotHeld for old news.
    """
    names = ("bootClock", "awakeClock", "time", "error")
    boot_s, awake_s, host_s, error_s = (_number(params, name) for name in names)
    if not _EPOCHS[0] <= host_s <= _EPOCHS[1]:
        raise InvalidSpec("cannot take the time: it is none of this century")
    if not 0 <= error_s <= ERROR_S_MAX:
        raise InvalidSpec(f"cannot take the time: error is not from 0 to {ERROR_S_MAX:g} s")
    if not now.boot_s - REFERENCE_S_MAX <= boot_s <= now.boot_s:
        raise NotHeld("cannot take the time: bootClock is not of the last minute of this boot")
    if abs(now.slept_s - (boot_s - awake_s)) >= NAP_S_MIN:
        raise NotHeld("cannot take the time: the guest has slept since bootClock")
    # What is left of a slew is known as of now, and how much of it went by on the way is not.
    slewed_s = (now.boot_s - boot_s) * SLEW_PPM / 1e6
    return Reference(boot_s, host_s, error_s + slewed_s, now.slept_s, now.slewing_s)


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
    return None if now.rtc_ahead_s is None else Estimate("rtc", -now.rtc_ahead_s, RTC_ERROR_S)


def by_kernel(now: Reading) -> Estimate | None:
    """By whoever disciplines the clock and has told the kernel; None where nobody has."""
    if not now.synchronised:
        return None
    distance_s = now.ntp.distance_s if now.ntp else 0.0
    return Estimate("ntp" if now.ntp else "kernel", -now.correcting_s, now.error_s + distance_s)


def steadied(told: Estimate | None, fresh: Estimate, least_s: float = 0.0) -> Estimate:
    """What the host is told: as it was told before, while that holds and is not far too wide.

    A bound that holds, coarse enough to go on holding, and of `least_s` at least.
    """
    error_s = coarse(max(fresh.error_s * 1.5, least_s))
    if told is not None and told.by == fresh.by and told.error_s <= error_s * WIDE:
        holds = abs(fresh.ahead_s - told.ahead_s) + fresh.error_s <= told.error_s
        if holds:
            return told
    ahead_s = round(fresh.ahead_s / error_s * 2) * error_s / 2  # so it is moved by a quarter at most
    return Estimate(fresh.by, ahead_s, error_s)


def coarse(seconds: float) -> float:
    """Rounded up to 1, 2 or 5 of a power of ten, so that it changes seldom."""
    unit = 1e-6
    while unit * 10 < seconds:
        unit *= 10
    return next((unit * part for part in (1, 2, 5) if seconds <= unit * part), unit * 10)


# What a document says

_NAME = "[A-Za-z0-9][A-Za-z0-9_+-]*"
_ZONE = rf"[A-Z][A-Za-z0-9_+-]*(?:/{_NAME}){{0,2}}"
_ZONE_WORDS = "a zone of the tz database such as Europe/Berlin"
_ZONE_CHARS_MAX = 64  # the longest has 32
MAX_OFFSET_S = 0.5  # NTP's own clients step from 0.128 s (ntpd) or 0.4 s (timesyncd) on

SHORT: Rules = {
    "type": "string",
    "regex": f"synced|{_ZONE}",
    "maxlength": _ZONE_CHARS_MAX,
    "meta": {
        "expected": f"synced, or {_ZONE_WORDS}",
        "description": "The clock is kept right by NTP, or the guest's zone: clock: Europe/Berlin.",
    },
}
FIELDS: Rules = {
    "zone": {
        "type": "string",
        "regex": _ZONE,
        "maxlength": _ZONE_CHARS_MAX,
        "meta": {"expected": _ZONE_WORDS, "description": "The timezone of the whole guest."},
    },
    "state": {
        "type": "string",
        "allowed": ["synced"],
        "meta": {"description": "The clock is right: by NTP, unless source or ntp say otherwise."},
    },
    "ntp": {
        "type": "boolean",
        "meta": {
            "description": "Whether the guest's NTP service runs, now and after each boot.",
            "default": "on with state: synced, off with a source, else as it is",
        },
    },
    "source": {
        "type": "string",
        "allowed": ["host", "rtc"],
        "meta": {"description": "Who sets the clock: the host over the channel, or the guest's RTC."},
    },
    "maxOffset": {
        "type": "duration",
        "min": 0.001,
        "max": 3600,
        "meta": {
            "description": "From there on a source steps the clock; below, it slews it or lets it be.",
            "default": "500ms",
        },
    },
    "rtc": {
        "type": "string",
        "allowed": ["utc", "local"],
        "meta": {"description": "What the RTC is kept in; it is set where it is off by seconds."},
    },
}
