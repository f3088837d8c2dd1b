"""The user's command: its status, and where signals go."""

import asyncio
import signal
import sys

import pytest

from reconciler.host.child import Child, NotStarted


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 9"], 9),
        (["sh", "-c", "kill -KILL $$"], 137),
    ],
)
def test_its_status(words: list[str], status: int) -> None:
    assert asyncio.run(Child(lambda: None).run(words)) == status


@pytest.mark.parametrize(("words", "code"), [(["/nonexistent"], 127), (["/"], 126)])
def test_what_can_not_start(words: list[str], code: int) -> None:
    with pytest.raises(NotStarted, match=f"cannot run {words[0]}") as failed:
        asyncio.run(Child(lambda: None).run(words))
    assert failed.value.code == code


def test_a_signal_before_the_start_stops_us_once() -> None:
    stops: list[int] = []
    child = Child(lambda: stops.append(1))
    child.take(signal.SIGTERM)
    child.take(signal.SIGINT)
    assert (stops, child.stopped_by) == ([1], signal.SIGTERM)


def test_a_signal_during_the_start_is_for_the_command() -> None:
    async def work() -> None:
        stops: list[int] = []
        child = Child(lambda: stops.append(1))
        running = asyncio.create_task(child.run(["sleep", "60"]))
        await asyncio.sleep(0)  # it is being started now
        assert child._process is None
        child.take(signal.SIGTERM)
        assert await running == 143
        assert (stops, child.stopped_by) == ([], 0)

    asyncio.run(work())


def test_a_signal_after_the_end_is_too_late() -> None:
    async def work() -> None:
        stops: list[int] = []
        child = Child(lambda: stops.append(1))
        await child.run(["true"])
        child.take(signal.SIGINT)
        assert (stops, child.stopped_by) == ([], 0)

    asyncio.run(work())


def test_a_cancelled_run_leaves_no_process() -> None:
    async def work() -> None:
        child = Child(lambda: None)
        running = asyncio.create_task(child.run([sys.executable, "-c", "import signal; signal.pause()"]))
        while child._process is None:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert child._process.returncode == -signal.SIGKILL

    asyncio.run(work())


def test_signals_are_given_back() -> None:
    async def work() -> None:
        with Child(lambda: None).signals():
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    asyncio.run(work())
