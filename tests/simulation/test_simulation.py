"""Thousands of seeds: the end is as without trouble, within a bound. See run.py for all that is held.

SIMULATION_SEEDS=100000 tries more of them, SIMULATION_FIRST=1000 others. What a failed seed did:
python -m tests.simulation SEED
"""

import os

import pytest

from tests.simulation.luck import SCRIPTS, TROUBLES, Luck, script_of
from tests.simulation.run import run, without_trouble

FIRST = int(os.environ.get("SIMULATION_FIRST", "0"))
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "1000"))
BLOCKS = 16


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_end_is_as_without_trouble(block: int) -> None:
    failed = {}
    for seed in range(FIRST + block, FIRST + SEEDS, BLOCKS):
        if wrongs := run(seed).wrongs:
            failed[seed] = wrongs[:3]
    assert failed == {}, f"to see what happened: python -m tests.simulation {min(failed)}"


def test_a_seed_is_one_story() -> None:
    for seed in range(10):
        once, again = run(seed, tracing=True), run(seed, tracing=True)
        assert once.trace == again.trace
        assert once.trace


def test_without_trouble_every_document_comes_about() -> None:
    for number in range(SCRIPTS):
        end = without_trouble(number)
        assert end.phase == "Converged"
        assert end.frozen == ()
        reasons = {reason for _, reason in end.conditions.values()}
        assert reasons <= {"InSync", "LeaseEnded", "Drifted"}


def test_every_trouble_comes_to_pass() -> None:
    happened = "\n".join(line for seed in range(100) for line in run(seed, tracing=True).trace)
    timed = ("cuts", "deaf", "leaving", "kills", "reboots", "pauses", "hands", "clock")
    told = ("the agent dies", "the guest dies", "hangs: ", "renewed", "AgentDied", "LeaseEnded", "Thawed")
    signs = {*(f"trouble: {name}" for name in timed), *told}
    assert {sign for sign in signs if sign not in happened} == set()
    lucks = [Luck(script_of(seed % SCRIPTS), seed) for seed in range(100)]
    assert {trouble for luck in lucks for trouble in luck.troubles} == set(TROUBLES)
