"""An agent killed at any step: what is done once is done at most once, and all ends as it should.

A guest lives through three documents with a host that goes on asking. First nobody dies, which
says what steps there are; then for each of them a guest lives the same life, and its agent, or
the guest as a whole, dies there.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from reconciler.documents import normalise
from reconciler.host.client import Guest, Status, connect
from reconciler.host.following import converged, reached
from reconciler.resource import Json
from reconciler.spec import digest
from tests.guest_runtime.mortal_agent import WRITING, cut_the_power

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
AT_ONCE = 4  # guests; more than processors, as each waits for its host now and then
FAILURES_MAX = 8  # then the rest would only take its time, which is PATIENCE_S for each
OF_EACH = 3  # times that a step is died at, spread over the life; all would be some five hundred

REBOOT = {"reboot": {"token": "r"}}
DOCUMENTS = [
    {"hostname": "web-01", "filesystems": {"trim": {"token": "t"}}, "power": REBOOT},
    {"hostname": "web-02", "filesystems": {"state": "frozen", "lease": "10m"}, "power": REBOOT},
    {"hostname": "web-03", "filesystems": {"state": "thawed", "trim": {"token": "u"}}, "power": REBOOT},
]
IN_THE_END = len(DOCUMENTS), digest(normalise(DOCUMENTS[-1]))
# Every token of theirs, and how its act is written down.
ONCE = {
    ("power", "reboot:r"): "reboot",
    ("filesystems", "trim@t"): "trim t",
    ("filesystems", "freeze@2"): "freeze 2 ",
    ("filesystems", "trim@u"): "trim u",
}
ACTS = [f"driver.{act}" for act in ("set", "bring", "freeze", "thaw", "trim")]
TOKENS = [
    *(f"store.{what} {kind}" for what in ("begin", "finish") for kind in ("filesystems", "power")),
    "store.refuse filesystems",
]
CALLS = [
    *("request hello", "request subscribe", "request apply", "request spec", "request ping", "ack"),
    *("send hello", "send an answer", "send status", "send event"),
    *("validation", "offer", "store.keep", "store.settle power", *TOKENS),
    *("driver.names", "driver.machine", "driver.look", *ACTS),
    *(f"answer {what} {kind}" for what in ("look", "act") for kind in ("hostname", "power", "filesystems")),
    "answer save (store)",
]
MOMENTS = [*WRITING, "the agent starts", "bytes are read", "half of a message is sent"]


def around(calls: list[str]) -> list[str]:
    return [f"{when} {call}" for call in calls for when in ("before", "after")]


STEPS = [*around(CALLS), *MOMENTS]
# What a power cut could undo, or make twice.
DURABLE = [*around(TOKENS + ACTS), *WRITING]


@dataclass
class Life:
    """One guest; `step` and its number say where its agent is killed."""

    folder: Path
    step: str = ""
    number: int = 0
    power_cut: bool = False  # the whole guest dies with its agent
    ends: list[int] = field(default_factory=list)  # exit codes
    saved: list[int] = field(default_factory=list)  # the generation on disk at each end
    begun: set[str] = field(default_factory=set)  # acts of which the disk knew no more when an agent ended
    lost: set[str] = field(default_factory=set)  # those that were not done
    status: Status = field(default_factory=dict)  # the last one
    failure: BaseException | None = None

    def read(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def times(self, act: str) -> int:
        return sum(line.startswith(act) for line in self.read("acts"))

    def end(self, code: int) -> None:
        self.ends.append(code)
        assert code in (0, -signal.SIGKILL)
        if code and self.power_cut:
            cut_the_power(self.folder)
        text = "".join(self.read("state/state.json"))
        state = json.loads(text or '{"spec": {"generation": 0}, "deeds": {}}')
        self.saved.append(state["spec"]["generation"])
        deeds = [(kind, *deed) for kind, deeds in state["deeds"].items() for deed in deeds.items()]
        self.begun |= {ONCE[kind, token] for kind, token, deed in deeds if deed["state"] == "begun"}
        self.lost |= {act for act in self.begun if not self.times(act)}

    def outcome(self) -> tuple[int, Json, dict[str, str]]:
        reasons = {condition["type"]: condition["reason"] for condition in self.status["conditions"]}
        return self.status["observedGeneration"], self.status["observed"]["hostname"], reasons


class Nursery:
    """Where agents are forked, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._orders, self._answers = process, process.stdin, process.stdout
        self._agent = 0  # the process id of the one that runs

    async def start(self, life: Life) -> None:
        self._orders.write(json.dumps([str(life.folder), life.step, life.number]).encode() + b"\n")
        self._agent = int(await self._answers.readline())

    async def end(self) -> int:
        """The exit code, once there is one."""
        code = int(await self._answers.readline())
        self._agent = 0
        return code

    def kill(self) -> None:
        if self._agent:
            with suppress(ProcessLookupError):
                os.kill(self._agent, signal.SIGKILL)

    async def close(self) -> None:
        self.kill()
        self._orders.close()
        await self._process.wait()


