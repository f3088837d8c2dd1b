"""Kinds that sleep until a document names them."""

from typing import Any

from reconciler.errors import Unsupported
from reconciler.loop import Loop, Setting
from tests.lamps import Lamps, MemoryDisk, World, lamp

LIT = {"lit": True}


def sleeper(rouse: Any) -> World:
    """A world where nobody is awake."""
    world = World({})
    setting = Setting(resources={}, asleep=frozenset({"lamp"}), rouse=rouse)
    world.loop = Loop(setting, world.store, str)
    return world


def test_a_kind_sleeps_until_a_document_names_it_and_stays_awake() -> None:
    lamps, roused = Lamps(), []

    def rouse(kind: str) -> Any:
        roused.append(kind)
        return lamp(kind, lamps)

    world = sleeper(rouse)
    world.offer(1)
    world.settle()
    assert (roused, world.loop.tracks) == ([], {})
    world.offer(2, lamp=LIT)
    world.settle()
    assert (lamps.state, world.condition("lamp")) == (LIT, ("True", "InSync"))
    world.offer(3)
    world.offer(4, lamp={"lit": False})
    world.settle()
    assert (lamps.state, roused) == ({"lit": False}, ["lamp"])


def test_a_kind_of_the_document_that_was_kept_is_awake_from_the_start() -> None:
    disk = MemoryDisk()
    first = World({}, disk)
    first.offer(1, lamp=LIT)
    first.settle()
    lamps = Lamps()
    setting = Setting(resources={}, asleep=frozenset({"lamp"}), rouse=lambda kind: lamp(kind, lamps))
    second = World({}, disk)
    second.loop = Loop(setting, second.store, str)
    second.settle()
    assert lamps.state == LIT


def test_a_kind_that_cannot_be_roused_says_why_once_and_for_all() -> None:
    tried = []

    def rouse(kind: str) -> Any:
        tried.append(kind)
        raise Unsupported("cannot do lamp: there is no lamp here")

    world = sleeper(rouse)
    for generation in (1, 2):
        world.offer(generation, lamp=LIT)
        world.settle()
        assert world.message("lamp") == "cannot do lamp: there is no lamp here"
    assert tried == ["lamp"]


def test_a_kind_that_is_roused_for_a_preview_has_nothing_to_do() -> None:
    lamps = Lamps(lit=True)
    world = sleeper(lambda kind: lamp(kind, lamps))
    world.offer(1)
    world.loop.rouse("lamp")
    world.settle()
    assert (lamps.acts, lamps.looks) == ([], 1)
    assert world.loop.status().conditions == ()
