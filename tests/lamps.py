"""A kind made of nothing, a disk in memory and a loop whose clock the test owns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.errors import DriverError, ReconcilerError
from reconciler.loop import Job, Loop, Setting
from reconciler.resource import Action, Change, Driver, Json, Notice, Past, Phase, Resource, Touch, Verdict
from reconciler.spec import Spec, digest
from reconciler.store import Store

Observed = Mapping[str, Json]


class Crash(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Desired:
    fields: Mapping[str, Json] = field(default_factory=dict)


class Lamps(Driver):
    """Fields that can be seen and set, and everything that can go wrong with that."""

    def __init__(self, **state: Json) -> None:
        self.state: dict[str, Json] = state
        self.looks = 0
        self.acts: list[Action] = []
        self.blind: ReconcilerError | None = None
        self.stuck: ReconcilerError | None = None
        self.deaf = False
        self.cancelled = 0
        self.at_act: Callable[[], None] = lambda: None

    @classmethod
    def available(cls) -> bool:
        return True

    def cancel(self) -> None:
        self.cancelled += 1


class Lamp(Resource[Desired, Observed, Lamps], kind="test-lamp"):
    """Sets each field; `frozen...` holds while true, `leave` precedes `enter`, each `ring` is rung once.

    While it `glows`, what was done is under way.
    """

    def observe(self, desired: Desired, past: Past) -> Observed:
        self.driver.looks += 1
        if self.driver.blind:
            raise self.driver.blind
        token = desired.fields.get("ring")
        rung = {"ring": token} if token and past.spent(token) else {}
        return {**self.driver.state, **rung}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        return Desired({key: value for key, value in normal.items() if key != "enforce"})

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        wanted = desired.fields.items()
        return tuple(Change("lamp", k, v, observed.get(k)) for k, v in wanted if observed.get(k) != v)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(
            Action("set", c.field, phase_of(c), str(c.want) if c.field.endswith("ring") else None, c.want)
            for c in changes
        )

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        return {**observed, action.target: action.value}

    @staticmethod
    def holding(observed: Observed) -> bool:
        return any(value for key, value in observed.items() if key.startswith("frozen"))

    @classmethod
    def verdict(cls, desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if observed.get("glows"):
            return Verdict(False, "Glowing", waiting=True)
        return Resource.verdict(desired, observed, changes)

    @staticmethod
    def insists(desired: Desired, observed: Observed) -> bool:
        return bool(observed.get("insists"))

    @staticmethod
    def show(observed: Observed) -> Json:
        return dict(observed)

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        return (Notice("Lit", "the lamp went on"),) if after.get("lit") and not before.get("lit") else ()

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        return tuple(Touch("path", value) for key, value in desired.fields.items() if key == "path")

    def act(self, action: Action) -> None:
        if self.driver.stuck:
            raise self.driver.stuck
        self.driver.acts.append(action)
        if not self.driver.deaf:
            self.driver.state[action.target] = action.value
        self.driver.at_act()


del Resource.kinds["test-lamp"]  # it is no real kind


def phase_of(change: Change) -> Phase:
    if change.field.startswith(("leave", "enter")):
        return Phase[change.field[:5].upper()]
    if not change.field.startswith("frozen"):
        return Phase.CHANGE
    return Phase.HOLD if change.want else Phase.RELEASE


def lamp(kind: str, lamps: Lamps) -> Resource[Any, Any, Any]:
    """A kind of that name over `lamps`."""

    class Named(Lamp, kind=kind):
        __orig_bases__ = Lamp.__orig_bases__  # type: ignore[attr-defined]

    del Resource.kinds[kind]
    return Named(lamps)


class MemoryDisk:
    """Outlives the store that writes to it."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.aside: bytes | None = None
        self.writes = 0
        self.full = False
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def read(self) -> bytes | None:
        return self.content

    def replace(self, data: bytes) -> None:
        self.before()
        if self.full:
            raise OSError(28, "No space left on device")
        self.content = data
        self.writes += 1
        self.after()

    def set_aside(self) -> None:
        self.aside, self.content = self.content, None

    def broken(self) -> bool:
        return self.aside is not None


def written(generation: int, **normal: Mapping[str, Json]) -> Spec:
    return Spec(generation, digest(normal), normal)


class World:
    """A loop over lamps: kinds by name, each with lamps of its own."""

    def __init__(self, kinds: Mapping[str, Lamps], disk: MemoryDisk | None = None, **setting: Any) -> None:
        self.now_s = 100.0
        self.kinds = kinds
        self.disk = disk or MemoryDisk()
        self.store = Store(self.disk, "boot-1", lambda: self.now_s)
        resources = {kind: lamp(kind, lamps) for kind, lamps in kinds.items()}
        self.loop = Loop(Setting(resources=resources, **setting), self.store, lambda s: f"t{s:g}")

    def offer(self, generation: int, **normal: Mapping[str, Json]) -> str:
        return self.loop.offer(written(generation, **normal))

    def start(self) -> list[Job]:
        return self.loop.step(self.now_s)

    def finish(self, job: Job) -> None:
        """Do the job and hand in its answer, as a thread would."""
        try:
            result = job.run()
        except ReconcilerError as error:
            self.loop.answer(job, None, error, self.now_s)
        except OSError as error:
            self.loop.answer(job, None, DriverError(f"cannot save: {error.strerror}"), self.now_s)
        else:
            self.loop.answer(job, result, None, self.now_s)

    def settle(self, *hanging: str) -> list[Job]:
        """Do all that is due now but the jobs of kinds that hang; those are returned."""
        hung: list[Job] = []
        for _ in range(100):
            jobs = self.start()
            if not jobs:
                return hung
            hung += [job for job in jobs if job.kind in hanging]
            for job in jobs:
                if job.kind not in hanging:
                    self.finish(job)
        raise AssertionError("it never comes to rest")

    def settle_until(self, kind: str, what: str) -> list[Job]:
        """Do all that is due up to this kind's next job of that sort, which is returned."""
        for _ in range(100):
            jobs = self.start()
            found = [job for job in jobs if (job.kind, job.what) == (kind, what)]
            for job in jobs:
                if job not in found:
                    self.finish(job)
            if found:
                return found
            if not jobs:
                self.now_s = self.loop.next_s()
        raise AssertionError(f"{kind} had nothing to {what}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do whatever comes due when it does."""
        end_s = self.now_s + seconds
        for _ in range(10_000):
            self.settle()
            self.now_s = min(end_s, max(self.now_s, self.loop.next_s()))
            if self.now_s >= end_s:
                self.settle()
                return
        raise AssertionError("it never comes to rest")

    def condition(self, kind: str) -> tuple[str, str]:
        [found] = [c for c in self.loop.status().conditions if c.type == kind]
        return found.status, found.reason

    def message(self, kind: str) -> str:
        [found] = [c for c in self.loop.status().conditions if c.type == kind]
        return found.message
