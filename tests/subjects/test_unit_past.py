"""What has become of a unit, look after look."""

from dataclasses import replace

import pytest

from reconciler.subjects.unit_past import End, Spell, came_about
from reconciler.subjects.units import Unit

WEB = Unit(name="web.service", id="web.service", file="disabled")
UP = replace(WEB, active="active", sub="running")
FELL = replace(WEB, active="activating", sub="auto-restart", result="exit-code", exit="status 1")


def lived(*looks: tuple[float, Unit]) -> Spell:
    spell: Spell | None = None
    for now_s, unit in looks:
        spell = Spell.of(unit, spell, now_s)
    assert spell is not None
    return spell


def test_counts_what_comes_back_in_a_row() -> None:
    looks = [(0.0, UP), *((number * 300.0, replace(FELL, restarts=number)) for number in range(1, 5))]
    assert not lived(*looks[:-1]).restless(900)
    spell = lived(*looks)
    assert spell == Spell(4, 4, 1200, " (exit-code, status 1)")
    # Up again it is no other, until it has kept up for some time.
    spell = lived(*looks, (1201, replace(UP, restarts=4)))
    assert spell.ended == " (exit-code, status 1)"
    assert (spell.restless(1799), spell.restless(1800), spell.over_s) == (True, False, 1800)


@pytest.mark.parametrize(
    ("looks", "count"),
    [
        pytest.param([(0, replace(UP, restarts=99))], 0, id="what was before the first look is not known"),
        pytest.param([(0, UP), (1, replace(UP, restarts=5))], 5, id="several between two looks"),
        pytest.param([(0, UP), (1, replace(UP, restarts=5)), (2, UP)], 0, id="somebody started it"),
        pytest.param(
            [(0, UP), (1, replace(UP, restarts=5)), (601, replace(UP, restarts=6))], 1, id="long after"
        ),
    ],
)
def test_counts_anew(looks: list[tuple[float, Unit]], count: int) -> None:
    assert lived(*looks).count == count


@pytest.mark.parametrize(
    ("verb", "unit", "it_did"),
    [
        ("stop", WEB, True),
        ("stop", UP, False),
        ("start", UP, True),
        ("start", FELL, False),
        ("enable", replace(WEB, file="enabled"), True),
        ("enable", replace(WEB, file="enabled-runtime"), False),
        ("disable", WEB, True),
        ("disable", replace(WEB, file="enabled-runtime"), False),
        ("mask", replace(WEB, file="masked"), True),
        ("mask", replace(WEB, file="masked-runtime"), False),
        ("unmask", WEB, True),
        ("unmask", replace(WEB, file="masked-runtime"), False),
    ],
)
def test_what_came_about(verb: str, unit: Unit, it_did: bool) -> None:
    assert came_about(verb, unit) is it_did


def test_why_a_job_ended_so() -> None:
    assert [End("done").why, End("timeout").why] == ["", "it was not ready in time"]
    assert End("skipped", "AssertX=y").why == "its conditions are not met: AssertX=y"