@asynccontextmanager
async def nurseries() -> AsyncIterator[list[Nursery]]:
    module = [sys.executable, "-m", "tests.guest_runtime.mortal_agent"]
    start = partial(asyncio.create_subprocess_exec, *module, cwd=ROOT, stdin=-1, stdout=-1)
    all_of_them = [Nursery(await start()) for _ in range(AT_ONCE)]
    try:
        yield all_of_them
    finally:
        for nursery in all_of_them:
            await nursery.close()


async def serve(life: Life, nursery: Nursery, over: asyncio.Event) -> None:
    """Start an agent whenever there is none, as systemd does, until all is over."""
    stopping = asyncio.create_task(over.wait())
    while not over.is_set():
        await nursery.start(life)
        ended = asyncio.create_task(nursery.end())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if over.is_set():
            nursery.kill()
            await ended
        else:
            life.end(await ended)
    await stopping


async def pursue(life: Life, over: asyncio.Event) -> None:
    """Put one document after the other in force, whatever becomes of the agent, and see how it ends."""
    async with connect(f"unix:{life.folder}/guest.sock", timeout_s=PATIENCE_S) as guest:
        for document in DOCUMENTS:
            await bring(guest, document)
        ends = -1
        while len(life.ends) != ends:  # the last status is to be of the last agent
            ends = len(life.ends)
            for _ in range(2):  # so the steps of the first time have all been passed
                in_force = await guest.spec()
                assert (in_force.generation, in_force.digest) == IN_THE_END
                await guest.ping()
            life.status = await guest.wait(partial(at_rest, len(DOCUMENTS)), timeout_s=PATIENCE_S)
        over.set()


async def bring(guest: Guest, document: Json) -> None:
    """Apply, and wait until it is so; once more where it was lost."""
    normal, generation = normalise(document), 0
    while not generation or guest.lost(generation):
        generation = (await guest.apply(normal)).generation
        await guest.wait(partial(_is_over, guest, generation), timeout_s=PATIENCE_S)


def _is_over(guest: Guest, generation: int, status: Status) -> bool:
    return at_rest(generation, status) or guest.lost(generation)


def at_rest(generation: int, status: Status) -> bool:
    """Also where an act was begun, and nobody will know more."""
    rest = [c["reason"] for c in status.get("conditions", ()) if c["status"] != "True"]
    return converged(generation)(status) or (reached(status, generation) and set(rest) == {"OutcomeUnknown"})


