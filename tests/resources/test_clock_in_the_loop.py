"""The clock through the real loop, whose agent is killed before and after each thing that it does."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from reconciler.errors import ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.policy import Policy
from reconciler.resources.clock import Clock, Clocks
from reconciler.store import Store
from tests.lamps import Crash, MemoryDisk, written
from tests.resources.test_clock import NOW, TIMESYNCD
from tests.resources.test_clock_acts import FakeClocks

BEHIND_S = 90.0
WANTED = {"zone": "Asia/Tokyo", "source": "host", "rtc": "local", "ntp": False}


@dataclass
class Mortal(FakeClocks):
    """Kills who acts on it, at its Nth moment; each act has one before it and one after."""

    deadly: int = 0
    moments: int = 0

    def _passes(self) -> Iterator[None]:
        for _ in range(2):
            self.moments += 1
            if self.moments == self.deadly:
                raise Crash
            yield

    def _around(self, act: Any, *arguments: Any) -> Any:
        before, result = self._passes(), None
        next(before)
        result = act(*arguments)
        next(before)
        return result

    def set_zone(self, zone: str) -> None:
        self._around(super().set_zone, zone)

    def set_ntp(self, on: bool) -> None:
        self._around(super().set_ntp, on)

    def set_rtc_mode(self, local: bool) -> None:
        self._around(super().set_rtc_mode, local)

    def write_rtc(self) -> None:
        self._around(super().write_rtc)

    def step(self, by_s: float) -> None:
        self._around(super().step, by_s)

    def slew(self, by_s: float) -> float:
        return float(self._around(super().slew, by_s))


PORT: Clocks = Mortal()  # holds it to the port, for the type checker


def guest(behind_s: float, deadly: int = 0) -> Mortal:
    reading = replace(NOW, ntp=TIMESYNCD, rtc_ahead_s=behind_s)
    return Mortal(reading=reading, true_s=NOW.wall_s + behind_s, deadly=deadly)


def agent(clocks: Mortal, disk: MemoryDisk, policy: Policy | None = None) -> Loop:
    """A life of the agent, up to when it has nothing more to do. Raises Crash."""
    kind = Clock(clocks)
    setting = Setting(resources={"clock": kind}, policy=policy or Policy())
    loop = Loop(setting, Store(disk, "b1"), str)
    loop.offer(written(1, clock=WANTED))
    told = False
    for _ in range(100):
        jobs = loop.step(clocks.reading.boot_s)
        for job in jobs:
            result, error = None, None
            try:
                result = job.run()
            except ReconcilerError as failure:
                error = failure
            loop.answer(job, result, error, clocks.reading.boot_s)
        if not jobs and told:
            break
        if not jobs:  # the host, which connects to each agent that comes up
            kind.take_time(clocks.offer())
            loop.wake("clock")
            told = True
        clocks.go_on(0.1)
    return loop


def test_killed_at_every_step_the_next_agent_ends_at_the_same_and_steps_once() -> None:
    for deadly in count(1):
        clocks, disk = guest(BEHIND_S, deadly), MemoryDisk()
        died = False
        try:
            agent(clocks, disk)
        except Crash:
            died = True
            agent(clocks, disk)
        now = clocks.reading
        assert (now.zone, now.ntp and now.ntp.active, now.rtc_local) == ("Asia/Tokyo", False, True)
        assert abs(now.wall_s - clocks.true_s) < 1e-6
        assert now.rtc_ahead_s == 0.0
        assert [round(by_s, 3) for act, by_s in clocks.acts if act == "step"] == [BEHIND_S]
        if not died:
            break
    # Zone, NTP, the mode, the end of a slew, the step and the RTC: all of them were died at.
    assert clocks.moments == 12


def test_where_steps_back_are_forbidden_the_clock_is_left_as_it_is() -> None:
    clocks = guest(-BEHIND_S)
    loop = agent(clocks, MemoryDisk(), Policy(acts=("clock.step-back",)))
    (condition,) = loop.journal.conditions
    assert (condition.reason, condition.status) == ("Forbidden", "False")
    assert "clock.step-back" in condition.message
    assert clocks.reading.wall_s - clocks.true_s == BEHIND_S
    forwards = guest(BEHIND_S)
    agent(forwards, MemoryDisk(), Policy(acts=("clock.step-back",)))
    assert abs(forwards.reading.wall_s - forwards.true_s) < 1e-6
