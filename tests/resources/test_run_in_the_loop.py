"""Tasks through the real loop: what one of them does is no matter of the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.errors import DriverError, ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.resources.run import Commands, Run
from reconciler.store import Store
from reconciler.subjects.task import Outcome, Task
from tests.lamps import MemoryDisk, written

SECONDS_MAX = 60


class Machine:
    """Fills the port: a task runs until it is in `over`, and is refused while it is in `refused`."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.over: set[str] = set()
        self.refused: set[str] = set()
        self.kept: list[str] = []

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return 0.0

    def check(self, tasks: Sequence[Task]) -> None:
        pass

    def runs(self, tasks: Sequence[Task]) -> Mapping[str, Outcome]:
        return {task.name: self.outcome(task) for task in tasks if task.name in self.began}

    def outcome(self, task: Task) -> Outcome:
        if task.name not in self.over:
            return Outcome(token=task.token, state="running", started_at="S")
        return Outcome(token=task.token, state="ended", exit_code=0, kept=task.name in self.kept)

    def start(self, task: Task, secret: bytes | bytearray, wanted: Sequence[Task]) -> None:
        if task.name in self.refused:
            raise DriverError(f"cannot run {task.name}: there is no user")
        self.began.append(task.name)

    def keep(self, task: Task) -> None:
        self.kept.append(task.name)


MACHINE: Commands = Machine()  # holds it to the port, for the type checker


class Guest:
    """An agent with the one kind, whose clock a test owns."""

    def __init__(self, *names: str) -> None:
        self.machine, self.now_s = Machine(), 0.0
        self.loop = Loop(
            Setting(resources={"run": Run(self.machine)}),
            Store(MemoryDisk(), "b1"),
            lambda time_s: f"{time_s:g}",
        )
        self.tasks = {name: {"token": "1", "shell": "x"} for name in names}
        self.reasons: list[str] = []

    def offer(self, generation: int, **more: Any) -> None:
        self.loop.offer(written(generation, run={"tasks": self.tasks}, **more))
        self.settle()

    def settle(self) -> None:
        """Until nothing is to be done, or a minute has gone by."""
        end_s = self.now_s + SECONDS_MAX
        self.loop.wake("run")
        while self.now_s < end_s:
            jobs = self.loop.step(self.now_s)
            for job in jobs:
                result, error = None, None
                try:
                    result = job.run()
                except ReconcilerError as failure:
                    error = failure
                self.loop.answer(job, result, error, self.now_s)
                self.reasons += [each.reason for each in self.loop.journal.conditions]
            # An answer may let the next job begin.
            self.now_s = self.now_s + 0.01 if jobs else max(self.now_s + 0.01, min(end_s, self.loop.next_s()))


def test_a_result_is_kept_while_another_task_runs() -> None:
    guest = Guest("a", "b")
    guest.machine.over = {"a"}
    guest.offer(1)
    assert (guest.machine.began, guest.machine.kept) == (["a", "b"], ["a"])
    assert guest.reasons[-1] == "Running"
    guest.machine.over = {"a", "b"}
    guest.settle()
    assert guest.machine.kept == ["a", "b"]
    assert guest.reasons[-1] == "Succeeded"
    assert "DriverError" not in guest.reasons


def test_one_that_is_refused_holds_up_no_other_and_begins_when_it_can() -> None:
    guest = Guest("a", "b")
    guest.machine.refused, guest.machine.over = {"a"}, {"b"}
    guest.offer(1)
    assert (guest.machine.began, guest.machine.kept) == (["b"], ["b"])
    assert guest.reasons[-1] == "DriverError"
    guest.machine.refused = set()
    guest.now_s += 600
    guest.settle()
    assert guest.machine.began == ["b", "a"]


def test_other_documents_and_a_task_that_comes_later_repeat_nothing() -> None:
    guest = Guest("a")
    guest.machine.over = {"a", "b"}
    guest.offer(1)
    guest.tasks["b"] = {**guest.tasks["a"], "token": "9"}
    guest.offer(2)
    guest.offer(3, hostname={"static": "web-01"})
    assert guest.machine.began == ["a", "b"]
    assert guest.machine.kept == ["a", "b"]


def test_enforced_once_it_still_keeps_what_ended_later() -> None:
    guest = Guest("a", "b")
    guest.loop.offer(written(1, run={"tasks": guest.tasks, "enforce": "once"}))
    guest.settle()
    guest.machine.over = {"a", "b"}
    guest.settle()
    assert guest.machine.kept == ["a", "b"]


def test_what_a_document_drops_goes_on_and_is_not_begun_again() -> None:
    guest = Guest("a", "b")
    guest.offer(1)
    dropped = guest.tasks.pop("a")
    guest.offer(2)
    assert guest.loop.status().observed["run"]["tasks"].keys() == {"b"}
    guest.machine.over = {"a", "b"}
    guest.loop.offer(written(3))
    guest.settle()
    assert guest.loop.status().observed["run"] == {}
    guest.tasks["a"] = dropped
    guest.offer(4)
    assert guest.machine.began == ["a", "b"]
    assert guest.reasons[-1] == "Succeeded"