async def run(life: Life, nursery: Nursery) -> None:
    life.folder.mkdir()
    over = asyncio.Event()
    serving = asyncio.create_task(serve(life, nursery, over))
    pursuing = asyncio.create_task(pursue(life, over))
    await asyncio.wait({serving, pursuing}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        pursuing.cancel()
    over.set()
    for result in await asyncio.gather(serving, pursuing, return_exceptions=True):
        if isinstance(result, Exception):
            life.failure = result


async def run_all(lives: Iterator[Life], nursery: Nursery, failed: list[Life]) -> None:
    """Those that nobody else has taken."""
    for life in lives:
        if len(failed) < FAILURES_MAX:
            await run(life, nursery)
        else:
            life.failure = AssertionError("not lived, as too many others had failed")
        if life.failure:
            failed.append(life)


def spread(count: int) -> list[int]:
    """Some of the numbers from 1 to `count`, both among them."""
    if count <= OF_EACH:
        return list(range(1, count + 1))
    return [1 + (count - 1) * i // (OF_EACH - 1) for i in range(OF_EACH)]


async def live(folder: Path) -> tuple[Life, list[Life]]:
    """The undisturbed life, and those with a death in it."""
    async with nurseries() as all_of_them:
        whole = Life(folder / "whole")
        await run(whole, all_of_them[0])
        passed = Counter(whole.read("trace"))
        places = [(step, number) for step in STEPS for number in spread(passed[step])]
        lives = [Life(folder / f"killed-{i}", *place) for i, place in enumerate(places)]
        places = [place for place in places if place[0] in DURABLE]
        lives += [Life(folder / f"cut-{i}", *place, power_cut=True) for i, place in enumerate(places)]
        todo, failed = iter(lives), [whole] * FAILURES_MAX if whole.failure else []
        async with asyncio.TaskGroup() as group:
            for nursery in all_of_them:
                group.create_task(run_all(todo, nursery, failed))
    return whole, lives


Lived = tuple[Life, list[Life]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return asyncio.run(live(tmp_path_factory.mktemp("lives")))


def test_nobody_has_to_die(lived: Lived) -> None:
    whole, _ = lived
    assert whole.failure is None
    assert whole.ends == [0]  # by the restart
    assert set(whole.read("trace")) == set(STEPS)
    assert {act: whole.times(act) for act in ONCE.values()} == dict.fromkeys(ONCE.values(), 1)
    assert whole.status["phase"] == "Converged"
    assert whole.status["observed"]["hostname"]["static"] == "web-03"


def test_state_is_written_so_that_a_power_cut_leaves_the_old_or_the_new(lived: Lived) -> None:
    written = [step for step in lived[0].read("trace") if step in WRITING]
    # The last time may be cut short: the life ends when its host is content.
    assert written == ([*WRITING] * len(written))[: len(written)]


@pytest.mark.parametrize("step", STEPS)
def test_killed(step: str, lived: Lived) -> None:
    whole, lives = lived
    deaths = 0
    for life in (life for life in lives if life.step == step):
        assert life.failure is None, life
        deaths += life.ends.count(-signal.SIGKILL)
        # Once, but where it was lost: begun as far as the disk knew, and killed before it was done.
        assert {act: life.times(act) for act in ONCE.values()} == {
            act: int(act not in life.lost) for act in ONCE.values()
        }, (life, life.read("acts"))
        assert life.saved == sorted(life.saved), life
        generation, names, reasons = whole.outcome()
        if "reboot" in life.lost and not life.power_cut:
            reasons["power"] = "OutcomeUnknown"
        if "trim u" in life.begun:
            reasons["filesystems"] = "OutcomeUnknown"
        assert life.outcome() == (generation, names, reasons), life
        assert held_still(life.read("trace")), life
    assert deaths  # how often a step comes is a matter of luck, but it does come


def held_still(trace: list[str]) -> bool:
    """Whether nothing was written between a freeze and its end."""
    frozen = False
    for step in trace:
        if step in ("the agent starts", "before driver.thaw"):
            frozen = False
        frozen |= step == "after driver.freeze"
        if frozen and step in WRITING:
            return False
    return True
