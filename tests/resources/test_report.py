"""What is read when, what is worth telling, and what one failing item costs the others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import (
    collectd,
    docker,
    login1,
    metrics_exec,
    proc_net,
    rpm,
    rtnetlink,
    systemd1,
    udisks2,
)
from reconciler.errors import DriverError, Unsupported
from reconciler.resource import Cancellable, Json, Past, Watch, Watching
from reconciler.resources import report
from reconciler.resources.report import (
    Ask,
    Desired,
    Observed,
    Reading,
    Report,
    Source,
    due,
    next_s,
)
from reconciler.subjects.items import KEPT

MI = 1 << 20
GI = 1 << 30


class Clock:
    now_s = 1000.0


@dataclass
class FakeWatch:
    """Rings when it is told to."""

    items: tuple[str, ...]
    ringing: bool = False

    def fileno(self) -> int:
        return 77

    def drain(self) -> bool:
        rang, self.ringing = self.ringing, False
        return rang


@dataclass
class FakeSource:
    """Answers with what stands in `values`: a value, or an error to raise."""

    items: ClassVar[tuple[str, ...]]
    needs: ClassVar[str] = "a fake"
    values: dict[str, Any]
    clock: Clock = field(default_factory=Clock)
    reads: list[str] = field(default_factory=list)
    rung: list[FakeWatch] = field(default_factory=list)
    cancelled: int = 0

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return self.clock.now_s

    def read(self, item: str) -> Json:
        self.reads.append(item)
        value = self.values[item]
        if isinstance(value, BaseException):
            raise value
        return value() if callable(value) else value

    def watches(self) -> Sequence[Watch]:
        return self.rung

    def cancel(self) -> None:
        self.cancelled += 1


def source(clock: Clock | None = None, **values: Any) -> FakeSource:
    class Fake(FakeSource):
        items = tuple(values)

    return Fake(values, clock or Clock())


def ring(kind: Report, *items: str) -> bool:
    """An event in the guest; whether it wakes the loop."""
    woken = False
    for watch in heard(kind):
        inner: FakeWatch = watch._watch
        inner.ringing = not items or inner.items == items
        woken = watch.drain() or woken
    return woken


def heard(kind: Report) -> list[Any]:
    return [watch for driver in kind.drivers() if isinstance(driver, Watching) for watch in driver.watches()]


FAKE: Source = FakeSource({})  # holds the fake to the port, for the type checker


def test_all_sources_may_be_slow_in_one_look() -> None:
    bounds = (
        rpm._BUSY_S + rpm._COMMAND_S,
        4 * systemd1._CALL_S + systemd1._LOGS_S + systemd1._CALL_S,
        2 * login1._DEADLINE_S,  # sessions, users
        rtnetlink._DEADLINE_S,
        docker._ANSWER_S,
        2 * udisks2._CALL_S,
        proc_net._WALK_S,
        collectd._DEADLINE_S + metrics_exec._PATIENCE_S,
    )
    assert sum(bounds) < Report.observe_deadline_s


def asking(**every_s: float) -> Desired:
    return Desired(
        items={item: Ask(every_s=s, threshold=KEPT[item].percent / 100) for item, s in every_s.items()}
    )


def shown(kind: Report, desired: Desired) -> Json:
    return Report.show(kind.observe(desired, Past()))


def judged(kind: Report, desired: Desired) -> tuple[bool, str, str]:
    verdict = Report.verdict(desired, kind.observe(desired, Past()), ())
    assert verdict.failed is not verdict.ready, "the guest is degraded by it"
    return verdict.ready, verdict.reason, verdict.message


# When it is read


def test_only_what_is_due_is_read_again() -> None:
    clock = Clock()
    guest = source(clock, memory={"total": GI}, os={"id": "debian"})
    kind, desired = Report((guest,)), asking(memory=10, os=3600)
    observed = kind.observe(desired, Past())
    assert Report.due_s(desired, observed) == 1010
    assert guest.reads == ["memory", "os"]
    clock.now_s = 1009.9
    kind.observe(desired, Past())
    assert guest.reads == ["memory", "os"]
    clock.now_s = 1010
    kind.observe(desired, Past())
    assert guest.reads == ["memory", "os", "memory"]


def test_what_an_event_touched_is_read_before_its_time_and_nothing_else() -> None:
    guest = source(memory={"total": GI}, nics={}, hostname={"static": "a"})
    guest.rung += [FakeWatch(("nics", "hostname")), FakeWatch(("memory",))]
    kind, desired = Report((guest,)), asking(memory=10, nics=60)
    kind.observe(desired, Past())
    guest.reads.clear()
    assert ring(kind, "nics", "hostname")
    kind.observe(desired, Past())
    assert guest.reads == ["nics"]
    kind.observe(desired, Past())
    assert guest.reads == ["nics"]


def test_an_event_wakes_only_for_what_is_asked() -> None:
    guest = source(memory={"total": GI}, nics={})
    guest.rung.append(FakeWatch(("nics",)))
    kind = Report((guest,))
    kind.observe(asking(memory=10), Past())
    assert not ring(kind)
    kind.observe(asking(nics=60), Past())
    assert [watch.fileno() for watch in heard(kind)] == [77]
    assert ring(kind)


def test_a_watch_that_names_no_items_is_about_all_of_its_source() -> None:
    guest = source(users={}, sessions={})
    guest.rung.append(FakeWatch(()))
    kind, desired = Report((guest,)), asking(users=60, sessions=60)
    kind.observe(desired, Past())
    assert ring(kind)
    kind.observe(desired, Past())
    assert guest.reads == ["users", "sessions"] * 2


def test_a_call_that_takes_too_long_is_cut_in_its_source() -> None:
    guest = source()
    for driver in Report((guest,)).drivers():
        assert isinstance(driver, Cancellable)
        driver.cancel()
    assert guest.cancelled == 1


def test_an_event_is_not_lost_when_a_source_before_it_hangs() -> None:
    class Hang(BaseException):
        pass

    guest = source(memory={"total": GI}, nics={"eth0": {"mtu": 1500}})
    guest.rung.append(FakeWatch(("memory", "nics")))
    kind, desired = Report((guest,)), asking(memory=10, nics=60)
    kind.observe(desired, Past())
    assert ring(kind)
    guest.values |= {"memory": Hang(), "nics": {"eth0": {"mtu": 9000}}}
    with pytest.raises(Hang):
        kind.observe(desired, Past())
    guest.values["memory"] = {"total": GI}
    assert shown(kind, desired)["nics"] == {"eth0": {"mtu": 9000}}


def test_what_is_no_longer_asked_for_is_forgotten_and_newly_asked_is_read_at_once() -> None:
    guest = source(os={"id": "debian"}, kernel={"release": "6.1"})
    kind = Report((guest,))
    assert shown(kind, asking(os=3600)) == {"os": {"id": "debian"}}
    assert shown(kind, asking(kernel=3600)) == {"kernel": {"release": "6.1"}}
    assert shown(kind, Desired()) == {}
    assert Report.due_s(Desired(), kind.observe(Desired(), Past())) is None


@given(
    every_s=st.integers(1, 86_400),
    read_s=st.floats(0, 1e9),
    failures=st.integers(0, 100),
    unsupported=st.booleans(),
)
def test_an_item_is_due_after_it_was_read_and_within_its_period(
    every_s: int, read_s: float, failures: int, unsupported: bool
) -> None:
    reading = Reading(read_s, None, "why" if failures else "", unsupported, failures)
    ask = Ask(every_s=every_s)
    assert read_s < next_s(ask, reading) <= read_s + every_s
    assert due(ask, reading, next_s(ask, reading))


def test_items_of_one_period_come_due_together() -> None:
    ask = Ask(every_s=10)
    assert {next_s(ask, Reading(read_s)) for read_s in (1000.0, 1003.7, 1009.99)} == {1010.0}


# What fails


def test_a_failing_item_leaves_the_rest_and_is_named() -> None:
    guest = source(apps=DriverError("cannot open the database: locked"), memory={"total": GI})
    kind, desired = Report((guest,)), asking(memory=10, apps=600)
    assert judged(kind, desired) == (False, "Degraded", "cannot read apps: cannot open the database: locked")
    assert shown(kind, desired) == {"memory": {"total": GI}}


def test_a_failing_item_is_tried_again_ever_more_slowly_until_it_works() -> None:
    clock = Clock()
    guest = source(clock, apps=DriverError("locked"))
    kind, desired = Report((guest,)), asking(apps=600)
    waits = []
    for _ in range(6):
        due_s = Report.due_s(desired, kind.observe(desired, Past()))
        assert due_s is not None
        waits.append(due_s - clock.now_s)
        clock.now_s = due_s
    assert waits == [5, 10, 20, 40, 80, 45]  # the last is cut at the period's end, 1200
    guest.values["apps"] = {"bash": {}}
    assert shown(kind, desired) == {"apps": {"bash": {}}}
    assert judged(kind, desired) == (True, "InSync", "")


def test_what_no_source_offers_is_unsupported_and_named() -> None:
    kind, desired = Report((source(memory={"total": GI}),)), asking(memory=10, services=60)
    ready, reason, message = judged(kind, desired)
    assert (ready, reason) == (False, "Unsupported")
    assert message.startswith("cannot read services: ")
    assert shown(kind, desired) == {"memory": {"total": GI}}


def test_the_first_source_wins_and_the_next_is_tried_when_it_cannot() -> None:
    desired = asking(users=60)
    first, second = source(users={"alice": {}}), source(users={"bob": {}})
    assert shown(Report((first, second)), desired) == {"users": {"alice": {}}}
    assert second.reads == []
    first.values["users"] = Unsupported("no logind")
    assert shown(Report((first, second)), desired) == {"users": {"bob": {}}}
    first.values["users"] = DriverError("hung up")
    assert judged(Report((first, second)), desired) == (False, "Degraded", "cannot read users: hung up")


def test_apps_and_metrics_are_joined_and_one_source_fails_alone() -> None:
    desired = asking(metrics=60)
    sources = (
        source(metrics={"a": {"x": 1}}),
        source(metrics={"b": {"y": 2}}),
        source(metrics=Unsupported("no")),
    )
    assert shown(Report(sources), desired) == {"metrics": {"a": {"x": 1}, "b": {"y": 2}}}
    assert judged(Report(sources), desired) == (True, "InSync", "")
    sources[0].values["metrics"] = DriverError("broken")
    assert shown(Report(sources), desired) == {"metrics": {"b": {"y": 2}}}
    assert judged(Report(sources), desired) == (False, "Degraded", "cannot read metrics: broken")


def test_what_is_too_large_to_send_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "ITEM_CHARS_MAX", 100)
    kind, desired = Report((source(apps={"a" * 200: {}}),)), asking(apps=60)
    assert judged(kind, desired) == (False, "Degraded", "cannot read apps: more than 100 characters")
    assert shown(kind, desired) == {}


def test_a_message_is_bounded() -> None:
    observed = Observed(0, {"apps": Report((source(apps=DriverError("x" * 10_000)),))._read("apps", 0)})
    assert len(Report.verdict(Desired(), observed, ()).message) < 400


ROW = re.compile(r"\| `(\w+)` \| (\d+) s \| (?:(\d+) %)? ?\|")


def test_the_inventory_is_written_down() -> None:
    text = (Path(__file__).parents[2] / "specs/inventory.md").read_text()
    written = {item: (float(every), float(percent or 0)) for item, every, percent in ROW.findall(text)}
    assert written == {item: (kept.every_s, kept.percent) for item, kept in KEPT.items()}
    told = set(re.findall(r"^### (.*?):", text, re.MULTILINE))
    assert {item for names in told for item in names.split(", ")} == set(KEPT)


def test_a_preview_leaves_no_trace() -> None:
    fake = source(memory={"total": 1}, os={"id": "x"})
    kind, desired = Report((fake,)), Desired(items={"memory": Ask(every_s=10), "os": Ask(every_s=10)})
    kind.observe(desired, Past())
    ring(kind)
    kind.touch(("os",))
    shown = Report.show(kind.observe(Desired(items={"os": Ask(every_s=10)}), Past(preview=True)))
    assert shown == {"os": {"id": "x"}}
    fake.reads.clear()
    assert Report.show(kind.observe(desired, Past())).keys() == {"memory", "os"}
    assert fake.reads == ["os"], "that it was touched is not forgotten, and nothing else is read again"
    assert kind.touch(("memory",))


def test_an_item_that_surprises_fails_alone() -> None:
    fake = source(memory={"total": 1}, os=ValueError("year is out of range"))
    kind, desired = Report((fake,)), Desired(items={"memory": Ask(every_s=10), "os": Ask(every_s=10)})
    assert judged(kind, desired) == (
        False,
        "Degraded",
        "cannot read os: ValueError: year is out of range",
    )
    assert Report.show(kind.observe(desired, Past())) == {"memory": {"total": 1}}
