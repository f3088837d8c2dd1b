"""A timer on the boot clock."""

import os
import select
from collections.abc import Iterator

import pytest

from guest_runtime.protection import Timer
from reconciler.guarding.kernel import boot_clock_s


@pytest.fixture
def timer() -> Iterator[Timer]:
    timer = Timer()
    yield timer
    os.close(timer.fd)


def rings(timer: Timer, wait_s: float) -> bool:
    return bool(select.select([timer.fd], [], [], wait_s)[0])


def test_it_rings_when_it_is_due_and_not_before(timer: Timer) -> None:
    due_s = boot_clock_s() + 0.1
    timer.set(due_s)
    assert rings(timer, 5)
    assert 0 <= boot_clock_s() - due_s < 1


@pytest.mark.parametrize(
    ("due_s", "rung"),
    [
        pytest.param(0.0, True, id="long ago"),
        pytest.param(-5.0, True, id="before the boot"),
        pytest.param(float("inf"), False, id="never"),
    ],
)
def test_the_ends_of_time(timer: Timer, due_s: float, rung: bool) -> None:
    timer.set(due_s)
    assert rings(timer, 0.05) is rung


def test_to_set_it_anew_takes_back_what_was_due(timer: Timer) -> None:
    timer.set(0.0)
    assert rings(timer, 5)
    timer.set(float("inf"))
    assert not rings(timer, 0)
