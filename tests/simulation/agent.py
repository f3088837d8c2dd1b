"""The real daemon without descriptors and threads: its calls are made when the seed says."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from guest_runtime import daemon
from guest_runtime.log import Log
from guest_runtime.methods import Methods
from guest_runtime.systemd import Notify
from guest_runtime.validation import Validation
from guest_runtime.validator import answer as validated
from reconciler.errors import Busy, DriverError, Fault, InvalidSpec, ReconcilerError
from reconciler.loop import Job, Loop, Setting
from reconciler.store import Store
from reconciler.track import Answer, State
from reconciler.transports.memory import Memory
from tests.lamps import Crash
from tests.simulation.drivers import resources
from tests.simulation.machine import Machine, Mishap

Json = Any

TURNS_MAX = 3000  # in one second; a bad channel brings some hundred
TICK_S = 1e-6  # time goes on between two turns, as it does in life


class Reading(Validation):
    """The validating child's work, done here."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def ask(self, request: Json) -> Json:
        if self._machine.luck.strikes("errors", 0.3):
            raise Busy("cannot read the document: the validating process gave no answer")
        decoded = json.loads(_validated(json.dumps(request)))
        if "faults" in decoded:
            raise InvalidSpec(*(Fault(*fault) for fault in decoded["faults"]))
        return decoded

    def warm(self) -> None:
        pass

    def reap(self) -> bool:
        return False


@lru_cache(maxsize=1024)
def _validated(request: str) -> str:
    return json.dumps(validated(json.loads(request)))


@dataclass
class Agent(daemon.Daemon):
    """One life of the agent. Whoever makes it has put the machine's clock in the daemon's place."""

    machine: Machine = field(kw_only=True)

    @classmethod
    def start(cls, machine: Machine) -> "Agent":
        setting = Setting(resources=resources(machine), jitter=machine.luck.draw.random)
        return cls(setting, [Memory()], "", Reading(machine), machine=machine)

    def __post_init__(self) -> None:
        [endpoint] = self.endpoints
        assert isinstance(endpoint, Memory)
        self.endpoint = endpoint
        self.alive = True
        self.paused = self._woken = False
        self.turned: Callable[[], None] = lambda: None
        self.running = 0  # calls under way
        self.hanging: list[Callable[[], None]] = []  # what lets each hanging call return
        self._turns = self._second = 0
        self._due: object = None  # the next turn that is waited for
        self._boot_id = self.machine.boot_id
        self._store = Store(self.machine.disk, self._boot_id)
        self._loop = Loop(self.setting, self._store, daemon.stamp)
        self._methods = Methods(
            loop=self._loop,
            store=self._store,
            validation=self.validation,
            background=self._background,
            revision=lambda: self.report.revision,
            clock_s=self.machine.now_s,
            rehearsing=False,
        )
        self._conversations = {}
        self._answers = deque()
        self.log = Log()
        self._watched = {}
        self._awake = set(self._loop.tracks)  # the machine tells it of changes
        self._notify = Notify()
        self._reap_s = float("inf")

    @property
    def loop(self) -> Loop:
        return self._loop

    @property
    def store(self) -> Store:
        return self._store

    def prepare(self) -> None:
        pass

    def wake(self) -> None:
        """A descriptor became readable: the next turn takes all that has come by then."""
        if not self._woken:
            self._woken = True
            self.machine.clock.after(0.0, self.turn)

    def turn(self) -> None:
        """What `run` does between two waits."""
        self._woken = False
        if not self.alive or self.paused:
            return
        self.take_answers()
        for event in self.endpoint.poll(self.machine.now_s()):
            self._hear(event)
        self._turn()
        self.turned()
        self._watch_for_spinning()
        wait_s, due = self._wait_s(), object()
        self._due = due
        if wait_s is not None:
            self.machine.clock.after(wait_s + TICK_S, lambda: self.turn() if self._due is due else None)

    def take_answers(self) -> None:
        while self._answers:
            self._answers.popleft()()

    def _watch_for_spinning(self) -> None:
        second = int(self.machine.clock.time())
        self._turns = self._turns + 1 if second == self._second else 0
        self._second = second
        if self._turns > TURNS_MAX:
            self.paused = True
            self.machine.wrong(f"the agent spins: {TURNS_MAX} turns in one second")

    def quiet(self) -> bool:
        """Whether nothing is under way, nor hangs."""
        stuck = any(track.state is not State.IDLE for track in self._loop.tracks.values())
        return not (self.running or stuck or self._loop.busy() or self._store.dirty)

    def let_return(self) -> None:
        """Whatever hangs comes back."""
        for over in self.hanging.copy():
            over()

    def _background(self, run: Callable[[], Any], answer: Answer) -> None:
        luck, clock = self.machine.luck, self.machine.clock
        job = answer.args[0] if isinstance(answer, partial) else None
        self.running += 1
        kind = job.kind if isinstance(job, Job) else ""

        def returned(result: Any, error: ReconcilerError | None) -> None:
            if self.alive:
                self.running -= 1
                self._answers.append(lambda: answer(result, error))
                self.wake()

        def call() -> None:
            outcome = self._outcome(run, job) if self.alive else None
            if outcome is None:
                return
            if luck.strikes("hangs", 0.3):
                self._hang(kind, lambda: returned(*outcome))
            else:
                clock.after(luck.little_s(), lambda: returned(*outcome))

        if luck.strikes("hangs", 0.3):
            self._hang(kind, call)
        else:
            clock.after(luck.little_s(), call)

    def _hang(self, kind: str, end: Callable[[], None]) -> None:
        machine = self.machine
        machine.say(f"hangs: {kind}")

        def over() -> None:
            if over in self.hanging:
                self.hanging.remove(over)
                if kind == "session":
                    # It comes so late that to a newer document it is another's hand.
                    machine.touched_s = machine.clock.time()
                machine.late = True
                end()
                machine.late = False

        self.hanging.append(over)
        machine.clock.after(machine.luck.draw.uniform(1, 60), over)

    def _outcome(self, run: Callable[[], Any], job: Job | None) -> tuple[Any, ReconcilerError | None] | None:
        """What came of a call as the daemon's threads tell it; None where the agent died in it."""
        machine = self.machine
        machine.acting = (job.kind, None) if job else ("", None)
        try:
            return run(), None
        except ReconcilerError as failure:
            return None, failure
        except (Mishap, OSError) as fault:
            return None, DriverError(f"cannot go on: {type(fault).__name__}: {fault}")
        except Crash:
            machine.killed()
            return None
        finally:
            machine.acting = ("", None)
