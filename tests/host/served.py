"""The fake guest on a real unix socket, in a thread of its own, for what runs as a program."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.host.fake_guest import FakeGuest, Session


class Served:
    """A guest that listens. Its state is touched through `do`, in its own thread."""

    def __init__(self, guest: FakeGuest, path: Path) -> None:
        self.guest, self.path = guest, path
        self.channel = f"unix:{path}"
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    def do(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            work()

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def stop(self) -> None:
        self.do(self._stopped.set)

    def leave(self) -> None:
        """Be gone, as a machine that is switched off. From within its own thread only."""
        assert self._server is not None
        self._server.close()
        self.path.unlink()
        for talk in self._talks:
            talk.cancel()

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server = await asyncio.start_unix_server(self._accept, self.path)
        self.ready.set()
        await self._stopped.wait()
        server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talks.add(asyncio.create_task(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self.guest, writer.write)
        session.hello()
        try:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    session.receive(data)
        finally:
            session.close()
            writer.transport.abort()


@contextmanager
def served(guest: FakeGuest, path: Path) -> Iterator[Served]:
    it = Served(guest, path)
    thread = threading.Thread(target=lambda: asyncio.run(it.serve()))
    thread.start()
    try:
        assert it.ready.wait(10)
        yield it
    finally:
        it.stop()
        thread.join(10)
