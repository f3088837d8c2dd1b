"""Killed at any call or write, an agent leaves all to the next one, which repeats nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from reconciler.documents import normalise
from reconciler.errors import ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.resource import Json, Resource
from reconciler.resources.clock import Clock
from reconciler.resources.cpus import Cpus
from reconciler.resources.memory_blocks import MemoryBlocks
from reconciler.resources.session import Session
from reconciler.store import Store
from reconciler.subjects.logins import Login
from tests.lamps import Crash, MemoryDisk, written
from tests.resources.session_fake import FakeSessions
from tests.resources.test_clock_acts import FakeClocks
from tests.resources.test_cpus import FakeProcessors
from tests.resources.test_cpus import machine as processors
from tests.resources.test_memory_blocks import FakeBlocks
from tests.resources.test_memory_blocks import machine as blocks

LOOKS = {"read", "processors", "blocks", "clocks", "sessions", "station"}
STEPS_MAX = 300  # of an agent's life: several times what it takes
ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2")
BOB = Login(id="3", user="bob", seat="seat1", type="wayland")


@dataclass
class Mortal:
    """A driver around a fake one, whose agent dies at the `deadly`th moment."""

    fake: Any
    deadly: int = 0
    moments: int = 0
    acts: list[tuple[Any, ...]] = field(default_factory=list)

    def pass_by(self) -> None:
        self.moments += 1
        if self.moments == self.deadly:
            raise Crash

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.fake, name)

        def call(*given: Any, **named: Any) -> Any:
            self.pass_by()
            result = real(*given, **named)
            if name not in LOOKS:
                self.acts.append((name, *given, *named.values()))
            self.pass_by()
            return result

        return call


@dataclass(frozen=True)
class Row:
    """A kind, its guest, two documents, and what the guest then is."""

    kind: type[Resource[Any, Any, Any]]
    guest: Callable[[], Any]
    documents: tuple[Json, Json]
    truth: Callable[[Any], Any]


def sessions() -> FakeSessions:
    guest = FakeSessions()
    for login in (ALICE, BOB):
        guest.come(login)
    return guest


ROWS = [
    pytest.param(
        Row(
            Clock,
            FakeClocks,
            ({"zone": "Asia/Tokyo", "ntp": True, "rtc": "local"}, {"zone": "Etc/UTC", "ntp": False}),
            lambda guest: (guest.reading.zone, guest.reading.ntp.active, guest.reading.rtc_local),
        ),
        id="clock",
    ),
    pytest.param(
        Row(
            Cpus,
            lambda: FakeProcessors(processors("FO..OI")),
            (5, {"on": "2", "off": "1,4"}),
            lambda g: g.held,
        ),
        id="cpus",
    ),
    pytest.param(
        Row(MemoryBlocks, lambda: FakeBlocks(blocks("NN..NM")), ("all", 3), lambda guest: guest.held),
        id="memory-blocks",
    ),
    pytest.param(
        Row(Session, sessions, ("locked", {"state": "ended", "user": "bob"}), lambda guest: guest.held),
        id="session",
    ),
]


def live(row: Row, driver: Mortal, disk: MemoryDisk) -> None:
    """A life of an agent with a host that asks for one document after the other. Raises Crash."""
    name = row.kind.kind
    setting = Setting(resources={name: row.kind(driver)})
    loop = Loop(setting, Store(disk, "boot-1", lambda: 2000.0), str)
    for number, document in enumerate(row.documents, 1):
        if loop.spec.generation < number:
            loop.offer(written(number, **normalise({name: document})))
        come_to_rest(loop)
        (condition,) = loop.status().conditions
        assert condition.status == "True", condition
        assert loop.spec.generation >= number


def come_to_rest(loop: Loop) -> None:
    now_s = 2000.0
    for _ in range(STEPS_MAX):
        jobs = loop.step(now_s)
        if not jobs:
            return
        for job in jobs:
            result, error = None, None
            try:
                result = job.run()
            except ReconcilerError as failure:
                error = failure
            loop.answer(job, result, error, now_s)
        now_s += 0.1  # looks are kept apart
    raise AssertionError("it never comes to rest")


def lives(row: Row) -> Iterator[tuple[Mortal, MemoryDisk, bool]]:
    """Guests whose agent dies at the first moment, at the second, ...; at last one that never does."""
    for deadly in count(1):
        driver, disk = Mortal(row.guest(), deadly), MemoryDisk()
        disk.before = disk.after = driver.pass_by
        died = False
        try:
            live(row, driver, disk)
        except Crash:
            died = True
            live(row, driver, disk)
        yield driver, disk, died
        if not died:
            return


@pytest.mark.parametrize("row", ROWS)
def test_killed_at_each_moment(row: Row) -> None:
    found = list(lives(row))
    whole, disk, died = found[-1]
    assert not died
    assert len(whole.acts) > 2
    assert len(found) == whole.moments + 1 > 2 * (len(whole.acts) + disk.writes)
    for driver, _, _ in found:
        assert row.truth(driver.fake) == row.truth(whole.fake), driver.deadly
        assert sorted(map(repr, driver.acts)) == sorted(map(repr, whole.acts)), driver.deadly
