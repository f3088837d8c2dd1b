"""Passes, with kinds made of nothing."""

from typing import Any

import pytest

from reconciler.errors import Busy, Conflict, DriverError, ReconcilerError, Unsupported
from reconciler.loop import ASKS_MAX, Loop, Setting
from reconciler.policy import Policy
from reconciler.resource import Resource, Verdict
from reconciler.status import Refusal, phase
from reconciler.track import State
from tests.lamps import Lamp, Lamps, MemoryDisk, World

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


def test_a_kind_is_not_kept_from_its_own_work_by_who_asks_it_all_the_time() -> None:
    world = World({"lamp": Lamps()})
    answers: list[Any] = []

    def ask_again(result: Any, error: ReconcilerError | None) -> None:
        answers.append(result)
        world.loop.ask("lamp", lambda: 7, ask_again)

    ask_again(None, None)
    world.offer(1, lamp=LIT)
    for _ in range(10):
        for job in world.start():
            world.finish(job)
    assert world.kinds["lamp"].state == LIT
    assert len(answers) > 3


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
