"""Shutdown and sleep, once for each token, decided without a machine to shut down."""

from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Action, Deed, Notice, Past, Phase
from reconciler.resources.power import (
    Desired,
    Inhibitor,
    Machine,
    Observed,
    Power,
    Scheduled,
    State,
    Switch,
    Verb,
    booted_s,
)

BACKUP = Inhibitor(("shutdown", "idle"), "backup", "writing to tape", "block", "root")
SLOW = Inhibitor(("shutdown", "sleep"), "NetworkManager", "turning off", "delay", "root")
AWAKE = Inhibitor(("sleep",), "player", "film", "block-weak", "alice")
RUNNING = Machine(boot_id="b2", booted_at="2026-03-01T12:00:00Z")
OFF, HALT = Desired(state="off"), Desired(state="halted")
REBOOT = Desired(state="running", once="reboot", token="t1")
SUSPEND = Desired(state="running", once="suspend", token="t1")


def seen(*inhibitors: Inhibitor) -> Observed:
    machine = replace(RUNNING, inhibitors=inhibitors)
    return Observed(boot_clock_s=1000.0, machine=machine, generation=7)


def after(token: str, state: Literal["begun", "done", "refused"], boot_id: str) -> Observed:
    return replace(seen(), deeds={token: Deed(state, boot_id, 7)})


