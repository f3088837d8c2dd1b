"""One run from a seed: everything happens, the trouble ends, and the end is looked at.

What has to be so in each run:

1. Within `bound_s` after the last trouble the guest and the host's view of it are as they
   would be without any, and stay so; another pass does nothing.
2. What has a token took effect once at most, and once unless the agent died in the act.
3. The generation that the host sees only grows, but for documents that a dead agent had not saved.
4. What is on the disk in the end is what the agent goes by.
5. No freeze outlasts its lease, and nothing is written while one holds.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from guest_runtime import daemon
from reconciler.host.client import Guest
from reconciler.track import BACKOFF_MAX_S, PERIOD_S
from tests.simulation.agent import Agent
from tests.simulation.clock import Clock
from tests.simulation.host import AGAIN_S, Keeper
from tests.simulation.line import Line
from tests.simulation.luck import SCRIPTS, Luck, script_of
from tests.simulation.machine import Machine
from tests.simulation.trouble import schedule
from tests.simulation.verdict import End, differences, end_of, in_doubt, is_saved, out_of_step

Json = Any

RESTART_S = 0.3
STEP_S = 5.0  # between two looks whether the end has come, when it takes long
SAVE_AGAIN_S = 30.0


@dataclass
class Outcome:
    wrongs: list[str]
    trace: list[str]
    end: End | None = None
    took_s: float = 0.0  # after the last trouble


class Run:
    def __init__(self, luck: Luck, tracing: bool) -> None:
        self.luck = luck
        self.trace: list[str] = []
        self._tracing = tracing
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Clock)
        self.clock = loop
        self.machine = Machine(luck, self.clock, self.say)
        self.line = Line(luck, self.clock)
        self.host = Keeper(self.line, luck, self.say)
        self.agent: Agent | None = None
        self.lives = 0
        self._returning: asyncio.Task[None] | None = None  # of the host, after it died
        self._told: dict[tuple[str, int], tuple[int, Json]] = {}  # boot and revision: life and status
        self._seen = (0, 0)  # life and generation of what the host saw last
        self._saved = {0: 0}  # the generation that was on disk when each life ended
        self.machine.killed, self.machine.booted = self.kill, self.start_agent
        self.machine.stirred = self._wake
        self.machine.between = self._between
        self.line.stirred = self._turn
        self.host.saw, self.host.wrong = self._saw, self.machine.wrong

    def say(self, what: str) -> None:
        if self._tracing:
            self.trace.append(f"{self.clock.time():8.3f} {what}")

    # The agent's life

    def start_agent(self) -> None:
        if self.agent is not None:
            return
        self.lives += 1
        self.agent = Agent.start(self.machine)
        self.agent.turned = self._turned
        self.say(f"agent {self.lives} starts with generation {self.agent.loop.spec.generation}")
        self.agent.turn()
        self.line.agent_came(self.agent.endpoint)

    def kill(self) -> None:
        """SIGKILL: whatever it was about to do is not done."""
        agent, self.agent = self.agent, None
        if agent is None:
            return
        agent.alive = False
        self.say("the agent is dead")
        content = self.machine.disk.content
        self._saved[self.lives] = json.loads(content)["spec"]["generation"] if content else 0
        self.machine.guardian.end("AgentDied")
        self.line.agent_went()
        boots = self.machine.boots

        def again() -> None:
            if boots == self.machine.boots:
                self.start_agent()

        self.clock.after(RESTART_S, again)

    def _wake(self, kind: str) -> None:
        if self.agent is not None and kind in self.agent.loop.tracks and not self.luck.has("unseen"):
            self.agent.loop.wake(kind)
            self._turn()

    def _turn(self) -> None:
        if self.agent is not None:
            self.agent.wake()

    def _turned(self) -> None:
        agent = self.agent
        if agent is not None:
            report = agent.report
            self._told.setdefault((agent.boot_id(), report.revision), (self.lives, report.document))
            self.line.pull()

    def _saw(self, client: Guest) -> None:
        """The host has another status: it is one that was told, and goes back only to what was saved."""
        mirror = client.mirror
        life, document = self._told.get((mirror.boot_id, mirror.revision), (0, None))
        if mirror.status != document:
            self.machine.wrong(f"the host sees what was never told, at revision {mirror.revision}")
            return
        before, generation = self._seen[0], document["observedGeneration"]
        least = self._seen[1] if life == before else max(self._saved[n] for n in range(before, life))
        if life < before or generation < least:
            self.machine.wrong(f"the host sees life {life}, generation {generation} after {self._seen}")
        self._seen = life, generation

    def _between(self) -> None:
        if self.agent is not None:
            self.agent.take_answers()
            self.agent.turn()

    def leave_host(self) -> None:
        """The host's process ends, and another one begins that knows nothing but the documents."""
        if self._returning is None:
            self._returning = asyncio.create_task(self._restart_host())

    async def _restart_host(self) -> None:
        await self.host.stop()
        await asyncio.sleep(self.luck.draw.uniform(0, 2))
        self.host.start()
        self._returning = None

    # From the beginning to the end

    async def live(self, want: End | None) -> Outcome:
        self.start_agent()
        self.host.start()
        for scene in self.luck.script:
            self.clock.after(scene.at_s, lambda scene=scene: self.host.write(scene.normal))  # type: ignore[misc]
        schedule(self)
        await asyncio.sleep(self.luck.until_s)
        self._end_trouble()
        took_s = await self._settle(want)
        outcome = Outcome(self.machine.wrongs, self.trace, took_s=took_s)
        if not self.machine.wrongs:
            outcome.end = self._end()
            await self._pass_again()
        await self.host.stop()
        return outcome

    def _end_trouble(self) -> None:
        self.say("no more trouble")
        self.luck.over = True
        self.line.deaf_until_s = 0.0
        if self.agent is not None:
            self.agent.paused = False
            self.agent.let_return()
        self._turn()

    def _end(self) -> End | None:
        agent = self.agent
        if agent is None or not agent.report.revision:
            return None
        return end_of(self.machine, agent, self.luck.script[-1].normal)

    def _faults(self, want: End | None) -> list[str]:
        """Why it is not over yet."""
        end, normal = self._end(), self.luck.script[-1].normal
        if self.agent is None or end is None:
            return ["the agent is not there"]
        if self.machine.stopping or self.machine.asked:
            return ["the guest is about to reboot, or a locker to answer"]
        if not self.agent.quiet():
            states = {kind: track.state.name for kind, track in self.agent.loop.tracks.items()}
            return [f"something is under way: {states}"]
        if end.phase != "Converged" and not in_doubt(end):
            return [f"the phase is {end.phase}: {end.conditions}"]
        missing = out_of_step(self.host, self.agent, normal)
        return missing or (differences(want, end, self.machine, normal) if want else [])

    def bound_s(self) -> float:
        backoff_s = min(BACKOFF_MAX_S, 2 * self.luck.until_s + 2)
        unseen_s = PERIOD_S if "unseen" in self.luck.troubles else 0.0
        return backoff_s + unseen_s + SAVE_AGAIN_S + 3 * AGAIN_S

    async def _settle(self, want: End | None) -> float:
        """Wait for the end; how long it took."""
        begun_s, step_s = self.clock.time(), 0.1
        while faults := self._faults(want):
            if self.machine.wrongs:
                break
            if (failure := self.host.failed()) is not None:
                self.machine.wrong(f"the host fell over: {failure!r}")
            if self.clock.time() > begun_s + self.bound_s():
                for fault in faults:
                    self.machine.wrong(f"after {self.bound_s():g} s: {fault}")
                break
            await asyncio.sleep(step_s)
            step_s = min(2 * step_s, STEP_S)
        return self.clock.time() - begun_s

    async def _pass_again(self) -> None:
        """Look at everything once more: nothing is to be done, and nothing new to be told."""
        agent, acts = self.agent, self.machine.acts
        assert agent is not None
        conditions = agent.report.document["conditions"]
        for kind in agent.loop.tracks:
            agent.loop.wake(kind)
        self._turn()
        await asyncio.sleep(3.0)
        if self.machine.acts != acts:
            self.machine.wrong("a second pass acts")
        if self.agent is agent and agent.report.document["conditions"] != conditions:
            self.machine.wrong("a second pass has another outcome")
        if self.agent is None or not self.agent.quiet():
            self.machine.wrong("it does not come to rest")
        elif not is_saved(self.machine, self.agent):
            self.machine.wrong("what is on the disk is not what the agent goes by")


