"""Conditions keep the time of their last change, and events tell of it once."""

from reconciler.journal import EVENTS_MAX, MESSAGE_MAX, OF_ONE_KIND_MAX, Journal
from reconciler.resource import Notice
from reconciler.status import Condition

GOOD = Condition("lamp", "True", "InSync")
BAD = Condition("lamp", "False", "Drifted", "lamp: lit")


def journal() -> Journal:
    return Journal(lambda now_s: f"t{now_s:g}")


def test_the_time_is_that_of_the_last_change_of_status() -> None:
    kept = journal()
    for now_s, condition in enumerate((BAD, BAD, GOOD, GOOD)):
        kept.judge([condition], now_s)
    assert [c.last_transition for c in kept.conditions] == ["t2"]
    assert [(event.time, event.reason) for event in kept.since(0)] == [("t0", "Drifted"), ("t2", "InSync")]


def test_a_document_that_changes_nothing_is_no_event() -> None:
    kept = journal()
    unseen = Condition("lamp", "Unknown", "NotSeenYet")
    for now_s, condition in enumerate((unseen, GOOD, unseen, GOOD, unseen, BAD, unseen, GOOD)):
        kept.judge([condition], now_s)
    assert [(event.time, event.reason) for event in kept.since(0)] == [
        ("t1", "InSync"),
        ("t5", "Drifted"),
        ("t7", "InSync"),
    ]
    kept.judge([], 8)
    kept.judge([GOOD], 9)
    assert kept.since(kept.last - 1)[0].time == "t9"


def test_what_is_no_longer_judged_is_forgotten() -> None:
    kept = journal()
    kept.judge([GOOD], 1)
    kept.judge([], 2)
    assert kept.conditions == ()


def test_a_kind_that_never_rests_pushes_out_what_it_told_itself() -> None:
    kept = journal()
    kept.add("door", "Opened", "", 0)
    for number in range(2 * EVENTS_MAX):
        kept.add("lamp", "Lit", "", number)
    assert kept.since(0)[0].reason == "Opened"
    assert len(kept.since(0)) == EVENTS_MAX
    for number in range(OF_ONE_KIND_MAX + 1):
        kept.add("bell", "Rung", "", number)
    assert sum(event.kind == "lamp" for event in kept.since(0)) == OF_ONE_KIND_MAX


def test_the_same_notice_is_told_once_a_second_and_another_between_is_news() -> None:
    kept = journal()
    lit, dark = Notice("Lit", ""), Notice("Dark", "")
    for now_s, notice in ((1.0, lit), (1.5, lit), (1.9, lit), (2.0, lit), (2.1, dark), (2.2, lit)):
        kept.note("lamp", notice, now_s)
    kept.note("bulb", lit, 2.2)
    told = [(event.kind, event.reason, event.time) for event in kept.since(0)]
    assert told == [
        ("lamp", "Lit", "t1"),
        ("lamp", "Lit", "t2"),
        ("lamp", "Dark", "t2.1"),
        ("lamp", "Lit", "t2.2"),
        ("bulb", "Lit", "t2.2"),
    ]


def test_events_are_numbered_and_bounded() -> None:
    kept = journal()
    for number in range(EVENTS_MAX + 5):
        kept.add("lamp", "Lit", "x" * (MESSAGE_MAX + 1), number)
    assert kept.last == EVENTS_MAX + 5
    assert [event.seq for event in kept.since(0)] == list(range(6, EVENTS_MAX + 6))
    assert [event.seq for event in kept.since(kept.last - 1)] == [kept.last]
    assert kept.since(kept.last) == ()
    assert len(kept.since(0)[0].message) == MESSAGE_MAX