@pytest.mark.parametrize(
    ("desired", "observed", "verb", "token"),
    [
        pytest.param(Desired(), seen(), "", "", id="not managed"),
        pytest.param(Desired(state="running"), seen(), "", "", id="it runs"),
        pytest.param(OFF, seen(), "off", "off@7", id="off"),
        pytest.param(HALT, seen(), "halt", "halt@7", id="halt"),
        pytest.param(REBOOT, seen(), "reboot", "reboot:t1", id="reboot"),
        pytest.param(SUSPEND, seen(), "suspend", "suspend:t1", id="suspend"),
        pytest.param(replace(OFF, always=True), seen(), "off", "off@7@b2", id="off, at every boot"),
        pytest.param(OFF, after("off@6", "done", "b1"), "off", "off@7", id="off in another generation"),
        pytest.param(OFF, after("off@7", "refused", "b2"), "off", "off@7", id="surely not done"),
        pytest.param(OFF, after("off@7", "begun", "b1"), "", "", id="begun before this boot"),
        pytest.param(REBOOT, after("reboot:t1", "begun", "b2"), "", "", id="nobody knows"),
        pytest.param(
            OFF, replace(seen(), machine=replace(RUNNING, state="shutting-down")), "", "", id="under way"
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, verb: str, token: str) -> None:
    plan = Power.plan(desired, Power.diff(desired, observed))
    assert [(a.verb, a.token, a.phase) for a in plan] == ([(verb, token, Phase.HOLD)] if verb else [])


def test_a_plan_says_how() -> None:
    desired = replace(OFF, message="Bye", patience_s=0, deadline_s=90)
    assert Power.plan(desired, Power.diff(desired, seen())) == (
        Action("off", "guest", Phase.HOLD, "off@7", {"message": "Bye", "heed": False, "deadline": 90}),
    )
    assert Power.plan(OFF, Power.diff(OFF, seen()))[0].value == {"message": "", "heed": True}


@pytest.mark.parametrize(
    ("since_s", "heed"),
    [
        pytest.param(None, True, id="nobody inhibits it, and who begins now is waited for"),
        pytest.param(989.0, True, id="somebody is waited for"),
        pytest.param(940.0, False, id="somebody was waited for"),
    ],
)
def test_whoever_inhibits_it_is_overrun_only_after_the_patience(since_s: float | None, heed: bool) -> None:
    patient = replace(OFF, patience_s=60)
    (action,) = Power.plan(patient, Power.diff(patient, replace(seen(), blocked_since_s=since_s)))
    assert action.value["heed"] is heed


@pytest.mark.parametrize(
    ("desired", "observed", "ready", "reason", "waiting"),
    [
        pytest.param(Desired(state="running"), seen(), True, "InSync", False, id="it runs"),
        pytest.param(OFF, seen(), False, "Drifted", False, id="to be done"),
        pytest.param(OFF, seen(BACKUP), False, "Inhibited", True, id="somebody blocks"),
        pytest.param(OFF, seen(SLOW, AWAKE), False, "Drifted", False, id="nobody blocks a shutdown"),
        pytest.param(SUSPEND, seen(AWAKE), False, "Inhibited", True, id="somebody blocks sleep"),
        pytest.param(replace(OFF, patience_s=0), seen(BACKUP), False, "Drifted", False, id="no patience"),
        pytest.param(
            replace(OFF, patience_s=60),
            replace(seen(BACKUP), blocked_since_s=960.0),
            False,
            "Inhibited",
            True,
            id="still patient",
        ),
        pytest.param(
            replace(OFF, patience_s=60),
            replace(seen(BACKUP), blocked_since_s=940.0),
            False,
            "Drifted",
            False,
            id="out of patience",
        ),
        pytest.param(
            OFF,
            replace(seen(), machine=replace(RUNNING, state="shutting-down")),
            False,
            "ShuttingDown",
            True,
            id="under way",
        ),
        pytest.param(
            OFF, after("off@7", "begun", "b1"), False, "StartedAgain", False, id="somebody started it"
        ),
        pytest.param(OFF, after("off@7", "begun", "b2"), False, "OutcomeUnknown", False, id="off, not known"),
        pytest.param(OFF, after("off@7", "done", "b2"), False, "NotConfirmed", False, id="accepted, in vain"),
        pytest.param(REBOOT, after("reboot:t1", "begun", "b1"), True, "InSync", False, id="rebooted"),
        pytest.param(
            REBOOT, after("reboot:t1", "begun", "b2"), False, "OutcomeUnknown", False, id="not known"
        ),
        pytest.param(SUSPEND, after("suspend:t1", "done", "b2"), True, "InSync", False, id="slept"),
        pytest.param(
            SUSPEND,
            after("suspend:t1", "begun", "b1"),
            False,
            "OutcomeUnknown",
            False,
            id="slept, or lost power",
        ),
    ],
)
def test_verdict(desired: Desired, observed: Observed, ready: bool, reason: str, waiting: bool) -> None:
    verdict = Power.verdict(desired, observed, Power.diff(desired, observed))
    assert (verdict.ready, verdict.reason, verdict.waiting) == (ready, reason, waiting)
    assert verdict.failed is (reason == "OutcomeUnknown")


def test_says_who_inhibits_and_why() -> None:
    verdict = Power.verdict(OFF, seen(BACKUP, SLOW), Power.diff(OFF, seen(BACKUP, SLOW)))
    assert verdict.message == "backup (root): writing to tape"


@given(
    desired=st.one_of(
        st.builds(Desired, state=st.sampled_from([None, "running", "off", "halted"]), always=st.booleans()),
        st.builds(
            Desired,
            state=st.just("running"),
            once=st.sampled_from(["reboot", "suspend", "hibernate"]),
            token=st.sampled_from(["t1", "t2"]),
            deadline_s=st.none() | st.floats(1, 100),
        ),
    ),
    inhibitors=st.lists(st.sampled_from([BACKUP, SLOW, AWAKE])).map(tuple),
    deeds=st.dictionaries(
        st.sampled_from(["off@7", "off@6", "halt@7", "reboot:t1", "suspend:t1"]),
        st.just(Deed("refused", "b2", 7)),
    ),
)
def test_a_whole_plan_leaves_nothing_to_do(
    desired: Desired, inhibitors: tuple[Inhibitor, ...], deeds: dict[str, Deed]
) -> None:
    observed = replace(seen(*inhibitors), deeds=deeds)
    for action in Power.plan(desired, Power.diff(desired, observed)):
        assert action.verb in Power.verbs  # or a policy could not name it
        observed = Power.foresee(observed, action)
    assert Power.diff(desired, observed) == ()
    assert Power.verdict(desired, observed, ()).ready


@dataclass
class FakeSwitch:
    """A machine in memory."""

    held: Machine = RUNNING
    now_s: float = 1000.0
    brought: list[tuple[str, str, bool, float | None]] = field(default_factory=list)

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return self.now_s

    def machine(self) -> Machine:
        return self.held

    def bring(self, verb: Verb, *, message: str, heed: bool, deadline_s: float | None) -> None:
        self.brought.append((verb, message, heed, deadline_s))


@pytest.mark.parametrize(
    ("state", "holds"),
    [("running", False), ("shutting-down", True), ("going-to-sleep", True), ("off", False)],
)
def test_nothing_changes_while_it_goes_down(state: State, holds: bool) -> None:
    assert Power.holding(replace(seen(), machine=replace(RUNNING, state=state))) is holds


def test_acts_through_its_driver() -> None:
    guest = FakeSwitch()
    port: Switch = guest
    Power(port).act(Action("off", "guest", value={"message": "Bye", "heed": False, "deadline": 90}))
    Power(port).act(Action("reboot", "guest", value={"message": "", "heed": True}))
    assert guest.brought == [("off", "Bye", False, 90), ("reboot", "", True, None)]


def test_patience_is_counted_from_when_it_was_first_needed() -> None:
    guest = FakeSwitch()
    kind, desired = Power(guest), replace(OFF, patience_s=60)

    def look() -> Observed:
        return kind.observe(desired, Past(generation=7, boot_id="b2"))

    assert (look().blocked_since_s, Power.due_s(desired, look())) == (None, None)
    guest.held = replace(RUNNING, inhibitors=(BACKUP,))
    guest.now_s = 1010
    assert Power.due_s(desired, look()) == 1070
    guest.now_s = 1069
    assert Power.verdict(desired, look(), Power.diff(desired, look())).reason == "Inhibited"
    guest.now_s = 1070
    assert Power.verdict(desired, look(), Power.diff(desired, look())).reason == "Drifted"
    kind.observe(Desired(), Past(generation=8, boot_id="b2", preview=True))
    kind.observe(desired, Past(generation=8, boot_id="b2", preview=True))
    assert look().blocked_since_s == 1010
    guest.held = RUNNING
    assert look().blocked_since_s is None


def test_shows_the_same_as_long_as_nothing_changes() -> None:
    machine = replace(RUNNING, able=frozenset({"off", "halt"}), inhibitors=(BACKUP,))
    shown = Power.show(Observed(boot_clock_s=1, machine=machine))
    assert shown == Power.show(Observed(boot_clock_s=2, machine=machine))
    assert shown == {
        "state": "running",
        "bootId": "b2",
        "bootedAt": "2026-03-01T12:00:00Z",
        "able": ["halt", "off"],
        "inhibitors": [
            {
                "what": ["shutdown", "idle"],
                "who": "backup",
                "why": "writing to tape",
                "mode": "block",
                "user": "root",
            }
        ],
    }
    scheduled = replace(machine, scheduled=Scheduled("poweroff", "2026-03-01T13:00:00Z"))
    assert Power.show(Observed(boot_clock_s=1, machine=scheduled))["scheduled"] == {
        "verb": "poweroff",
        "at": "2026-03-01T13:00:00Z",
    }


def test_notices() -> None:
    def notices(before: Machine, after: Machine) -> tuple[Notice, ...]:
        return Power.notices(
            Observed(boot_clock_s=1, machine=before), Observed(boot_clock_s=2, machine=after)
        )

    asleep, later = replace(RUNNING, state="going-to-sleep"), Scheduled("reboot", "2026-03-01T13:00:00Z")
    assert notices(RUNNING, RUNNING) == ()
    assert notices(RUNNING, asleep) == (Notice("GoingToSleep", "going-to-sleep, was running"),)
    assert notices(asleep, RUNNING) == (Notice("WokeUp", "running, was going-to-sleep"),)
    assert notices(RUNNING, replace(RUNNING, scheduled=later)) == (
        Notice("ShutdownScheduled", "reboot at 2026-03-01T13:00:00Z"),
    )
    assert notices(replace(RUNNING, scheduled=later), RUNNING) == (
        Notice("ShutdownCancelled", "reboot at 2026-03-01T13:00:00Z"),
    )


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("power: off", OFF, id="short"),
        pytest.param("power: {}", Desired(state="running"), id="nothing said"),
        pytest.param("power: {reboot: {token: 3}}", replace(REBOOT, token="3"), id="reboot"),
        pytest.param(
            "power: {state: halted, message: Bye, patience: 10m, deadline: 90s, enforce: always}",
            Desired(state="halted", message="Bye", patience_s=600, deadline_s=90, always=True),
            id="long",
        ),
    ],
)
def test_reads(text: str, desired: Desired) -> None:
    assert Power.parse(read(text)[0].normal["power"]) == desired


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("power: suspended", id="a state that cannot be kept"),
        pytest.param("power: {reboot: {}}", id="no token"),
        pytest.param("power: {reboot: {token: a}, suspend: {token: b}}", id="two at once"),
        pytest.param("power: {state: off, reboot: {token: a}}", id="off and reboot"),
        pytest.param("power: {suspend: {token: a}, deadline: 10s}", id="nothing to cut short"),
        pytest.param("power: {hibernate: {token: a}, message: Bye}", id="nobody to tell"),
        pytest.param("power: {state: off, deadline: 0s}", id="no time at all"),
        pytest.param('power: {state: off, message: "a\\nb"}', id="two lines"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.power"):
        read(text)


def test_when_the_kernel_started() -> None:
    assert booted_s("cpu  1 2 3\nctxt 99\nbtime 1767225600\nprocesses 7\n") == 1767225600