@contextmanager
def _clock_of(run: Run) -> Iterator[None]:
    """The daemon's clock is the machine's, as long as this lasts."""
    machine = run.machine
    theirs = {name: vars(daemon)[name] for name in ("boot_clock_s", "stamp", "give_back")}
    ours: dict[str, Callable[..., Any]] = {
        "boot_clock_s": lambda: run.machine.now_s(),
        "stamp": lambda boot_s: f"{machine.boots}@{machine.wall_s + boot_s:.6f}",
        "give_back": lambda: None,
    }
    vars(daemon).update(ours)
    state = random.getstate()
    random.seed(f"{run.luck.draw.random()}")  # the client draws from it as well
    try:
        yield
    finally:
        random.setstate(state)
        vars(daemon).update(theirs)


async def _run(luck: Luck, want: End | None, tracing: bool) -> Outcome:
    run = Run(luck, tracing)

    def fell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if tracing and error is not None:
            import traceback

            run.trace.extend(traceback.format_exception(error))
        run.machine.wrong(f"fell over: {error!r} {context.get('message')}")

    asyncio.get_running_loop().set_exception_handler(fell)
    with _clock_of(run):
        return await run.live(want)


def _on_own_clock(luck: Luck, want: End | None, tracing: bool = False) -> Outcome:
    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(_run(luck, want, tracing))


@lru_cache(maxsize=SCRIPTS)
def without_trouble(number: int) -> End:
    """How the script of that number ends."""
    outcome = _on_own_clock(Luck(script_of(number)), None)
    assert outcome.end is not None, outcome.wrongs
    return outcome.end


def run(seed: int, *, tracing: bool = False) -> Outcome:
    number = seed % SCRIPTS
    return _on_own_clock(Luck(script_of(number), seed), without_trouble(number), tracing)
