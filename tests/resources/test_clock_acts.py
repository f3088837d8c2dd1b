"""The clock's passes over a clock in memory: what the host says, steps, slews, sleep and patience."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from reconciler.errors import InvalidSpec, NotHeld
from reconciler.resource import Past
from reconciler.resources.clock import LOOK_S, PATIENCE_S, Clock, Clocks, Desired, Observed
from reconciler.subjects.timekeeping import Reading
from tests.resources.test_clock import HOST, NOW, TIMESYNCD


@dataclass
class FakeClocks:
    """A guest's clocks in memory. The boot clock is slewed with the wall clock, as the kernel does it."""

    reading: Reading = NOW
    true_s: float = NOW.wall_s
    acts: list[tuple[str, Any]] = field(default_factory=list)

    @classmethod
    def available(cls) -> bool:
        return True

    def read(self, zone: str | None) -> Reading:
        return replace(self.reading, zone_exists=zone != "Asia/Nowhere")

    def set_zone(self, zone: str) -> None:
        self.reading = replace(self.reading, zone=zone)

    def set_ntp(self, on: bool) -> None:
        self.reading = replace(self.reading, ntp=replace(TIMESYNCD, active=on))

    def set_rtc_mode(self, local: bool) -> None:
        self.acts.append(("mode", local))
        self._set_rtc()
        self.reading = replace(self.reading, rtc_local=local)

    def write_rtc(self) -> None:
        self.acts.append(("write", None))
        self._set_rtc()

    def _set_rtc(self) -> None:
        if self.reading.rtc_ahead_s is not None:
            self.reading = replace(self.reading, rtc_ahead_s=0.0)

    def step(self, by_s: float) -> None:
        self.acts.append(("step", by_s))
        now = self.reading
        rtc_ahead_s = None if now.rtc_ahead_s is None else now.rtc_ahead_s - by_s
        self.reading = replace(now, wall_s=now.wall_s + by_s, slewing_s=0.0, rtc_ahead_s=rtc_ahead_s)

    def slew(self, by_s: float) -> float:
        left_s = self.reading.slewing_s
        self.acts.append(("slew", by_s))
        self.reading = replace(self.reading, slewing_s=by_s)
        return left_s

    def go_on(self, s: float, slewed_s: float = 0.0) -> None:
        now = self.reading
        self.true_s += s
        s += slewed_s
        self.reading = replace(
            now, boot_s=now.boot_s + s, wall_s=now.wall_s + s, slewing_s=now.slewing_s - slewed_s
        )

    def offer(self, **other: Any) -> dict[str, Any]:
        boot_s, awake_s = self.reading.boot_s, self.reading.boot_s - self.reading.slept_s
        return {"bootClock": boot_s, "awakeClock": awake_s, "time": self.true_s, "error": 0.001} | other


def go(kind: Clock, desired: Desired, generation: int = 7) -> str:
    """One pass; the reason after it."""
    past = Past(generation=generation)
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, past))):
        kind.act(action)
    observed = kind.observe(desired, past)
    return kind.verdict(desired, observed, kind.diff(desired, observed)).reason


def test_the_host_sets_a_clock_that_is_wrong() -> None:
    guest = FakeClocks(true_s=NOW.wall_s + 90.0)
    port: Clocks = guest
    kind = Clock(port)
    assert go(kind, HOST) == "NotSynchronised"
    assert kind.take_time(guest.offer()) == {"ahead": -90.0, "error": 0.001}
    assert go(kind, HOST) == "InSync"
    assert guest.reading.wall_s == guest.true_s
    assert guest.acts == [("slew", 0.0), ("step", 90.0), ("write", None)]
    guest.acts.clear()
    assert go(kind, HOST) == "InSync"
    assert guest.acts == []


def test_the_rtc_gets_the_right_time_with_its_mode_and_after_the_step() -> None:
    guest = FakeClocks(true_s=NOW.wall_s + 90.0)
    guest.reading = replace(guest.reading, rtc_ahead_s=90.0)
    kind, desired = Clock(guest), replace(HOST, rtc="local")
    kind.observe(desired, Past(generation=7))
    kind.take_time(guest.offer())
    assert go(kind, desired) == "InSync"
    assert guest.acts[1:] == [("step", 90.0), ("mode", True)]
    assert guest.reading.rtc_ahead_s == 0.0


def test_a_clock_set_by_hand_is_set_back_without_asking_the_host_again() -> None:
    guest = FakeClocks()
    kind = Clock(guest)
    go(kind, HOST)
    kind.take_time(guest.offer())
    guest.go_on(20.0)
    guest.reading = replace(guest.reading, wall_s=guest.reading.wall_s + 3600.0)
    assert go(kind, HOST) == "InSync"
    assert ("step", pytest.approx(-3600.0)) in guest.acts


def test_a_slew_under_way_is_accounted_for() -> None:
    guest = FakeClocks(true_s=NOW.wall_s + 0.4)
    kind = Clock(guest)
    go(kind, HOST)
    kind.take_time(guest.offer())
    assert go(kind, HOST) == "InSync"
    guest.go_on(200.0, slewed_s=0.1)
    seen = kind.observe(HOST, Past(generation=7))
    assert seen.estimate is not None
    assert seen.estimate.ahead_s == pytest.approx(-0.3)
    kind.take_time(guest.offer())  # measured in the midst of it
    guest.go_on(600.0, slewed_s=0.3)
    seen = kind.observe(HOST, Past(generation=7))
    assert seen.estimate is not None
    assert seen.estimate.ahead_s == pytest.approx(0.0, abs=1e-6)
    assert guest.acts == [("slew", pytest.approx(0.4))]


