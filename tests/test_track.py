"""When a kind is looked at, and how it backs off."""

import pytest

from reconciler.errors import DriverError, ReconcilerError, Terminal, Unsupported
from reconciler.track import (
    BACKOFF_MAX_S,
    LOOKS_BURST_S,
    LOOKS_GAP_MAX_S,
    LOOKS_SHARE,
    PERIOD_S,
    WAKE_GAP_S,
)
from tests.lamps import Lamps, World

LIT = {"lit": True}


def failing(why: ReconcilerError, jitter: float = 0.5) -> World:
    world = World({"lamp": Lamps()}, jitter=lambda: jitter)
    world.kinds["lamp"].stuck = why
    world.offer(1, lamp=LIT)
    world.settle()
    return world


@pytest.mark.parametrize(("jitter", "delay_s"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_first_retry_is_spread_over_half_a_second(jitter: float, delay_s: float) -> None:
    world = failing(DriverError("cannot switch"), jitter)
    [condition] = world.loop.status().conditions
    assert (condition.attempts, condition.next_try) == (1, f"t{100 + delay_s:g}")
    assert world.loop.next_s() == 100 + delay_s


def test_each_delay_is_twice_the_last_up_to_a_bound() -> None:
    world, delays = failing(DriverError("cannot switch"), 1.0), []
    for _ in range(11):
        track = world.loop.tracks["lamp"]
        delays.append(track.next_try_s - world.now_s)
        world.now_s = track.next_try_s
        world.loop.wake("lamp")
        world.settle()
    assert delays == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, BACKOFF_MAX_S, BACKOFF_MAX_S])


def test_success_forgets_the_failures() -> None:
    world = failing(DriverError("cannot switch"))
    world.kinds["lamp"].stuck = None
    world.pass_time(5)
    [condition] = world.loop.status().conditions
    assert (condition.status, condition.attempts, condition.next_try) == ("True", 0, "")


def test_an_act_without_effect_backs_off_also_after_one_that_failed() -> None:
    world = failing(DriverError("cannot switch"))
    world.kinds["lamp"].stuck, world.kinds["lamp"].deaf = None, True
    world.pass_time(20)
    assert 2 <= len(world.kinds["lamp"].acts) <= 5
    assert "acted and looked again" in world.message("lamp")


@pytest.mark.parametrize(
    ("why", "tries"),
    [
        pytest.param(Terminal("cannot ever"), 1, id="terminal-waits-for-a-document"),
        pytest.param(Unsupported("cannot here"), 3, id="unsupported-once-a-period"),
    ],
)
def test_what_is_no_use_is_seldom_tried(why: ReconcilerError, tries: int) -> None:
    world = failing(why)
    first = world.loop.tracks["lamp"].attempts
    world.pass_time(2 * PERIOD_S)
    assert (first, world.loop.tracks["lamp"].attempts) == (1, tries)
    world.kinds["lamp"].stuck = None
    world.offer(2, lamp=LIT)
    world.settle()
    assert world.kinds["lamp"].state == LIT


@pytest.mark.parametrize("blind", [None, DriverError("cannot see")], ids=["seeing", "blind"])
def test_a_storm_of_events_costs_a_look_each_gap(blind: ReconcilerError | None) -> None:
    world = World({"lamp": Lamps()})
    world.kinds["lamp"].blind = blind
    world.settle()
    before = world.kinds["lamp"].looks
    for _ in range(1000):
        world.now_s += 0.001
        world.loop.wake("lamp")
        world.settle()
    assert 2 <= world.kinds["lamp"].looks - before <= 1 / WAKE_GAP_S + 3


def stormy(world: World, seconds: float, look_s: float) -> float:
    """Events without end, where each look takes so long; what all looks took."""
    took_s, end_s = 0.0, world.now_s + seconds
    while world.now_s < end_s:
        world.loop.wake("lamp")
        for job in world.start():
            if job.what == "look":
                world.now_s += look_s
                took_s += look_s
            world.finish(job)
        world.now_s += 0.01
    return took_s


@pytest.mark.parametrize("look_s", [0.01, 0.1, 0.5, 2.5])
@pytest.mark.parametrize("wish", [None, LIT], ids=["as-it-is", "defaced-each-time"])
def test_a_storm_of_events_costs_a_tenth_of_a_core(look_s: float, wish: dict[str, bool] | None) -> None:
    world = World({"lamp": Lamps()})
    if wish:
        world.kinds["lamp"].at_act = lambda: world.kinds["lamp"].state.update(lit=False)
        world.offer(1, lamp=wish)
    world.settle()
    own_s = 6 * 2 * look_s if wish else 0.0  # retries in 1, 2, 4 s and so on, each with a look after it
    assert 5 <= stormy(world, 100, look_s) <= 100 * LOOKS_SHARE + LOOKS_BURST_S + 2 * look_s + own_s


def test_a_storm_of_looks_that_fail_costs_no_more() -> None:
    world = World({"lamp": Lamps()})
    world.kinds["lamp"].blind = DriverError("cannot see")
    world.settle()
    assert stormy(world, 100, 0.5) <= 100 * LOOKS_SHARE + LOOKS_BURST_S + 10 * 0.5  # its own retries besides


def test_a_few_events_wait_for_nothing_however_long_a_look_takes() -> None:
    world = World({"lamp": Lamps()})
    world.settle()
    for _ in range(3):
        world.now_s += WAKE_GAP_S
        world.loop.wake("lamp")
        [look] = world.start()
        world.now_s += 0.3
        world.finish(look)


@pytest.mark.parametrize("own_events", [False, True])
def test_what_looks_for_documents_take_keeps_no_event_waiting(own_events: bool) -> None:
    world = World({"lamp": Lamps()})
    for generation, lit in enumerate((True, False, True), 1):
        world.offer(generation, lamp={"lit": lit})
        for what in ("look", "act", "look"):
            [job] = world.settle_until("lamp", what)
            if own_events and what == "act":
                world.loop.wake("lamp")
            world.now_s += 4.9
            world.finish(job)
    world.now_s += WAKE_GAP_S
    world.loop.wake("lamp")
    assert [job.what for job in world.start()] == ["look"]


def test_after_a_look_that_hung_events_are_heard_within_a_bound() -> None:
    world = World({"lamp": Lamps()})
    world.settle()
    for _ in range(3):
        world.now_s += LOOKS_GAP_MAX_S
        world.loop.wake("lamp")
        [look] = world.start()
        world.now_s += 4.9
        world.finish(look)


def test_a_storm_of_events_puts_off_nothing_that_the_kind_is_due_for() -> None:
    world = World({"lamp": Lamps()})
    world.settle()
    stormy(world, 20, 2.5)
    track = world.loop.tracks["lamp"]
    world.loop.wake("lamp")
    assert track.due_s() > world.now_s + 1
    track.next_look_s = world.now_s + 1
    assert world.loop.next_s() == world.now_s + 1
    assert not world.start()
    world.now_s += 1
    [look] = world.start()
    world.finish(look)


def test_a_quiet_kind_is_looked_at_once_a_period() -> None:
    world = World({"lamp": Lamps(), "door": Lamps()})
    world.settle()
    assert world.loop.next_s() == PERIOD_S
    world.pass_time(3 * PERIOD_S)
    assert [lamps.looks for lamps in world.kinds.values()] == [4, 4]
