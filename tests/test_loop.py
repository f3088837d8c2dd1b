"""Passes, with kinds made of nothing."""

from typing import Any

import pytest

from reconciler.errors import Busy, Conflict, DriverError, ReconcilerError, Unsupported
from reconciler.loop import ASKS_MAX, SAVE, SAVE_DEADLINE_S, Loop, Setting
from reconciler.policy import Policy
from reconciler.resource import Resource, Verdict
from reconciler.status import Refusal, phase
from reconciler.track import State
from tests.lamps import Crash, Lamp, Lamps, MemoryDisk, World

LIT = {"lit": True}


@pytest.mark.parametrize(
    ("broken", "condition"),
    [
        pytest.param({}, ("True", "InSync"), id="works"),
        pytest.param({"blind": DriverError("cannot see")}, ("Unknown", "DriverError"), id="blind"),
        pytest.param({"stuck": DriverError("cannot switch")}, ("False", "DriverError"), id="stuck"),
        pytest.param({"deaf": True}, ("False", "DriverError"), id="deaf"),
    ],
)
def test_condition_says_what_the_second_look_saw(broken: dict[str, Any], condition: tuple[str, str]) -> None:
    lamps = Lamps()
    vars(lamps).update(broken)
    world = World({"lamp": lamps})
    world.offer(3, lamp=LIT)
    world.settle()
    assert (world.loop.status().observed_generation, world.condition("lamp")) == (3, condition)


def test_what_failed_without_anything_left_to_do_degrades_the_guest() -> None:
    class Torn(Lamp, kind="torn"):
        __orig_bases__ = Lamp.__orig_bases__  # type: ignore[attr-defined]

        @staticmethod
        def verdict(desired: Any, observed: Any, changes: Any) -> Verdict:
            return Verdict(False, "Torn", failed=True)

    del Resource.kinds["torn"]
    world = World({})
    world.loop = Loop(Setting(resources={"torn": Torn(Lamps())}), world.store, str)
    world.offer(1, torn={})
    world.settle()
    assert (world.condition("torn"), phase(world.loop.status())) == (("False", "Torn"), "Degraded")


def test_an_act_that_returned_makes_nothing_ready_before_the_second_look() -> None:
    world = World({"lamp": Lamps()})
    world.offer(1, lamp=LIT)
    world.finish(world.start()[0])
    [act, *_] = world.start()
    world.finish(act)
    assert (act.what, world.condition("lamp")) == ("act", ("False", "Drifted"))
    world.settle()
    assert world.condition("lamp") == ("True", "InSync")


def test_what_is_not_written_is_left_alone() -> None:
    world = World({"lamp": Lamps(lit=False)})
    world.offer(1)
    world.settle()
    assert world.kinds["lamp"].acts == []
    assert world.loop.status().observed == {"lamp": {"lit": False}}


def test_drift_is_repaired_after_a_wake() -> None:
    world = World({"lamp": Lamps()})
    world.offer(1, lamp=LIT)
    world.pass_time(1)
    world.kinds["lamp"].state["lit"] = False
    world.loop.wake("lamp")
    world.settle()
    assert world.kinds["lamp"].state == LIT


# Hanging drivers


@pytest.mark.parametrize("what", ["look", "act"])
def test_a_hanging_call_costs_its_own_kind_only(what: str) -> None:
    world = World({"hung": Lamps(), "lamp": Lamps()})
    world.offer(1, hung=LIT, lamp=LIT)
    if what == "act":
        for job in world.start():
            world.finish(job)
    [hung] = world.settle("hung")
    assert hung.what == what
    assert world.kinds["lamp"].state == LIT
    world.now_s = world.loop.next_s()
    world.settle("hung")

    assert world.loop.tracks["hung"].state is State.STUCK
    assert world.kinds["hung"].cancelled == 1
    assert "no answer before the deadline" in world.message("hung")
    assert world.condition("lamp") == ("True", "InSync")

    world.finish(hung)  # the late answer frees the kind, and is not believed
    assert world.condition("hung")[1] == "DriverError"
    world.pass_time(2)
    assert world.condition("hung") == ("True", "InSync")


def test_a_call_that_never_comes_back_is_told_of_the_next_document_too() -> None:
    world = World({"hung": Lamps(), "lamp": Lamps()})
    world.offer(1, hung=LIT)
    world.settle("hung")
    world.now_s = world.loop.next_s()
    world.settle("hung")
    world.offer(2, hung=LIT, lamp=LIT)
    world.settle("hung")
    assert world.condition("hung") == ("Unknown", "DriverError")
    assert phase(world.loop.status()) == "Degraded"
    assert not world.store.dirty, "what is known of the others is saved"


