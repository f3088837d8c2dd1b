"""One connection: silence, a guest that takes nothing, and answers that fit nobody."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.errors import Busy
from reconciler.host.connection import PENDING_BYTES_MAX, SILENCE_S, Connection, object_of
from reconciler.host.failures import Unreachable
from reconciler.protocols.calls import OUTSTANDING_MAX
from tests.host.fake_guest import frame
from tests.host.wire import run


class Dumb:
    """A stream whose other end takes so many bytes and says what the test puts in."""

    def __init__(self, takes: int = 1 << 40) -> None:
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = b""
        self.takes = takes
        self.closed = False

    async def read(self) -> bytes:
        return await self.inbox.get()

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        while self.pending():
            await asyncio.sleep(1)

    def pending(self) -> int:
        return max(0, len(self.sent) - self.takes)

    def close(self) -> None:
        self.closed = True
        self.inbox.put_nowait(b"")


def _told(method: str, params: Mapping[str, Any]) -> None:
    """Nobody listens here."""


async def _call(stream: Dumb, connection: Connection, **params: Any) -> Any:
    reading = asyncio.create_task(connection.run())
    try:
        return await connection.call("ping", params)
    finally:
        connection.close()
        await reading


def test_silence_ends_a_connection() -> None:
    async def work() -> None:
        stream = Dumb()
        with pytest.raises(Unreachable, match=f"says nothing for {SILENCE_S:g} s"):
            await _call(stream, Connection(stream, _told, lambda: None))
        assert asyncio.get_running_loop().time() == pytest.approx(SILENCE_S)
        assert stream.closed

    run(work())


def test_a_guest_that_takes_no_bytes() -> None:
    async def work() -> None:
        stream = Dumb(takes=3)
        with pytest.raises(Unreachable, match="takes no bytes"):
            await _call(stream, Connection(stream, _told, lambda: None))

    run(work())


def test_a_slow_line_that_moves_is_waited_for() -> None:
    async def work() -> None:
        stream = Dumb(takes=0)
        loop = asyncio.get_running_loop()

        def take() -> None:
            stream.takes += 100
            if stream.pending():
                loop.call_later(1, take)
            else:
                number = stream.sent.partition(b'"id":')[2].partition(b",")[0]
                stream.inbox.put_nowait(frame({"id": int(number), "result": "late"}))

        loop.call_later(1, take)
        assert await _call(stream, Connection(stream, _told, lambda: None), filler="x" * 3000) == "late"
        assert loop.time() > 4 * SILENCE_S

    run(work())


def test_what_is_not_taken_is_bounded() -> None:
    async def work() -> None:
        stream = Dumb(takes=0)
        connection = Connection(stream, _told, lambda: None)

        def flood() -> None:
            for _ in range(PENDING_BYTES_MAX // 100_000 + 2):
                connection.notify("ack", {"filler": "x" * 100_000})

        with pytest.raises(Unreachable, match="takes no bytes"):
            flood()
        assert stream.pending() < PENDING_BYTES_MAX + 200_000

    run(work())


def test_not_too_many_at_once() -> None:
    async def work() -> None:
        connection = Connection(Dumb(), _told, lambda: None)
        calls = [asyncio.create_task(connection.call("ping", {})) for _ in range(OUTSTANDING_MAX + 1)]
        await asyncio.sleep(0.1)
        assert [call.done() for call in calls] == [False] * OUTSTANDING_MAX + [True]
        assert isinstance(calls[-1].exception(), Busy)
        connection.close()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, Unreachable) for error in ended[:-1])

    run(work())


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(frame({"id": 1, "result": 1}), id="to-somebody-else"),
        pytest.param(frame({"id": 1, "method": "hello"}), id="our-echo"),
        pytest.param(b"\x1e{\n", id="broken"),
    ],
)
def test_what_nobody_asked_for_is_no_answer(noise: bytes) -> None:
    async def work() -> None:
        stream = Dumb()
        for _ in range(3):
            stream.inbox.put_nowait(noise)
        with pytest.raises(Unreachable):
            await _call(stream, Connection(stream, _told, lambda: None))
        assert stream.sent.count(b"\x1e") == 1  # nothing was said to it

    run(work())


def test_a_result_that_has_to_be_an_object() -> None:
    assert object_of({"a": 1}, "x") == {"a": 1}
    with pytest.raises(Exception, match="the answer to x is not an object"):
        object_of([], "x")
