"""Processors switched, decided without a guest."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import DriverError, InvalidSpec
from reconciler.resource import Action, Past, Phase
from reconciler.resources.cpus import Cpu, Cpus, Desired, Observed, Processors


def machine(text: str, **more: object) -> Observed:
    """A letter each: `F` fixed, `S` a second thread, `I` isolated, `O` online; `.` offline."""
    cpus = tuple(
        Cpu(id, letter != ".", letter != "F", letter == "S", letter == "I") for id, letter in enumerate(text)
    )
    return replace(Observed(cpus=cpus, possible=8), **more)  # type: ignore[arg-type]


def plan(desired: Desired, observed: Observed) -> str:
    """`+2 -3` for a plan that brings 2 online and takes 3 offline."""
    actions = Cpus.plan(desired, Cpus.diff(desired, observed))
    assert {action.phase for action in actions} <= {Phase.CHANGE}
    return " ".join(f"{'+' if a.verb == 'online' else '-'}{a.target.removeprefix('cpu')}" for a in actions)


@pytest.mark.parametrize(
    ("desired", "observed", "switches"),
    [
        pytest.param(Desired(), machine("FOO."), "", id="not managed"),
        pytest.param(Desired(online=3), machine("FOO."), "", id="as desired"),
        pytest.param(Desired(online="all"), machine("FO.."), "+2 +3", id="all that are plugged in"),
        pytest.param(Desired(online=3), machine("FO.."), "+2", id="the lowest comes"),
        pytest.param(Desired(online=4), machine("FO."), "+2", id="as many as there are"),
        pytest.param(Desired(online=2), machine("FOOO"), "-3 -2", id="the highest goes"),
        pytest.param(Desired(online=2), machine("FSOS"), "-3 -1", id="a second thread goes first"),
        pytest.param(Desired(online=2), machine("FOOI"), "-2 -1", id="an isolated one goes last"),
        pytest.param(Desired(online=1), machine("FFO"), "-2", id="what has no switch stays"),
        pytest.param(Desired(online=1), machine("OO"), "-1", id="the first may have a switch"),
        pytest.param(
            Desired(online=2),
            machine("FOO", refused={2: "busy"}),
            "-1",
            id="another than the one that refused",
        ),
        pytest.param(
            Desired(online=3), machine("FO..", refused={2: "dead"}), "+3", id="another to come online"
        ),
        pytest.param(Desired(online="all"), machine("F..", refused={1: "dead"}), "+2 +1", id="also of all"),
        pytest.param(
            Desired(on=frozenset({3, 4}), off=frozenset({1, 2})),
            machine("FOO..", refused={2: "busy", 3: "dead"}),
            "+4 +3 -1 -2",
            id="refused last of those that are named",
        ),
        pytest.param(
            Desired(on=frozenset({3}), off=frozenset({1})), machine("FOO."), "+3 -1", id="one by one"
        ),
        pytest.param(Desired(off=frozenset({0, 7})), machine("FO"), "", id="fixed, and not there"),
        pytest.param(Desired(off=frozenset({0, 1})), machine("OO"), "-1", id="the last one stays"),
        pytest.param(
            Desired(on=frozenset({2}), off=frozenset({0, 1})), machine("OO."), "+2 -1 -0", id="relieved"
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, switches: str) -> None:
    assert plan(desired, observed) == switches


@pytest.mark.parametrize(
    ("desired", "observed", "reason", "words"),
    [
        pytest.param(
            Desired(online=4), machine("FOO"), "NotPresent", "3 are plugged in; there is room for 8", id="few"
        ),
        pytest.param(
            Desired(online=9), machine("FO", possible=2), "NotPresent", "2 are plugged in", id="no room"
        ),
        pytest.param(
            Desired(online=1), machine("FFF"), "NoSwitch", "0-2 cannot be taken offline", id="fixed"
        ),
        pytest.param(
            Desired(on=frozenset({5, 6})), machine("FO"), "NotPresent", "5-6: not plugged in", id="5"
        ),
        pytest.param(
            Desired(off=frozenset({0})), machine("FO"), "NoSwitch", "0: without a switch", id="boot"
        ),
        pytest.param(Desired(off=frozenset({0, 1})), machine("O."), "LastOne", "0: the last one", id="last"),
    ],
)
def test_says_what_cannot_be(desired: Desired, observed: Observed, reason: str, words: str) -> None:
    verdict = Cpus.verdict(desired, observed, Cpus.diff(desired, observed))
    assert (verdict.ready, verdict.failed, verdict.reason) == (False, True, reason)
    assert words in verdict.message


ids = st.frozensets(st.integers(0, 9), max_size=4)
desires = st.builds(Desired, online=st.integers(1, 9) | st.just("all")) | st.builds(
    lambda on, off: Desired(on=on - off, off=off), ids, ids
)
machines = st.builds(
    lambda text, refused: machine(f"F{text}" if "O" not in text else text, refused=refused),
    st.text("FSIO.", min_size=1, max_size=8),
    st.dictionaries(st.integers(0, 8), st.just("busy"), max_size=3),
)


@given(desires, machines)
def test_a_whole_plan_leaves_nothing_to_do(desired: Desired, observed: Observed) -> None:
    for action in Cpus.plan(desired, Cpus.diff(desired, observed)):
        assert action.verb in Cpus.verbs
        before, observed = observed, Cpus.foresee(observed, action)
        assert before != observed
        assert observed.online, "never without a processor"
    assert Cpus.diff(desired, observed) == ()
    verdict = Cpus.verdict(desired, observed, ())
    assert verdict.ready is not verdict.failed


@dataclass
class FakeProcessors:
    """A guest in memory; it refuses to switch some."""

    held: Observed
    stubborn: set[int] = field(default_factory=set)
    looks: int = 0

    @classmethod
    def available(cls) -> bool:
        return True

    def processors(self) -> Observed:
        self.looks += 1
        return self.held

    def switch(self, cpu: int, *, online: bool) -> None:
        if cpu in self.stubborn:
            raise DriverError(f"cannot take cpu{cpu} offline: Device or resource busy")
        self.held = Cpus.foresee(self.held, Action("online" if online else "offline", f"cpu{cpu}"))


PORT: Processors = FakeProcessors(machine("F"))  # holds the fake to the port


def one_pass(kind: Cpus, desired: Desired, generation: int = 1) -> None:
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, Past(generation)))):
        kind.act(action)


def test_acts_and_goes_around_one_that_refuses() -> None:
    guest = FakeProcessors(machine("FOOO"), stubborn={3})
    kind, desired = Cpus(guest), Desired(online=3)
    with pytest.raises(DriverError, match="cpu3 offline: Device or resource busy"):
        one_pass(kind, desired)
    one_pass(kind, desired)
    assert guest.held.online == (0, 1, 3)
    seen = kind.observe(desired, Past(1))
    assert kind.verdict(desired, seen, kind.diff(desired, seen)).ready
    assert seen.refused.keys() == {3}
    assert kind.observe(desired, Past(7, preview=True)).refused == {}
    assert kind.observe(desired, Past(1)).refused.keys() == {3}, "a preview leaves no trace"
    assert kind.observe(desired, Past(2)).refused == {}, "a new document tries anew"


def test_one_that_refuses_for_good_is_tried_last_and_named() -> None:
    guest = FakeProcessors(machine("FO"), stubborn={1})
    kind, desired = Cpus(guest), Desired(online=1)
    for _ in range(2):
        with pytest.raises(DriverError, match="cpu1"):
            one_pass(kind, desired)
    guest.stubborn.clear()
    one_pass(kind, desired)
    assert guest.held.online == (0,)


def test_looks_at_nothing_that_is_not_managed() -> None:
    guest = FakeProcessors(machine("FO"))
    seen = Cpus(guest).observe(Desired(), Past())
    assert (guest.looks, Cpus.show(seen), Cpus.notices(seen, machine("FO"))) == (0, {}, ())
    assert Cpus.verdict(Desired(), seen, ()).ready


def test_shows_and_tells() -> None:
    assert Cpus.show(machine("FOI.", smt="on")) == {
        "online": 3,
        "possible": 8,
        "onlineList": "0-2",
        "presentList": "0-3",
        "fixedList": "0",
        "isolatedList": "2",
        "smt": "on",
    }
    told = Cpus.notices(machine("FO"), machine("FOO."))
    assert [(notice.reason, notice.message) for notice in told] == [
        ("CpusPlugged", "0-3, was 0-1"),
        ("CpusSwitched", "0-2 online, was 0-1"),
    ]
    assert Cpus.notices(machine("FO"), machine("FO")) == ()
    desired = Desired(on=frozenset({3}), off=frozenset({1, 2}))
    drifted = Cpus.verdict(desired, machine("FOO."), Cpus.diff(desired, machine("FOO.")))
    assert drifted.message == "3 to come online, 1-2 to go offline"


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("cpus: 4", Desired(online=4), id="short"),
        pytest.param("cpus: all", Desired(online="all"), id="short, all"),
        pytest.param("cpus: {online: 4}", Desired(online=4), id="long"),
        pytest.param(
            "cpus: {on: 0-2, off: 3}", Desired(on=frozenset({0, 1, 2}), off=frozenset({3})), id="lists"
        ),
        pytest.param("cpus: {off: '1,3', enforce: once}", Desired(off=frozenset({1, 3})), id="enforce"),
    ],
)
def test_reads(text: str, desired: Desired) -> None:
    assert Cpus.parse(read(text)[0].normal["cpus"]) == desired


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("cpus: 0", id="none at all"),
        pytest.param("cpus: 8193", id="more than any kernel has"),
        pytest.param("cpus: some", id="a word"),
        pytest.param("cpus: 1.5", id="a half"),
        pytest.param("cpus: {online: 2, on: 1}", id="a number and a list"),
        pytest.param("cpus: {on: 3-1}", id="backwards"),
        pytest.param("cpus: {on: 0-3, off: 2}", id="both"),
        pytest.param("cpus: {on: 9999}", id="too high"),
        pytest.param("cpus: {on: '8200'}", id="too high, in words"),
        pytest.param("cpus: {on: '1;reboot'}", id="a command"),
        pytest.param("cpus: {on: '-rf'}", id="an option"),
        pytest.param("cpus: {on: '../1'}", id="a path"),
        pytest.param('cpus: {on: "1\\n2"}', id="two lines"),
        pytest.param('cpus: {on: "1\\02"}', id="NUL"),
        pytest.param("cpus: {on: '" + "1," * 600 + "1'}", id="huge"),
        pytest.param("cpus: {on: -1}", id="below zero"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"cpus|spec"):
        read(text)
