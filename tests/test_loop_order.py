"""One document that says all at once: which kind's changes wait for which."""

import pytest

from reconciler.errors import DriverError
from reconciler.resource import Phase
from reconciler.track import State
from tests.lamps import Lamps, World

COME = {"enter": True}
GO = {"leave": True}


class Story(World):
    """A world that keeps the order of its acts."""

    def __init__(self, *kinds: str) -> None:
        super().__init__({kind: Lamps() for kind in kinds})
        self.acts: list[str] = []
        for kind, lamps in self.kinds.items():
            lamps.at_act = lambda kind=kind, lamps=lamps: self.acts.append(f"{kind}.{lamps.acts[-1].target}")  # type: ignore[misc]


def test_who_leaves_goes_before_who_enters_whichever_kind_comes_first() -> None:
    world = Story("a", "b", "c", "d")
    world.offer(1, a={"enter": True}, b={"leave": True}, c={"frozen": True}, d={"lit": True})
    world.settle()
    assert world.acts == ["d.lit", "b.leave", "a.enter", "c.frozen"]


def test_who_enters_waits_until_it_is_known_who_has_to_leave() -> None:
    world = Story("a", "b")
    world.offer(1, a=COME, b=GO)
    look_a, look_b = world.start()
    world.finish(look_a)
    assert world.start() == []
    world.finish(look_b)
    world.settle()
    assert world.acts == ["b.leave", "a.enter"]


def test_it_does_not_wait_for_a_kind_that_has_only_later_things_to_do() -> None:
    world = Story("a", "b")
    type(world.loop.tracks["b"].resource).earliest = Phase.HOLD
    world.offer(1, a=COME, b={"frozen": True})
    world.finish(world.start()[0])
    [act] = world.start()
    assert (act.kind, act.what) == ("a", "act")


def test_it_waits_neither_for_a_look_that_failed_nor_for_one_that_hangs() -> None:
    for trouble in ("fails", "hangs"):
        world = Story("a", "b")
        if trouble == "fails":
            world.kinds["b"].blind = DriverError("cannot see")
        world.offer(1, a=COME, b=GO)
        world.settle("b") if trouble == "hangs" else world.settle()
        world.now_s += 10
        world.settle("b")
        assert (world.acts, trouble) == (["a.enter"], trouble)
    assert world.loop.tracks["b"].state is State.STUCK


def test_a_favour_done_by_who_goes_lets_nobody_enter_before() -> None:
    world = Story("a", "b", "c")
    world.offer(1, a=COME, b=GO, c={"lit": True})
    [act] = world.settle_until("c", "act")  # a and b wait for it
    assert world.loop.tracks["b"].state is State.WAITING
    world.loop.ask("b", lambda: 7, lambda result, error: None)
    [ask] = world.start()
    world.finish(act)
    world.finish(ask)
    world.settle("b")  # it looks again
    assert world.acts == ["c.lit"]


def test_what_failed_for_good_does_not_keep_the_next_from_its_turn() -> None:
    world = Story("a", "b")
    world.kinds["b"].stuck = DriverError("cannot go")
    world.offer(1, a=COME, b=GO)
    world.settle()
    assert world.acts == ["a.enter"]


class Glowing(Story):
    """`b` leaves, and glows for a while after that."""

    def __init__(self, *, awaited: bool = True) -> None:
        super().__init__("a", "b")
        type(self.loop.tracks["b"].resource).awaited = awaited
        b, act = self.kinds["b"], self.kinds["b"].at_act

        def glow() -> None:
            act()
            b.state["glows"] = True

        b.at_act = glow

    def fade(self) -> None:
        self.kinds["b"].state["glows"] = False
        self.loop.wake("b")
        self.pass_time(1)


@pytest.mark.parametrize("wish", [COME, {"frozen": True}], ids=["enter", "hold"])
def test_what_is_awaited_is_under_way_until_a_look_finds_it_done(wish: dict[str, bool]) -> None:
    world = Glowing()
    world.offer(1, a=wish, b=GO)
    world.pass_time(5)
    assert world.acts == ["b.leave"]
    world.offer(2, a=wish, b=GO, c={})  # what it was asked for is still asked of it
    world.pass_time(5)
    assert world.acts == ["b.leave"]
    world.fade()
    assert world.acts == ["b.leave", f"a.{next(iter(wish))}"]


def test_between_the_act_and_the_look_after_it_the_others_wait_too() -> None:
    world = Glowing()
    world.offer(1, a=COME, b=GO)
    [act] = world.settle_until("b", "act")
    world.finish(act)
    [look] = world.settle_until("b", "look")
    assert world.start() == []
    world.finish(look)
    world.settle()
    assert world.acts == ["b.leave"]


def test_of_a_kind_that_does_not_ask_for_it_only_the_act_is_waited_for() -> None:
    world = Glowing(awaited=False)
    world.offer(1, a=COME, b=GO)
    world.settle()
    assert world.acts == ["b.leave", "a.enter"]


def test_what_is_awaited_and_cannot_be_looked_at_any_more_holds_up_nobody() -> None:
    world = Glowing()
    world.offer(1, a=COME, b=GO)
    world.settle()
    world.kinds["b"].blind = DriverError("cannot see")
    world.fade()
    assert world.acts == ["b.leave", "a.enter"]


def test_what_no_document_wants_any_more_is_not_awaited() -> None:
    world = Glowing()
    world.offer(1, a=COME, b=GO)
    world.settle()
    world.offer(2, a=COME)
    world.pass_time(5)
    assert world.acts == ["b.leave", "a.enter"]


def test_a_document_is_under_way_until_nothing_can_be_waited_for() -> None:
    world = Glowing()
    world.kinds["a"].stuck = DriverError("cannot come")
    world.offer(1, a=COME, b=GO)
    assert world.loop.under_way()
    [act] = world.settle_until("b", "act")
    assert world.loop.under_way()
    world.finish(act)
    world.settle()
    assert world.loop.under_way()  # it glows
    world.fade()
    assert world.loop.under_way()  # what has just failed is tried again soon
    world.pass_time(30)
    assert world.loop.tracks["a"].attempts > 4
    assert not world.loop.under_way()  # and nobody knows for how long