def test_sleep_spoils_what_the_host_said() -> None:
    guest = FakeClocks()
    kind = Clock(guest)
    go(kind, HOST)
    kind.take_time(guest.offer())
    assert go(kind, HOST) == "InSync"
    before = kind.observe(HOST, Past(generation=7))
    guest.go_on(60.0)
    guest.reading = replace(guest.reading, slept_s=59.0)
    after = kind.observe(HOST, Past(generation=7))
    assert [notice.reason for notice in Clock.notices(before, after)] == ["WokeUp"]
    assert Clock.verdict(HOST, after, ()).waiting
    kind.take_time(guest.offer())
    assert go(kind, HOST) == "InSync"


def test_what_was_measured_before_a_sleep_is_not_taken_after_it() -> None:
    guest = FakeClocks()
    kind = Clock(guest)
    go(kind, HOST)
    measured = guest.offer()
    guest.go_on(20.0)
    guest.reading = replace(guest.reading, slept_s=19.0)
    with pytest.raises(NotHeld, match="slept"):
        kind.take_time(measured)
    assert go(kind, HOST) == "NotSynchronised"
    kind.take_time(guest.offer())
    assert go(kind, HOST) == "InSync"


def test_what_a_slew_has_done_on_the_way_is_in_the_bound() -> None:
    guest = FakeClocks(true_s=NOW.wall_s + 0.4)
    kind = Clock(guest)
    go(kind, HOST)
    kind.take_time(guest.offer())
    assert go(kind, HOST) == "InSync"
    measured = guest.offer()
    guest.go_on(59.0, slewed_s=0.0295)
    told = kind.take_time(measured)
    assert abs(told["ahead"] - (guest.reading.wall_s - guest.true_s)) <= told["error"]


def test_what_the_host_is_told_seldom_changes() -> None:
    """A day of offers, over a channel as it is, of a clock that is 10 ppm too fast."""
    guest, chance = FakeClocks(), Random(7)
    kind = Clock(guest)
    go(kind, HOST)
    shown = []
    for _ in range(24 * 60 * 2):
        guest.go_on(30.0)
        guest.true_s -= 30.0 * 10e-6
        half_s = abs(chance.gauss(1.5e-3, 0.6e-3)) / 2
        kind.take_time(guest.offer(error=half_s, time=guest.true_s + chance.uniform(-half_s, half_s)))
        assert go(kind, HOST) == "InSync"
        seen = kind.observe(HOST, Past(generation=7))
        told = Clock.show(seen)
        assert abs(told["ahead"] - (guest.reading.wall_s - guest.true_s)) <= told["error"] + 1e-5
        shown.append((told["ahead"], told["error"]))
    assert sum(a != b for a, b in pairwise(shown)) < 60


def test_patience_is_for_each_document() -> None:
    guest = FakeClocks()
    kind = Clock(guest)
    assert go(kind, HOST) == "NotSynchronised"
    guest.go_on(PATIENCE_S - 1)
    seen = kind.observe(HOST, Past(generation=7))
    assert Clock.due_s(HOST, seen) == pytest.approx(guest.reading.boot_s + 1)
    guest.go_on(1)
    assert go(kind, HOST) == "NoTimeSource"
    kind.observe(HOST, Past(generation=8, preview=True))
    assert go(kind, HOST) == "NoTimeSource"
    assert go(kind, HOST, generation=8) == "NotSynchronised"
    seen = kind.observe(HOST, Past(generation=8))
    assert Clock.due_s(HOST, seen) == guest.reading.boot_s + LOOK_S


@pytest.mark.parametrize(
    ("other", "error"),
    [
        pytest.param({"time": "now"}, InvalidSpec, id="no number"),
        pytest.param({"time": True}, InvalidSpec, id="a boolean"),
        pytest.param({"time": 5.0}, InvalidSpec, id="1970"),
        pytest.param({"time": 1e300}, InvalidSpec, id="beyond all calendars"),
        pytest.param({"error": -1.0}, InvalidSpec, id="an error below zero"),
        pytest.param({"error": 7200.0}, InvalidSpec, id="a host that does not know"),
        pytest.param({"bootClock": 2000.0}, NotHeld, id="of the future"),
        pytest.param({"bootClock": 900.0}, NotHeld, id="too long ago"),
        pytest.param({"awakeClock": 990.0}, NotHeld, id="a sleep that is not known of"),
        pytest.param({"awakeClock": None}, InvalidSpec, id="a host that does not give it back"),
    ],
)
def test_what_makes_no_sense_is_not_taken(other: dict[str, Any], error: type[Exception]) -> None:
    guest = FakeClocks()
    kind = Clock(guest)
    with pytest.raises(error, match="cannot take the time: "):
        kind.take_time(guest.offer(**other))
    assert go(kind, HOST) == "NotSynchronised"


def test_not_managed_is_not_looked_at() -> None:
    kind = Clock(FakeClocks(true_s=0.0))
    seen = kind.observe(Desired(), Past())
    assert seen == Observed()
    assert Clock.show(seen) == {}
    assert Clock.due_s(Desired(), seen) is None
