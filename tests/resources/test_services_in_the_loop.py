"""Units through the real loop: tokens that fail, and how two ways to back off go together."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from reconciler.errors import ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.policy import Policy
from reconciler.store import Store
from tests.lamps import MemoryDisk, written
from tests.resources.services_fake import UP, WEB, guest

SECONDS_MAX = 60


class Guest:
    """An agent with the one kind and the units a, b and c, whose clock a test owns."""

    def __init__(self, *up: str, jitter: float = 0.0, policy: Policy | None = None) -> None:
        units = {name: UP if name in up else WEB for name in "abc"}
        self.fake, kind = guest(
            *(replace(u, name=f"{n}.service", id=f"{n}.service") for n, u in units.items())
        )
        self.now_s = 0.0
        setting = Setting(resources={"services": kind}, jitter=lambda: jitter, policy=policy or Policy())
        self.loop = Loop(setting, Store(MemoryDisk(), "b1"), lambda time_s: f"{time_s:g}")
        self.done_s: list[tuple[str, str, float]] = []  # a verb, its unit, and when

    def offer(self, generation: int, **units: Any) -> None:
        self.loop.offer(written(generation, services={"units": units}))
        self.settle()

    def settle(self, seconds: float = SECONDS_MAX) -> None:
        end_s = self.now_s + seconds
        self.loop.wake("services")
        while self.now_s < end_s:
            self.fake.now_s = self.now_s
            jobs = self.loop.step(self.now_s)
            for job in jobs:
                result, error = None, None
                before = len(self.fake.heard)
                try:
                    result = job.run()
                except ReconcilerError as failure:
                    error = failure
                self.done_s += [
                    (verb, unit[0], self.now_s) for verb, unit in self.fake.heard[before:] if unit
                ]
                self.loop.answer(job, result, error, self.now_s)
            self.now_s = self.now_s + 0.01 if jobs else max(self.now_s + 0.01, min(end_s, self.loop.next_s()))

    def times(self, verb: str, unit: str) -> list[float]:
        return [at_s for *what, at_s in self.done_s if what == [verb, unit]]

    @property
    def told(self) -> tuple[str, str]:
        (condition,) = self.loop.journal.conditions
        return condition.reason, condition.mood


def test_a_restart_whose_answer_is_lost_is_not_known_and_never_repeated() -> None:
    guest = Guest("a")
    guest.fake.silent = {"restart"}
    guest.offer(1, a={"state": "running", "restart": "v1"})
    guest.settle(3600)
    assert len(guest.times("restart", "a")) == 1
    assert guest.told == ("OutcomeUnknown", "failed")
    guest.fake.silent = set()
    guest.offer(2, a={"state": "running", "restart": "v2"})
    assert len(guest.times("restart", "a")) == 2
    assert guest.told == ("InSync", "ease")


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_a_restart_that_is_refused_is_tried_ever_more_slowly_and_costs_no_other(jitter: float) -> None:
    guest = Guest("a", "c", jitter=jitter)
    guest.fake.refuses = {"restart"}
    guest.offer(
        1,
        a={"state": "running", "restart": "v1"},
        b={"state": "running"},
        c={"state": "running", "reload": "v1"},
    )
    assert guest.times("start", "b")[0] < 3
    assert guest.times("reload", "c")[0] < 3
    assert guest.told == ("NotStarted", "failed")
    assert 4 <= len(guest.times("restart", "a")) <= 7  # 1, 3, 7, 15 and 31 s after the first
    guest.fake.refuses = set()
    guest.settle(300)
    count = len(guest.times("restart", "a"))
    guest.settle(3600)
    assert (len(guest.times("restart", "a")), guest.told) == (count, ("InSync", "ease"))


def test_what_fails_without_a_token_is_tried_by_its_own_clock() -> None:
    guest = Guest()
    guest.fake.outcomes = {"start": "failed"}
    guest.offer(1, a={"state": "running"}, b={"masked": True})
    tries = guest.times("start", "a")
    gaps = [round(after - before) for before, after in pairwise(tries)]
    assert gaps == [1, 2, 4, 8, 16]
    assert len(guest.times("mask", "b")) == 1
    assert guest.told == ("NotStarted", "failed")


def test_a_token_stays_spent_over_other_documents() -> None:
    guest = Guest("a")
    wanted = {"state": "running", "restart": "v1"}
    guest.offer(1, a=wanted)
    guest.offer(2, a=wanted, b={"state": "running"})
    guest.offer(3, a={"state": "running"})
    guest.offer(4, a=wanted)
    assert len(guest.times("restart", "a")) == 1


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        pytest.param(Policy(acts=("services.stop",)), "cannot do services.stop", id="an act"),
        pytest.param(Policy(kinds=("services",)), "cannot manage services", id="the kind"),
        pytest.param(Policy(paths=("/srv",)), "cannot manage services of /srv/data", id="a mount's folder"),
    ],
)
def test_what_the_policy_forbids_is_not_done(policy: Policy, words: str) -> None:
    guest = Guest("a", policy=policy)
    guest.offer(1, a={"state": "stopped"}, **{"srv-data.mount": {"state": "stopped"}})
    assert guest.done_s == []
    (condition,) = guest.loop.journal.conditions
    assert (condition.reason, condition.message.startswith(words)) == ("Forbidden", True)
