"""Clock: the guest's time and its zone, and who keeps the time right.

The rules of this kind:

1. One source at a time: `source` has NTP off, as two would pull the clock to and fro.
2. Whatever is measured has a bound. A clock is off by more than `maxOffset` if that holds
   at the near end of the bound, and right if the bound itself is small enough.
3. To step is for what is off by more than `maxOffset`. From half of it on the clock is
   slewed, so that it seldom comes to a step; less than that is left alone.
4. The host's time is a pair: the guest's boot clock, and what the host's clock was then.
   Nobody steps the boot clock, so the pair is good for a while, until the guest sleeps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Action, Change, Driver, Json, Notice, Past, Phase, Resource, Rules, Verdict
from reconciler.subjects.timekeeping import (
    FIELDS,
    MAX_OFFSET_S,
    RTC_ERROR_S,
    RTC_OFF_S,
    SHORT,
    Estimate,
    Reading,
    Reference,
    by_host,
    by_kernel,
    by_rtc,
    reference,
    steadied,
)

Source = Literal["host", "rtc"]

PATIENCE_S = 120.0  # NTP needs some seconds once there is a network; a host offers its time every 30 s
LOOK_S = 15.0  # while we wait: not every NTP service tells that it has found the time
STEP_SEEN_S = 0.1  # what is told as a step, not as a slew between two looks
NAP_S = 1.0  # what is told as sleep
TOLD_PART = 10  # of maxOffset: an error that is smaller matters to nobody, and would seldom be the same


@dataclass(frozen=True, kw_only=True)
class Desired:
    """None: not managed."""

    managed: bool = False
    zone: str | None = None
    ntp: bool | None = None
    source: Source | None = None
    synced: bool = False
    max_offset_s: float = MAX_OFFSET_S
    rtc: Literal["utc", "local"] | None = None


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The guest's clocks, and what is known of the true time; nothing where nobody asks."""

    reading: Reading | None = None
    estimate: Estimate | None = None
    told: Estimate | None = None  # what the host is told of it
    lacking_since_s: float | None = None  # since when nobody has known the time well enough


class Clocks(Driver, Protocol):
    """What this kind asks of the OS."""

    def read(self, zone: str | None) -> Reading:
        """All of them now; `zone_exists` is about `zone`."""

    def set_zone(self, zone: str) -> None: ...

    def set_ntp(self, on: bool) -> None:
        """Start or stop the NTP service, now and at each boot."""

    def set_rtc_mode(self, local: bool) -> None:
        """Keep the RTC in local time or in UTC, and write the time into it."""

    def write_rtc(self) -> None: ...

    def step(self, by_s: float) -> None:
        """Put the clock forward, or back, at once; it ends a slew."""

    def slew(self, by_s: float) -> float:
        """Let the clock gain, or lose, little by little; what was left of the slew before."""


