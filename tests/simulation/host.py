"""A host that keeps a guest at its document, through the real client."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from reconciler.errors import ReconcilerError
from reconciler.host.client import Guest, connect
from reconciler.host.following import converged, reached
from reconciler.spec import Normal
from tests.simulation.line import Line
from tests.simulation.luck import Luck

Json = Any

AGAIN_S = 20.0  # between two looks whether the document is in force
CONNECT_S = 20.0


class Keeper:
    """Writes each document of the script at its time, and again whenever the guest has lost it."""

    def __init__(self, line: Line, luck: Luck, say: Callable[[str], None]) -> None:
        self._line, self._luck, self._say = line, luck, say
        self.normal: Normal = {}
        self.client: Guest | None = None
        self.generation = 0  # that the guest has confirmed for this document
        self.wrong: Callable[[str], None] = self._say
        self.saw: Callable[[Guest], None] = lambda client: None  # another status
        self._stirred = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    def write(self, normal: Normal) -> None:
        self._say(f"document: {dict(normal)}")
        self.normal, self.generation = normal, 0
        self._stirred.set()

    def start(self) -> None:
        self._life = asyncio.create_task(self._live())

    async def stop(self) -> None:
        if self._life is not None:
            self._life.cancel()
            with suppress(asyncio.CancelledError):
                await self._life
            self._life = self.client = None

    def failed(self) -> BaseException | None:
        return self._life.exception() if self._life is not None and self._life.done() else None

    async def _live(self) -> None:
        while True:
            try:
                async with connect(self._line.open, timeout_s=CONNECT_S) as client:
                    self.client = client
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._follow(client))
                        group.create_task(self._keep(client))
                        if self._luck.watched:
                            group.create_task(self._watch(client))
            except ReconcilerError as error:
                self._say(f"host: {error}")
            await asyncio.sleep(0.2)

    async def _keep(self, client: Guest) -> None:
        while True:
            self._stirred.clear()
            wanted = self.normal
            try:
                if wanted:
                    applied = await client.apply(wanted)
                    if wanted is self.normal:
                        self.generation = applied.generation
                        self._say(f"host: applied {applied}")
                        await self._convince(client, applied.generation)
            except ReconcilerError as error:
                self._say(f"host: {type(error).__name__}: {error}")
                await asyncio.sleep(0.5)

    async def _convince(self, client: Guest, generation: int) -> None:
        """Wait until there is something to do; meanwhile perhaps as others do who wait for a guest."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._stirred.wait())]
        if self._luck.awaited:
            waits.append(asyncio.create_task(client.wait(converged(generation), timeout_s=AGAIN_S)))
        try:
            done, _ = await asyncio.wait(waits, timeout=AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
            if done and waits[0] not in done:
                await asyncio.wait(waits[:1], timeout=AGAIN_S)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _follow(self, client: Guest) -> None:
        had = False
        async for status in client.changes():
            self.saw(client)
            if self.generation:
                had = had or reached(status, self.generation)
                if had and not reached(status, self.generation):
                    had = False
                    self._stirred.set()  # the guest has lost it
            else:
                had = False
            await self._renew(client, status)

    async def _watch(self, client: Guest) -> None:
        """Each event once, in order."""
        told: set[tuple[str, int, str]] = set()
        while True:
            try:
                async for events, _ in client.new_events():
                    # A new boot's may have been told before hello said that it is one.
                    boot_id = client.hello.boot_id
                    places = [(boot_id, event["seq"], event["time"]) for event in events]
                    if told & set(places) or sorted(places) != places:
                        self.wrong(f"events come twice or in disorder: {places}")
                    told |= set(places)
            except ReconcilerError as error:
                self._say(f"host: {error}")
                told.clear()
                await asyncio.sleep(1.0)

    async def _renew(self, client: Guest, status: Mapping[str, Json]) -> None:
        freeze = status["observed"].get("filesystems", {}).get("freeze")
        if freeze and not self._luck.over and self._luck.draw.random() < 0.2:
            with suppress(ReconcilerError):
                epoch, left_s = await client.renew(freeze["generation"], 2.0, timeout_s=3.0)
                self._say(f"host: renewed {epoch}, {left_s:g} s left")
