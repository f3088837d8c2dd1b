"""What holds, and who waits for whom."""

from typing import Any

import pytest

from reconciler.errors import DriverError
from reconciler.loop import SAVE
from tests.lamps import Lamps, World

LIT = {"lit": True}

# Phases


def test_release_runs_before_change_and_change_before_hold() -> None:
    a, b, c = Lamps(), Lamps(), Lamps(frozen=True)
    order: list[str] = []
    for name, lamps in (("a", a), ("b", b), ("c", c)):
        lamps.at_act = lambda name=name: order.append(name)  # type: ignore[misc]
    world = World({"a": a, "b": b, "c": c})
    world.offer(1, a={"frozen": True}, b=LIT, c={"frozen": False})
    world.settle()
    assert order == ["c", "b", "a"]


def test_what_ends_all_comes_before_another_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"disk": Lamps(), "switch": Lamps()})
    monkeypatch.setattr(type(world.loop.tracks["switch"].resource), "ends_all", True)
    world.offer(1, disk={"frozen-ring": "freeze@1"}, switch={"frozen-ring": "off@1"})
    [act] = world.settle_until("switch", "act")
    assert world.kinds["disk"].acts == []
    world.finish(act)
    world.settle()
    assert world.kinds["disk"].acts == [], "it holds until it is over"


def test_nothing_changes_and_nothing_is_saved_while_a_kind_holds() -> None:
    world = World({"lamp": Lamps(), "disk": Lamps(frozen=True)})
    world.offer(1, lamp=LIT)
    world.pass_time(10)
    assert world.kinds["lamp"].acts == []
    assert (world.condition("lamp"), world.loop.status().holding) == (("False", "Drifted"), True)
    assert world.disk.writes == 0

    world.kinds["disk"].state["frozen"] = False
    world.loop.wake("disk")
    world.settle()
    assert world.kinds["lamp"].state == LIT
    assert world.disk.writes > 0


def test_a_hold_that_returned_holds_before_it_is_seen() -> None:
    world = World({"disk": Lamps(), "lamp": Lamps(lit=True)})
    world.offer(1, disk={"frozen": True}, lamp=LIT)
    world.pass_time(1)
    world.kinds["disk"].state["frozen"] = False
    world.loop.wake("disk")
    [freeze] = world.settle_until("disk", "act")
    world.kinds["lamp"].state["lit"] = False
    world.loop.wake("lamp")
    world.settle("disk")
    world.finish(freeze)
    assert [job.what for job in world.start()] == ["look"]
    assert world.loop.status().holding


def test_nothing_is_saved_between_two_releases() -> None:
    world = World({"disk": Lamps(frozen_a=True, frozen_b=True)})
    world.settle()
    world.offer(1, disk={"frozen_a": False, "frozen_b": False})
    saved_while: list[bool] = []
    world.disk.before = lambda: saved_while.append(any(world.kinds["disk"].state.values()))
    while jobs := world.start():
        for job in sorted(jobs, key=lambda job: job.kind != SAVE):
            world.finish(job)
    assert saved_while
    assert not any(saved_while)


def test_a_thaw_and_a_trim_of_one_kind_do_not_wait_for_each_other() -> None:
    world = World({"disk": Lamps(frozen=True)})
    world.offer(1, disk={"trim": "now", "frozen": False})
    world.settle()
    assert [action.target for action in world.kinds["disk"].acts] == ["frozen", "trim"]
    assert world.condition("disk") == ("True", "InSync")


def test_what_holds_may_hold_more_although_others_wait_for_it() -> None:
    world = World({"disk": Lamps(frozen_a=True), "lamp": Lamps()})
    world.offer(1, disk={"frozen_a": True, "frozen_b": True}, lamp=LIT)
    world.settle()
    assert world.kinds["disk"].state["frozen_b"]
    assert world.kinds["lamp"].acts == []


def test_no_token_is_saved_while_another_kind_holds() -> None:
    world = World({"disk": Lamps(), "sleep": Lamps()})
    saved_while: list[bool] = []
    world.disk.before = lambda: saved_while.append(bool(world.kinds["disk"].state.get("frozen")))
    world.offer(1, disk={"frozen": True}, sleep={"frozen_ring": "t1"})
    world.pass_time(100)
    assert world.kinds["sleep"].acts == []

    world.offer(2, disk={"frozen": False}, sleep={"frozen_ring": "t1"})
    world.settle()
    assert len(world.kinds["sleep"].acts) == 1
    assert saved_while
    assert not any(saved_while)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param({}, id="slow"),
        pytest.param({"blind": DriverError("cannot see")}, id="fails"),
    ],
)
def test_a_hold_waits_until_it_is_known_what_others_have_to_do(trouble: dict[str, Any]) -> None:
    world = World({"disk": Lamps(), "lamp": Lamps()})
    vars(world.kinds["lamp"]).update(trouble)
    world.offer(1, disk={"frozen": True}, lamp=LIT)
    [look] = world.settle("lamp")
    assert world.kinds["disk"].acts == []
    world.finish(look)
    world.settle()
    assert world.kinds["disk"].state == {"frozen": True}
    assert world.kinds["lamp"].state == ({} if trouble else LIT)


def test_a_hold_does_not_wait_for_a_look_that_hangs_beyond_its_deadline() -> None:
    world = World({"disk": Lamps(), "hung": Lamps()})
    world.offer(1, disk={"frozen": True}, hung=LIT)
    world.settle("hung")
    world.now_s = world.loop.next_s()
    world.settle("hung")
    assert world.kinds["disk"].state == {"frozen": True}


def test_a_hold_waits_for_a_write_that_is_under_way() -> None:
    world = World({"disk": Lamps()})
    world.offer(1)
    [save] = world.settle(SAVE)
    world.offer(2, disk={"frozen": True})
    world.settle()
    assert world.kinds["disk"].acts == []
    world.finish(save)
    world.settle()
    assert world.kinds["disk"].state == {"frozen": True}