def test_a_hold_that_does_not_come_back_holds() -> None:
    world = World({"disk": Lamps(), "lamp": Lamps(lit=True)})
    world.offer(1, disk={"frozen": True}, lamp=LIT)
    [act] = world.settle_until("disk", "act")
    world.now_s = world.loop.next_s()
    world.settle("disk")
    assert world.loop.tracks["disk"].state is State.STUCK
    world.kinds["lamp"].state["lit"] = False
    world.loop.wake("lamp")
    world.settle("disk")
    assert world.loop.status().holding
    assert world.kinds["lamp"].acts == []

    world.loop.answer(act, None, DriverError("cannot freeze: it was given up"), world.now_s)
    world.pass_time(0.2)
    assert not world.loop.tracks["disk"].holding
    assert world.kinds["lamp"].state == LIT


def test_a_stuck_kind_answers_who_asks_it() -> None:
    world = World({"hung": Lamps()})
    answers: list[tuple[Any, ReconcilerError | None]] = []
    world.settle("hung")
    world.loop.ask("hung", lambda: "early", lambda result, error: answers.append((result, error)))
    world.now_s = world.loop.next_s()
    world.settle("hung")
    world.loop.ask("hung", lambda: "late", lambda result, error: answers.append((result, error)))
    assert [(result, type(error)) for result, error in answers] == [(None, DriverError)] * 2


def test_a_favour_is_done_between_jobs_and_looked_after() -> None:
    world = World({"lamp": Lamps()})
    answers: list[Any] = []
    [look] = world.start()
    world.loop.ask("lamp", lambda: 7, lambda result, error: answers.append((result, error)))
    assert world.start() == []
    world.finish(look)
    world.settle()
    assert (answers, world.kinds["lamp"].looks) == ([(7, None)], 2)


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


# Enforcing


def test_enforced_once_drift_is_told_and_left() -> None:
    world = World({"lamp": Lamps()})
    world.offer(1, lamp={"lit": True, "enforce": "once"})
    world.pass_time(1)
    world.kinds["lamp"].state["lit"] = False
    world.loop.wake("lamp")
    world.pass_time(700)
    assert world.kinds["lamp"].state == {"lit": False}
    assert "enforced once" in world.message("lamp")
    assert phase(world.loop.status()) == "Converged"

    world.offer(2, lamp={"lit": True, "enforce": "once"})
    world.settle()
    assert world.kinds["lamp"].state == LIT


def test_enforced_once_a_failed_look_is_forgotten_after_a_good_one() -> None:
    world = World({"lamp": Lamps()})
    world.offer(1, lamp={"lit": True, "enforce": "once"})
    world.pass_time(1)
    world.kinds["lamp"].state["lit"] = False
    world.kinds["lamp"].blind = DriverError("cannot see")
    world.loop.wake("lamp")
    world.settle()
    assert world.condition("lamp") == ("False", "DriverError")
    world.kinds["lamp"].blind = None
    world.pass_time(2)
    assert world.condition("lamp") == ("False", "Drifted")
    assert phase(world.loop.status()) == "Converged"


def test_enforced_once_is_remembered_over_a_restart() -> None:
    lamps, disk = Lamps(), MemoryDisk()
    before = World({"lamp": lamps}, disk)
    before.offer(1, lamp={"lit": True, "enforce": "once"})
    before.settle()
    lamps.state["lit"] = False
    World({"lamp": lamps}, disk).pass_time(700)
    assert lamps.state == {"lit": False}


def test_a_kind_may_insist() -> None:
    world = World({"lamp": Lamps(insists=True)})
    world.offer(1, lamp={"lit": True, "enforce": "once"})
    world.pass_time(1)
    world.kinds["lamp"].state["lit"] = False
    world.loop.wake("lamp")
    world.settle()
    assert world.kinds["lamp"].state["lit"]


# Documents


def test_a_retry_is_free_and_numbers_only_grow() -> None:
    world = World({"lamp": Lamps()})
    assert world.offer(2, lamp=LIT) == "new"
    assert world.offer(2, lamp=LIT) == "same"
    with pytest.raises(Conflict, match="another content"):
        world.offer(2, lamp={"lit": False})
    with pytest.raises(Conflict, match="cannot go back to generation 1"):
        world.offer(1, lamp=LIT)
    world.settle()
    assert world.kinds["lamp"].state == LIT


def test_a_refusal_stands_until_a_document_is_accepted() -> None:
    world = World({"lamp": Lamps()})
    world.loop.refuse(Refusal(3, "InvalidSpec", "lit: must be boolean"))
    assert phase(world.loop.status()) == "Refused"
    world.offer(3, lamp=LIT)
    world.settle()
    assert phase(world.loop.status()) == "Converged"


@pytest.mark.parametrize("what", ["look", "act"])
def test_what_was_begun_for_another_document_is_not_judged_by_this_one(what: str) -> None:
    world = World({"lamp": Lamps()})
    world.offer(1, lamp=LIT)
    if what == "act":
        world.finish(world.start()[0])
    [job] = [job for job in world.settle("lamp") if job.kind == "lamp"]
    world.kinds["lamp"].stuck = world.kinds["lamp"].blind = DriverError("of the old one")
    world.offer(2, lamp={"lit": "red"})
    world.finish(job)
    world.kinds["lamp"].stuck = world.kinds["lamp"].blind = None
    assert world.condition("lamp") == ("Unknown", "NotSeenYet")
    world.settle()
    assert world.kinds["lamp"].state == {"lit": "red"}
    assert world.condition("lamp") == ("True", "InSync")


