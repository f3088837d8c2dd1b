"""Blocks of memory switched, decided without a guest."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import DriverError, InvalidSpec
from reconciler.resource import Action, Past, Phase
from reconciler.resources.memory_blocks import (
    IN_USE_S,
    Block,
    Blocks,
    Desired,
    MemoryBlocks,
    Observed,
    Zone,
)

MI = 1 << 20
BLOCK = 128 * MI
ZONES = {"N": "Normal", "M": "Movable", "X": "", ".": ""}


def machine(text: str, free: int = 4096, **more: Any) -> Observed:
    """A letter each: `N` normal, `M` movable, `X` of no zone, `K` kept; `.` offline. `free` is MiB."""
    blocks = tuple(
        Block(id, letter != ".", letter != "K", ZONES.get(letter, "Normal")) for id, letter in enumerate(text)
    )
    sizes: dict[str, Any] = {"block_bytes": BLOCK, "total_bytes": 1024 * MI, "available_bytes": free * MI}
    return Observed(blocks=blocks, auto="offline", **sizes, **more)


def plan(desired: Desired, observed: Observed) -> list[Action]:
    return list(MemoryBlocks.plan(desired, MemoryBlocks.diff(desired, observed)))


def on(block: int, **value: str) -> Action:
    return Action("online", f"memory{block}", value=value)


def off(block: int, *or_else: int) -> Action:
    return Action("offline", f"memory{block}", value={"orElse": list(or_else)})


@pytest.mark.parametrize(
    ("desired", "observed", "actions"),
    [
        pytest.param(Desired(), machine("XN."), [], id="not managed"),
        pytest.param(Desired(zone="movable"), machine("XN."), [], id="nothing to be online"),
        pytest.param(Desired(online=2), machine("XN."), [], id="as desired"),
        pytest.param(Desired(online="all"), machine("XN.."), [on(2), on(3)], id="all that are plugged in"),
        pytest.param(Desired(online=3), machine("XN.."), [on(2)], id="the lowest comes"),
        pytest.param(
            Desired(online=3, zone="movable"), machine("XN."), [on(2, zone="movable")], id="where it comes"
        ),
        pytest.param(Desired(size=300 * MI), machine("XN."), [on(2)], id="a size in whole blocks"),
        pytest.param(Desired(size=256 * MI), machine("XN."), [], id="a size that fits"),
        pytest.param(Desired(online=3), machine("XNM."), [], id="three are three"),
        pytest.param(Desired(online=2), machine("XMN"), [off(1, 2)], id="a movable one goes first"),
        pytest.param(
            Desired(online=5),
            machine("XNNNNNN"),
            [off(6, 4, 2), off(5, 3, 1)],
            id="each has its own stand-ins",
        ),
        pytest.param(Desired(online=2), machine("XKN"), [off(2)], id="what is kept stays"),
        pytest.param(Desired(online=2), machine("XNN", refused={2: "busy"}), [off(1, 2)], id="refused last"),
        pytest.param(
            Desired(online="all"), machine("X..", refused={1: "busy"}), [on(2), on(1)], id="also of all"
        ),
        pytest.param(Desired(online=1), machine("XNN", free=250), [off(2, 1)], id="no more than is free"),
        pytest.param(Desired(online=1), machine("XNN", free=100), [], id="nothing is free"),
    ],
)
def test_plan(desired: Desired, observed: Observed, actions: list[Action]) -> None:
    assert plan(desired, observed) == actions
    assert {action.phase for action in actions} <= {Phase.CHANGE}


@pytest.mark.parametrize(
    ("desired", "observed", "reason", "words"),
    [
        pytest.param(Desired(online=4), machine("XNN"), "NotPresent", "and 3 are plugged in", id="few"),
        pytest.param(Desired(size=2 << 30), machine("XNN"), "NotPresent", "16 blocks are to be", id="small"),
        pytest.param(Desired(online=1), machine("XKX"), "NotRemovable", "0 of these can go", id="kept"),
        pytest.param(Desired(online=1), machine("XN", free=100), "InUse", "100 MiB are free", id="in use"),
    ],
)
def test_says_what_cannot_be(desired: Desired, observed: Observed, reason: str, words: str) -> None:
    verdict = MemoryBlocks.verdict(desired, observed, MemoryBlocks.diff(desired, observed))
    assert (verdict.ready, verdict.failed, verdict.reason) == (False, True, reason)
    assert words in verdict.message


desires = st.builds(
    Desired, online=st.integers(1, 12) | st.just("all"), zone=st.sampled_from([None, "movable", "kernel"])
) | st.builds(Desired, size=st.integers(1, 12 * BLOCK))
machines = st.builds(
    machine,
    st.text("NMXK.", min_size=1, max_size=10).map("X".__add__),
    free=st.integers(0, 2000),
    refused=st.dictionaries(st.integers(0, 10), st.just("busy"), max_size=3),
)


@given(desires, machines)
def test_a_whole_plan_leaves_nothing_to_do(desired: Desired, observed: Observed) -> None:
    actions = plan(desired, observed)
    tried = [block for action in actions for block in (action.target, *action.value.get("orElse", ()))]
    assert len(tried) == len(set(tried)), "no two try the same"
    for action in actions:
        assert action.verb in MemoryBlocks.verbs
        before, observed = observed, MemoryBlocks.foresee(observed, action)
        assert before.online != observed.online
    assert MemoryBlocks.diff(desired, observed) == ()
    verdict = MemoryBlocks.verdict(desired, observed, ())
    assert verdict.ready is not verdict.failed


@dataclass
class FakeBlocks:
    """A guest in memory; some of its blocks cannot be emptied."""

    held: Observed
    stubborn: set[int] = field(default_factory=set)
    looks: int = 0

    @classmethod
    def available(cls) -> bool:
        return True

    def blocks(self) -> Observed:
        self.looks += 1
        return self.held

    def online(self, block: int, zone: Zone | None) -> None:
        blocks = (
            replace(b, online=True, zone=(zone or "")) if b.id == block else b for b in self.held.blocks
        )
        self.held = replace(self.held, blocks=tuple(blocks))

    def offline(self, block: int) -> None:
        if block in self.stubborn:
            raise DriverError(f"cannot take memory{block} offline: Device or resource busy")
        self.held = MemoryBlocks.foresee(self.held, off(block))


PORT: Blocks = FakeBlocks(machine("X"))  # holds the fake to the port


def one_pass(kind: MemoryBlocks, desired: Desired) -> None:
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, Past(1)))):
        kind.act(action)


def test_acts_and_takes_another_block_than_one_that_refuses() -> None:
    guest = FakeBlocks(machine("XNNN"), stubborn={3})
    kind, desired = MemoryBlocks(guest), Desired(online=3)
    one_pass(kind, desired)
    assert guest.held.online == (0, 1, 3)
    seen = kind.observe(desired, Past(1))
    assert seen.refused.keys() == {3}
    assert kind.verdict(desired, seen, kind.diff(desired, seen)).ready
    assert kind.observe(desired, Past(7, preview=True)).refused == {}
    assert kind.observe(desired, Past(1)).refused.keys() == {3}, "a preview leaves no trace"
    assert kind.observe(desired, Past(2)).refused == {}, "a new document tries anew"


def test_names_all_that_refused() -> None:
    guest = FakeBlocks(machine("XNN"), stubborn={1, 2})
    with pytest.raises(DriverError, match=r"memory2 offline: .*; cannot take memory1 offline: "):
        one_pass(MemoryBlocks(guest), Desired(online=2))


def test_looks_again_soon_whether_there_is_room() -> None:
    desired = Desired(online=1)
    assert MemoryBlocks.due_s(desired, machine("XN", free=100, boot_clock_s=70.0)) == 70.0 + IN_USE_S
    assert MemoryBlocks.due_s(desired, machine("X", free=100)) is None
    assert MemoryBlocks.due_s(desired, machine("XK", free=100)) is None, "it will never go"
    assert MemoryBlocks.due_s(Desired(), Observed()) is None


def test_brings_online_where_it_is_told() -> None:
    guest = FakeBlocks(machine("X."))
    one_pass(MemoryBlocks(guest), Desired(online="all", zone="movable"))
    assert guest.held.blocks[1] == Block(1, zone="movable")


def test_looks_at_nothing_that_is_not_managed() -> None:
    guest = FakeBlocks(machine("XN"))
    seen = MemoryBlocks(guest).observe(Desired(), Past())
    assert (guest.looks, MemoryBlocks.show(seen)) == (0, {})
    assert MemoryBlocks.notices(seen, machine("XN")) == ()
    assert MemoryBlocks.verdict(Desired(), seen, ()).ready


def test_shows_and_tells() -> None:
    assert MemoryBlocks.show(machine("XNKM.")) == {
        "online": 4,
        "onlineBytes": 4 * BLOCK,
        "blockBytes": BLOCK,
        "onlineList": "0-3",
        "offlineList": "4",
        "movableList": "3",
        "fixedList": "0,2",
        "auto": "offline",
    }
    assert MemoryBlocks.show(machine("XN", free=1)) == MemoryBlocks.show(machine("XN", free=900))
    told = MemoryBlocks.notices(machine("XN"), machine("XNN"))
    assert [(notice.reason, notice.message) for notice in told] == [
        ("MemoryPlugged", "3 blocks, was 2"),
        ("MemorySwitched", "3 blocks online, was 2"),
    ]
    desired = Desired(online=1)
    drifted = MemoryBlocks.verdict(desired, machine("XNN"), MemoryBlocks.diff(desired, machine("XNN")))
    assert drifted.message == "blocks: 2 to go offline"
    assert MemoryBlocks.verdict(desired, machine("N"), ()).message == "1 blocks online, 128 MiB"


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("memory-blocks: 4", Desired(online=4), id="short"),
        pytest.param("memory-blocks: all", Desired(online="all"), id="short, all"),
        pytest.param("memory-blocks: {online: 4, zone: kernel}", Desired(online=4, zone="kernel"), id="zone"),
        pytest.param("memory-blocks: {size: 2Gi}", Desired(size=2 << 30), id="size"),
    ],
)
def test_reads(text: str, desired: Desired) -> None:
    assert MemoryBlocks.parse(read(text)[0].normal["memory-blocks"]) == desired


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("0", id="none at all"),
        pytest.param("4097", id="more than we look at"),
        pytest.param("some", id="a word"),
        pytest.param("{online: 2Gi}", id="a size for a number"),
        pytest.param("{online: 2, size: 2Gi}", id="both"),
        pytest.param("{size: 0}", id="nothing"),
        pytest.param("{size: all}", id="no size"),
        pytest.param("{zone: movable}", id="a zone alone"),
        pytest.param("{online: 2, zone: dma}", id="another zone"),
        pytest.param("{size: '1;reboot'}", id="a command"),
        pytest.param("{size: '-rf'}", id="an option"),
        pytest.param('{zone: "movable\\n"}', id="two lines"),
        pytest.param("{size: " + "9" * 400 + "}", id="huge"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidSpec, match="memory-blocks"):
        read(f"memory-blocks: {text}")
