"""Tokens and state: what is on disk before what."""

import pytest

from reconciler.errors import DriverError, OutcomeUnknown
from reconciler.loop import SAVE, SAVE_DEADLINE_S
from reconciler.resource import Resource
from tests.lamps import Crash, Lamps, MemoryDisk, World

LIT = {"lit": True}

# Tokens


def test_a_token_is_on_disk_before_its_act() -> None:
    world = World({"bell": Lamps()})
    found: list[bytes | None] = []
    world.kinds["bell"].at_act = lambda: found.append(world.disk.content)
    world.offer(1, bell={"ring": "t1"})
    world.settle()
    [content] = found
    assert b'"t1":{"state":"begun"' in (content or b"")
    assert b'"t1":{"state":"done"' in (world.disk.content or b"")


@pytest.mark.parametrize("crash_at", range(12))
def test_whenever_the_agent_dies_a_token_rings_once_at_most(crash_at: int) -> None:
    bell, disk = Lamps(), MemoryDisk()
    places = iter(range(100))

    def die_here() -> None:
        if next(places) == crash_at:
            raise Crash

    disk.before = disk.after = bell.at_act = die_here
    crashed = False
    for _ in range(2):
        world = World({"bell": bell}, disk)
        try:
            if world.loop.spec.generation < 1:
                world.offer(1, bell={"ring": "t1"})
            world.pass_time(1000)
        except Crash:
            crashed = True
    assert len(bell.acts) <= 1
    assert crashed or len(bell.acts) == 1
    # Only a death between the durable record and the act costs the act.
    assert bell.acts or b'"t1":{"state":"begun"' in (disk.content or b"")


def test_of_an_act_of_which_nobody_can_say_whether_it_was_done_the_next_look_judges() -> None:
    world = World({"bell": Lamps()})
    world.kinds["bell"].stuck = OutcomeUnknown("cannot hear whether it rang")
    world.offer(1, bell={"ring": "t1"})
    [act] = world.settle_until("bell", "act")
    world.finish(act)
    assert world.condition("bell") == ("False", "OutcomeUnknown")
    world.kinds["bell"].stuck = None
    world.pass_time(1000)
    assert world.store.past("bell").deeds["t1"].state == "begun"
    assert world.kinds["bell"].acts == []
    assert world.condition("bell") == ("True", "InSync")


def test_a_refused_token_may_be_tried_again() -> None:
    world = World({"bell": Lamps()})
    world.kinds["bell"].stuck = DriverError("cannot ring: wet")
    world.offer(1, bell={"ring": "t1"})
    world.settle()
    assert world.kinds["bell"].acts == []
    world.kinds["bell"].stuck = None
    world.pass_time(2)
    assert len(world.kinds["bell"].acts) == 1
    assert world.condition("bell") == ("True", "InSync")


def test_a_token_that_cannot_be_written_is_not_acted_on() -> None:
    world = World({"bell": Lamps()})
    world.disk.full = True
    world.offer(1, bell={"ring": "t1"})
    world.settle()
    assert world.kinds["bell"].acts == []
    assert world.message("bell") == "cannot remember t1: No space left on device"
    world.disk.full = False
    world.pass_time(40)
    assert len(world.kinds["bell"].acts) == 1


# Saving


def test_a_write_that_fails_is_told_and_tried_again() -> None:
    world = World({"lamp": Lamps()})
    world.disk.full = True
    world.offer(1, lamp=LIT)
    world.settle()
    assert "NotSaved" in {event.reason for event in world.loop.journal.since(0)}
    world.disk.full = False
    world.pass_time(SAVE_DEADLINE_S)
    assert world.disk.writes == 1


def test_a_write_that_hangs_stops_no_kind() -> None:
    world = World({"disk": Lamps()})
    world.offer(1)
    world.settle(SAVE)
    world.offer(2, disk={"frozen": True})
    world.settle(SAVE)
    assert world.kinds["disk"].state == {}
    world.now_s += SAVE_DEADLINE_S
    world.settle(SAVE)
    assert world.kinds["disk"].state == {"frozen": True}


def test_behind_a_write_that_hangs_no_other_one_waits() -> None:
    world = World({"lamp": Lamps()})
    world.offer(1)
    [save] = world.settle(SAVE)
    world.offer(2)
    for _ in range(5):
        world.now_s += 2 * SAVE_DEADLINE_S
        assert world.settle(SAVE) == []
        assert world.loop.next_s() > world.now_s
    world.finish(save)
    assert world.settle(SAVE) == []  # what was newest when it came through is written
    assert world.disk.writes == 1


def test_what_could_not_be_saved_is_said_in_words() -> None:
    world = World({"lamp": Lamps()})
    world.disk.full = True
    world.offer(1, lamp=LIT)
    world.settle()
    [event] = [event for event in world.loop.journal.since(0) if event.reason == "NotSaved"]
    assert event.message == "cannot save the state: No space left on device"


def test_what_was_accepted_is_saved_before_a_kind_that_cannot_hold_was_looked_at() -> None:
    world = World({"lamp": Lamps(), "slow": Lamps()})
    world.settle()
    slow = type(world.loop.tracks["slow"].resource)
    world.offer(1, slow=LIT)
    world.loop.tracks["slow"].seen = False  # as one that was asleep
    assert SAVE not in [job.kind for job in world.start()]

    slow.holding = staticmethod(Resource.holding)  # type: ignore[method-assign]
    assert SAVE in [job.kind for job in world.start()]