@pytest.mark.parametrize(
    ("policy", "normal"),
    [
        pytest.param(Policy(kinds=("la*",)), LIT, id="kind"),
        pytest.param(Policy(acts=("lamp.set",)), LIT, id="act"),
        pytest.param(Policy(paths=("/etc",)), {"path": "/etc/passwd"}, id="path"),
    ],
)
def test_what_is_forbidden_is_not_done(policy: Policy, normal: dict[str, Any]) -> None:
    world = World({"lamp": Lamps()}, policy=policy)
    world.offer(1, lamp=normal)
    world.pass_time(2000)
    assert world.kinds["lamp"].acts == []
    assert world.condition("lamp") == ("False", "Forbidden")


def test_a_kind_without_a_driver_says_why() -> None:
    world = World({}, unusable={"lamp": Unsupported("cannot do lamp: no bulb")})
    world.offer(1, lamp=LIT, door=LIT)
    world.settle()
    assert world.message("lamp") == "cannot do lamp: no bulb"
    assert world.message("door") == "cannot do door: not known here"
    assert phase(world.loop.status()) == "Degraded"


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


# Rehearsing


def test_a_rehearsal_shows_what_would_be_and_does_nothing() -> None:
    world = World({"lamp": Lamps(lit=False)}, rehearse=True)
    world.offer(1, lamp=LIT)
    world.settle()
    assert world.kinds["lamp"].acts == []
    assert world.loop.status().observed == {"lamp": LIT}
    assert world.condition("lamp") == ("True", "InSync")
    world.offer(2, lamp={"lit": False})
    world.settle()
    assert world.loop.status().observed == {"lamp": {"lit": False}}


def test_inventory_and_notices_are_told() -> None:
    world = World({"lamp": Lamps(lit=False)})
    world.settle()
    world.kinds["lamp"].state["lit"] = True
    world.loop.wake("lamp")
    world.pass_time(1)
    assert ("lamp", "Lit") in {(event.kind, event.reason) for event in world.loop.journal.since(0)}


@pytest.mark.parametrize("method", ["diff", "plan", "verdict", "show", "notices", "due_s"])
def test_a_kind_that_fails_to_make_sense_of_what_it_saw_costs_itself(method: str) -> None:
    world = World({"door": Lamps(), "lamp": Lamps()}, rehearse=True)

    def strange(*_: object) -> None:
        raise KeyError("what")

    door = world.loop.tracks["door"]
    setattr(type(door.resource), method, staticmethod(strange))
    world.offer(1, door={"open": True}, lamp=LIT)
    world.pass_time(10)
    world.loop.wake("door")
    world.pass_time(10)
    assert world.condition("lamp") == ("True", "InSync")
    assert world.condition("door")[1] == "Terminal"
    assert "cannot follow door: KeyError: 'what'" in world.message("door")


def test_an_act_that_could_not_be_done_fails_in_a_rehearsal_too() -> None:
    world = World({"door": Lamps(), "lamp": Lamps()}, rehearse=True)

    def refuse(*_: object) -> None:
        raise Unsupported("cannot open the door: it is a wall")

    type(world.loop.tracks["door"].resource).foresee = staticmethod(refuse)  # type: ignore[assignment]
    world.offer(1, door={"open": True}, lamp=LIT)
    world.pass_time(10)
    assert world.condition("lamp") == ("True", "InSync")
    assert world.condition("door") == ("False", "Unsupported")
    assert world.loop.tracks["door"].rehearsed == {}


def test_a_document_that_a_kind_cannot_follow_costs_that_kind() -> None:
    world = World({"door": Lamps(), "lamp": Lamps()})

    def strange(*_: object) -> None:
        raise AttributeError("of another version")

    type(world.loop.tracks["door"].resource).parse = staticmethod(strange)  # type: ignore[assignment]
    world.offer(1, door={"open": True}, lamp=LIT)
    world.settle()
    assert world.condition("lamp") == ("True", "InSync")
    assert world.condition("door") == ("False", "InvalidSpec")


def test_asks_are_bounded() -> None:
    world = World({"lamp": Lamps()})
    errors: list[ReconcilerError | None] = []
    for _ in range(ASKS_MAX + 1):
        world.loop.ask("lamp", lambda: None, lambda result, error: errors.append(error))
    assert [type(error) for error in errors] == [Busy]
    world.settle()
    assert len(errors) == ASKS_MAX + 1


def test_what_could_not_be_saved_is_said_in_words() -> None:
    world = World({"lamp": Lamps()})
    world.disk.full = True
    world.offer(1, lamp=LIT)
    world.settle()
    [event] = [event for event in world.loop.journal.since(0) if event.reason == "NotSaved"]
    assert event.message == "cannot save the state: No space left on device"
