"""One connection to a guest: requests matched with answers, until the stream ends."""

import asyncio
from collections.abc import Callable, Mapping
from random import randrange

from reconciler import __version__
from reconciler.errors import RemoteProtocolError
from reconciler.host.channels import Stream
from reconciler.host.failures import Unreachable
from reconciler.protocols.calls import Calls
from reconciler.protocols.channel import (
    PROTOCOL,
    TO_HOST_BYTES_MAX,
    Broken,
    Channel,
    ErrorResponse,
    Notification,
    Request,
    Response,
    as_error,
)
from reconciler.resource import Json

SILENCE_S = 5.0  # a guest answers in milliseconds, a loaded one in a second
AGAIN_S = 15.0  # no answer although other bytes come: a big status may be before it on a slow line
HELLO_SILENCE_S = 10.0
HELLO_AGAIN_S = 2.0  # the first bytes of a new host can fall to the session of the one before
PENDING_BYTES_MAX = 4 << 20  # of what the guest has not taken: some of the longest messages

_HELLO: Mapping[str, Json] = {
    "protocols": [PROTOCOL],
    "client": {"name": "reconciler", "version": __version__},
    "limits": {"messageBytes": TO_HOST_BYTES_MAX},
}

_Answer = asyncio.Future[Json]


class Connection:
    """Raises Unreachable from every call once the stream is of no more use."""

    def __init__(
        self, stream: Stream, told: Callable[[str, Mapping[str, Json]], None], garbled: Callable[[], None]
    ) -> None:
        """`told` is given each notification, `garbled` is called where something was lost on the way."""
        self._stream = stream
        self._told = told
        self._garbled = garbled
        self._channel = Channel.of_host()
        self._calls: Calls[_Answer] = Calls(randrange(1, 1 << 48))
        self._heard_s = self._now()
        self._closed = False

    async def run(self) -> None:
        """Read until the stream ends; then every call fails."""
        try:
            while data := await self._stream.read():
                self._heard_s = self._now()
                for event in self._channel.receive_data(data):
                    self._take(event)
        except OSError as error:
            self.close(f"the channel broke: {error.strerror or error}")
        finally:
            self.close("the channel was closed by its other end")

    def close(self, why: str = "the channel is closed") -> None:
        if not self._closed:
            self._closed = True
            self._stream.close()
            for answer in self._calls.drop():
                if not answer.done():
                    answer.set_exception(Unreachable(why))
                    answer.exception()  # so that nobody is told that it went unseen

    def limit(self, message_bytes: int) -> None:
        """Send no longer message than this."""
        self._channel.send_bytes_max = message_bytes

    def notify(self, method: str, params: Mapping[str, Json]) -> None:
        if not self._closed:
            self._write(self._channel.send(Notification(method, params)))

    async def hello(self, *, prepare: bool) -> Json:
        params = {**_HELLO, "prepare": True} if prepare else _HELLO
        return await self._call("hello", params, HELLO_AGAIN_S, HELLO_SILENCE_S)

    async def call(self, method: str, params: Mapping[str, Json]) -> Json:
        """The result. Raises what the guest's error says, TooLong, Busy, Unreachable."""
        return await self._call(method, params, AGAIN_S, SILENCE_S)

    async def _call(self, method: str, params: Mapping[str, Json], again_s: float, silence_s: float) -> Json:
        answer: _Answer = asyncio.get_running_loop().create_future()
        ids: list[int] = []
        try:
            while not answer.done():
                if self._closed:
                    raise Unreachable("the channel is closed")
                ids.append(self._calls.begin(answer))
                self._write(self._channel.send(Request(ids[-1], method, params)))
                await self._settle(silence_s)
                await self._listen(answer, again_s, silence_s)
            return answer.result()
        finally:
            for id in ids:
                self._calls.end(id)

    async def _settle(self, silence_s: float) -> None:
        """Wait until the bytes are on their way; the line may be slow, but has to move."""
        while left := self._stream.pending():
            try:
                async with asyncio.timeout(silence_s):
                    await self._stream.drain()
            except OSError as error:
                if not isinstance(error, TimeoutError):
                    raise Unreachable(f"the channel broke: {error.strerror or error}") from None
                if self._stream.pending() >= left:
                    raise self._given_up(f"the guest takes no bytes for {silence_s:g} s") from None

    async def _listen(self, answer: _Answer, again_s: float, silence_s: float) -> None:
        """Wait for the answer, or until it is time to ask again."""
        sent_s = self._now()
        while not answer.done():
            silent_s = max(sent_s, self._heard_s) + silence_s
            await asyncio.wait({answer}, timeout=max(0.0, min(sent_s + again_s, silent_s) - self._now()))
            if answer.done() or self._now() >= sent_s + again_s:
                return
            if self._now() >= max(sent_s, self._heard_s) + silence_s:
                raise self._given_up(f"the guest says nothing for {silence_s:g} s")

    def _given_up(self, why: str) -> Unreachable:
        self.close(why)
        return Unreachable(why)

    def _write(self, data: bytes) -> None:
        if self._stream.pending() > PENDING_BYTES_MAX:
            raise self._given_up("the guest takes no bytes")
        try:
            self._stream.write(data)
        except OSError as error:
            raise self._given_up(f"the channel broke: {error.strerror or error}") from None

    def _take(self, event: object) -> None:
        match event:
            case Response(id, result):
                self._end(id, result)
            case ErrorResponse(None):
                self._garbled()  # a message of ours was broken when it arrived
            case ErrorResponse(id):
                self._end(id, as_error(event))
            case Notification(method, params):
                self._told(method, params)
            case Broken():
                self._garbled()
            # A request: guests make none, and to answer what a line echoes would never end.

    def _end(self, id: int | str | None, result: Json) -> None:
        answer = self._calls.end(id)
        if answer is None or answer.done():
            return  # to somebody before us, or the second answer to a request sent twice
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def object_of(result: Json, method: str) -> dict[str, Json]:
    """A result that has to be a JSON object. Raises RemoteProtocolError."""
    if not isinstance(result, dict):
        raise RemoteProtocolError(f"the answer to {method} is not an object")
    return result