class Clock(Resource[Desired, Observed, Clocks], kind="clock"):
    summary = "The guest's time and its zone, and who keeps the time right."
    verbs = frozenset({"set", "step", "step-back", "slew", "write"})
    earliest = Phase.CHANGE
    short: ClassVar[Rules] = SHORT
    rules: ClassVar[Rules] = FIELDS
    act_deadline_s = 60.0  # timedated may have to be ended, started and asked again, on a busy guest

    def __init__(self, driver: Clocks) -> None:
        super().__init__(driver)
        self._reference: Reference | None = None
        self._told: Estimate | None = None
        self._lacking: tuple[int, float] | None = None  # the generation, and since when

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"state": short} if short == "synced" else {"zone": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        source, synced, ntp = normal.get("source"), "state" in normal, normal.get("ntp")
        if source and ntp:
            raise InvalidSpec(Fault(0, 0, "ntp", "two would set one clock: write ntp: false, or no source"))
        max_offset_s = float(normal.get("maxOffset", MAX_OFFSET_S))
        if source == "rtc" and max_offset_s < RTC_ERROR_S:
            raise InvalidSpec(Fault(0, 0, "maxOffset", "must be 500ms or more: the RTC counts whole seconds"))
        if ntp is None:
            ntp = False if source else True if synced else None
        return Desired(
            managed=True,
            zone=normal.get("zone"),
            ntp=ntp,
            source=source,
            synced=synced,
            max_offset_s=max_offset_s,
            rtc=normal.get("rtc"),
        )

    @staticmethod
    def wants_time(desired: Desired) -> bool:
        """Whether the host's time is of any use."""
        return desired.source == "host"

    def take_time(self, params: Mapping[str, Json]) -> Json:
        """Note what the host's clock was, and say how far ours was from it. Raises InvalidSpec, NotHeld."""
        driver: Clocks = self.driver
        now = driver.read(None)
        self._reference = reference(params, now)
        estimate = by_host(self._reference, now)
        assert estimate is not None
        return {"ahead": estimate.ahead_s, "error": estimate.error_s}

    def observe(self, desired: Desired, past: Past) -> Observed:
        if not desired.managed:
            self._reference = self._told = self._lacking = None
            return Observed()
        driver: Clocks = self.driver
        reading = driver.read(desired.zone)
        estimate = _estimate(desired, reading, self._reference)
        least_s = desired.max_offset_s / TOLD_PART if desired.source else 0.0
        told = estimate and steadied(self._told, estimate, least_s)
        lacking = None
        if (desired.synced or desired.source) and not _known(desired, estimate):
            lacking = (past.generation, reading.boot_s)
            if self._lacking is not None and self._lacking[0] == past.generation:
                lacking = self._lacking
        if not past.preview:
            self._lacking, self._told = lacking, told
        since_s = lacking[1] if lacking else None
        return Observed(reading=reading, estimate=estimate, told=told, lacking_since_s=since_s)

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        now = observed.reading
        if now is None:
            return ()
        changes = []
        if desired.zone not in (None, now.zone) and now.zone_exists:
            changes.append(Change("clock", "zone", desired.zone, now.zone))
        if desired.ntp is not None and now.ntp is not None and now.ntp.active is not desired.ntp:
            changes.append(Change("clock", "ntp", desired.ntp, now.ntp.active))
        surely_s = _surely_s(observed) if desired.source else 0.0
        ahead_s = observed.estimate.ahead_s if observed.estimate else 0.0
        if surely_s > desired.max_offset_s:
            changes.append(Change("clock", "time", 0, ahead_s))
        elif surely_s > desired.max_offset_s / 2:
            changes.append(Change("clock", "rate", 0, ahead_s))
        # After the step: with its mode the RTC gets the clock's time.
        if desired.rtc is not None and now.rtc_local is not (desired.rtc == "local"):
            changes.append(Change("rtc", "mode", desired.rtc, "local" if now.rtc_local else "utc"))
        if _rtc_is_wrong(desired, observed, stepped=surely_s > desired.max_offset_s):
            changes.append(Change("rtc", "time", 0, now.rtc_ahead_s))
        return tuple(changes)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        actions = []
        for change in changes:
            match change.target, change.field, change.have:
                case "clock", "time", float(ahead_s):
                    actions.append(Action("step" if ahead_s < 0 else "step-back", "clock", value=-ahead_s))
                case "clock", "rate", float(ahead_s):
                    actions.append(Action("slew", "clock", value=-ahead_s))
                case "rtc", "time", _:
                    actions.append(Action("write", "rtc"))
                case "rtc", "mode", _:
                    actions.append(Action("set", "rtc", value=change.want))
                case _:
                    actions.append(Action("set", change.field, value=change.want))
        return tuple(actions)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        now, estimate = observed.reading, observed.estimate
        if now is None:
            return observed  # nothing is asked about any more
        match action.verb, action.target:
            case "set", "zone":
                now = replace(now, zone=action.value)
            case "set", "ntp":
                now = replace(now, ntp=now.ntp and replace(now.ntp, active=action.value))
            case "set", "rtc":
                ahead_s = None if now.rtc_ahead_s is None else 0.0
                now = replace(now, rtc_local=action.value == "local", rtc_ahead_s=ahead_s)
            case "write", _:
                now = replace(now, rtc_ahead_s=None if now.rtc_ahead_s is None else 0.0)
            case "slew", _:
                now = replace(now, slewing_s=action.value)
            case _:
                ahead_s = None if now.rtc_ahead_s is None else now.rtc_ahead_s - action.value
                now = replace(now, slewing_s=0.0, wall_s=now.wall_s + action.value, rtc_ahead_s=ahead_s)
                estimate = estimate and replace(estimate, ahead_s=estimate.ahead_s + action.value)
        return replace(observed, reading=now, estimate=estimate, told=None)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        now, estimate = observed.reading, observed.estimate
        if now is None:
            return Verdict(True, "InSync")
        if not now.zone_exists:
            words = f"this guest's tz database has no {desired.zone}"
            return Verdict(False, "NoSuchZone", words, failed=True)
        if desired.ntp and now.ntp is None and not now.synchronised:
            words = "NTP is wanted, and no service for it is installed, such as systemd-timesyncd or chrony"
            return Verdict(False, "NoTimeSource", words, failed=True)
        if drifted := [_said(change) for change in changes if change.field != "rate"]:
            return Verdict(False, "Drifted", ", ".join(drifted))
        if observed.lacking_since_s is None:
            zone = now.zone or "a zone without a name"
            return Verdict(True, "InSync", f"{zone}, by {estimate.by}" if estimate else zone)
        waiting = now.boot_s < observed.lacking_since_s + PATIENCE_S
        reason = "NotSynchronised" if waiting else "NoTimeSource"
        return Verdict(False, reason, _lack(desired, observed), waiting=waiting, failed=not waiting)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        now, since_s = observed.reading, observed.lacking_since_s
        if now is None or since_s is None or now.boot_s >= since_s + PATIENCE_S:
            return None
        return min(now.boot_s + LOOK_S, since_s + PATIENCE_S)

    @staticmethod
    def show(observed: Observed) -> Json:
        now, estimate = observed.reading, observed.estimate
        if now is None:
            return {}
        told = observed.told or (estimate and steadied(None, estimate))
        return now.shown() | (told.shown() if told else {})

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        old, new = before.reading, after.reading
        if old is None or new is None:
            return ()
        out = []
        if (slept_s := new.slept_s - old.slept_s) >= NAP_S:
            out.append(Notice("WokeUp", f"after {slept_s:.0f} s of sleep"))
        stepped_s = (new.wall_s - new.boot_s) - (old.wall_s - old.boot_s)
        if abs(stepped_s) >= STEP_SEEN_S:
            out.append(Notice("ClockStepped", f"by {stepped_s:+.3f} s"))
        if old.zone != new.zone:
            out.append(Notice("ZoneChanged", f"{new.zone or 'unknown'}, was {old.zone or 'unknown'}"))
        if old.synchronised != new.synchronised:
            reason = "ClockSynchronised" if new.synchronised else "ClockUnsynchronised"
            out.append(Notice(reason, _who(new)))
        return tuple(out)

    def act(self, action: Action) -> None:
        driver: Clocks = self.driver
        match action.verb, action.target:
            case "set", "zone":
                driver.set_zone(action.value)
            case "set", "ntp":
                driver.set_ntp(action.value)
            case "set", _:
                driver.set_rtc_mode(action.value == "local")
            case "write", _:
                driver.write_rtc()
            case "slew", _:
                self._slewed(driver.slew(action.value), action.value)
            case _:
                self._slewed(driver.slew(0.0), 0.0)
                driver.step(action.value)

    def _slewed(self, left_s: float, by_s: float) -> None:
        """Keep the reference right: a slew has been replaced by another."""
        if self._reference is not None:
            slewing_s = self._reference.slewing_s - left_s + by_s
            self._reference = replace(self._reference, slewing_s=slewing_s)


def _estimate(desired: Desired, now: Reading, reference: Reference | None) -> Estimate | None:
    """By whom the document names, else by whoever has told the kernel."""
    if desired.source == "host":
        return by_host(reference, now)
    return by_rtc(now) if desired.source == "rtc" else by_kernel(now)


def _surely_s(observed: Observed) -> float:
    """How far the clock will be off at least, once a slew under way has ended."""
    if observed.estimate is None or observed.reading is None:
        return 0.0
    return abs(observed.estimate.ahead_s + observed.reading.slewing_s) - observed.estimate.error_s


def _known(desired: Desired, estimate: Estimate | None) -> bool:
    """Whether the time is known well enough; of NTP the kernel's word will do, for its bound is very wide."""
    if estimate is None:
        return False
    if desired.source:
        return estimate.error_s <= desired.max_offset_s
    return abs(estimate.ahead_s) - estimate.error_s <= desired.max_offset_s


def _rtc_is_wrong(desired: Desired, observed: Observed, *, stepped: bool) -> bool:
    """Whether the clock, which is right or is about to be, is to be written into the RTC."""
    now, estimate = observed.reading, observed.estimate
    if now is None or now.rtc_ahead_s is None or desired.source == "rtc":
        return False
    if desired.rtc is not None and now.rtc_local is not (desired.rtc == "local"):
        return False  # to set the mode writes it too
    right = estimate is not None and abs(estimate.ahead_s) + estimate.error_s < RTC_OFF_S
    return stepped or (desired.rtc is not None and right and abs(now.rtc_ahead_s) >= RTC_OFF_S)


def _said(change: Change) -> str:
    match change.target, change.field, change.have:
        case _, "time", float(off_s):
            name = "the clock" if change.target == "clock" else "the RTC"
            return f"{name} is {abs(off_s):.3f} s {'ahead' if off_s > 0 else 'behind'}"
        case _, "ntp", _:
            return f"NTP is {'on' if change.have else 'off'}"
        case _:
            name = "the RTC's mode" if change.target == "rtc" else "the zone"
            return f"{name} is {change.have or 'unknown'}, not {change.want}"


def _lack(desired: Desired, observed: Observed) -> str:
    """Why the time is not known."""
    now, estimate = observed.reading, observed.estimate
    if now is None:
        return ""
    if estimate is not None and desired.source:
        return f"the {desired.source}'s time is known to {estimate.error_s:.3f} s, not to maxOffset"
    if estimate is not None:
        return f"the clock is {abs(estimate.ahead_s):.3f} s off; {_who(now)}"
    if desired.source == "host":
        return "no host has offered its time since the guest started, slept or was given this document"
    return "this guest has no RTC" if desired.source == "rtc" else f"not synchronised: {_who(now)}"


def _who(now: Reading) -> str:
    return str(now.ntp or "no NTP service is installed")
