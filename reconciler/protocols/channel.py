"""Our own channel: JSON-RPC 2.0 in JSON text sequences, so a torn message costs only itself.

The rules (specs/channel.md has them in full):

1. A message is RS, one JSON object in UTF-8, LF: RFC 7464, narrowed so that the first LF
   ends it. Neither byte can stand inside JSON written on one line, so both ends find the
   next message after any loss.
2. Whatever is not a message becomes a `Broken` event and is forgotten; nothing is raised.
3. Memory is bounded by the longest message, work is linear in the bytes received.
4. No text of a message goes into an error: it may hold half of a credential.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from reconciler.errors import (
    Busy,
    Conflict,
    DriverError,
    Fault,
    Forbidden,
    InvalidSpec,
    NotHeld,
    ReconcilerError,
    RemoteProtocolError,
    Terminal,
    Unsupported,
)

Json = Any  # what json.loads returns
Id = int | str

PROTOCOL = 1

TO_GUEST_BYTES_MAX = 1 << 20  # a document of every kind is some 10 KiB; the agent stays small
TO_HOST_BYTES_MAX = 8 << 20  # an inventory of some thousand packages
DEPTH_MAX = 32  # the deepest field of a document is at 8
BROKEN_MAX = 16  # events for one call: as many as requests may be outstanding, so each has its answer
METHOD_LENGTH_MAX = 64
ID_LENGTH_MAX = 64  # a UUID with a prefix
INTEGER_DIGITS_MAX = 20  # 64 bits and a sign; longer ones cost quadratic time

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
NO_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603
CONFLICT = -32001
FORBIDDEN = -32002
BUSY = -32003
UNSUPPORTED = -32004
FAILED = -32005
NOT_HELD = -32006

_START = b"\x1e"
_END = b"\n"


class TooLong(ReconcilerError):
    """The other end does not take a message of this length."""


@dataclass(frozen=True)
class Request:
    """A call that is answered under its id."""

    id: Id
    method: str
    params: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Notification:
    """A call that nobody answers."""

    method: str
    params: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """What came of a request."""

    id: Id
    result: Json


@dataclass(frozen=True)
class ErrorResponse:
    """Why nothing came of a request."""

    id: Id | None  # None: to a message whose id could not be read
    code: int
    message: str
    data: Json = None


@dataclass(frozen=True)
class Broken:
    """Bytes that were no message. With an `id`, a request that wants an error for its answer."""

    code: int
    message: str
    id: Id | None = None

    @property
    def error(self) -> RemoteProtocolError:
        return RemoteProtocolError(self.message)

    @property
    def answer(self) -> ErrorResponse:
        return ErrorResponse(self.id, self.code, self.message)


Message = Request | Notification | Response | ErrorResponse
Event = Message | Broken


class Channel:
    """One end of one connection: bytes in, events out; it never reads, waits or retries."""

    def __init__(self, *, receive_bytes_max: int, send_bytes_max: int) -> None:
        self.send_bytes_max = send_bytes_max  # lower it to what the peer's hello says
        self._receive_bytes_max = receive_bytes_max
        self._text: bytearray | None = None  # None: outside a message
        self._told = False  # the bytes now being skipped have had their event

    @classmethod
    def of_guest(cls) -> "Channel":
        return cls(receive_bytes_max=TO_GUEST_BYTES_MAX, send_bytes_max=TO_HOST_BYTES_MAX)

    @classmethod
    def of_host(cls) -> "Channel":
        return cls(receive_bytes_max=TO_HOST_BYTES_MAX, send_bytes_max=TO_GUEST_BYTES_MAX)

    def receive_data(self, data: bytes) -> list[Event]:
        """The messages that `data` (some 64 KiB at most) completed, and what was broken, in order.

        The same bytes give the same events however they are cut, save that one call
        gives at most BROKEN_MAX + 1 `Broken`.
        """
        return _bounded(self._events(data))

    def send(self, message: Message) -> bytes:
        """The bytes of one message. Raises TooLong, and ValueError for what is not JSON."""
        text = json.dumps(_envelope(message), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        # A file name that is not UTF-8 shows a "?"; it must not cost the peer the whole message.
        body = text.encode("utf-8", "replace")
        if len(body) > self.send_bytes_max:
            what = getattr(message, "method", "an answer")
            raise TooLong(f"cannot send {what}: {len(body)} bytes, the limit is {self.send_bytes_max}")
        return _START + body + _END

    def _events(self, data: bytes) -> Iterator[Event]:
        for number, line in enumerate(data.split(_END)):
            if number:
                yield from self._end()
            rest, *texts = line.split(_START)
            yield from self._go_on(rest)
            for text in texts:
                yield from self._begin()
                yield from self._go_on(text)

    def _begin(self) -> Iterator[Event]:
        if self._text and self._text.strip():
            yield Broken(PARSE_ERROR, "message is cut short")
        self._text = bytearray()

    def _go_on(self, data: bytes) -> Iterator[Event]:
        if self._text is None:
            if not self._told and data.strip():
                self._told = True
                yield Broken(PARSE_ERROR, "bytes outside a message")
        elif len(self._text) + len(data) > self._receive_bytes_max:
            self._text, self._told = None, True
            yield Broken(PARSE_ERROR, f"message is longer than {self._receive_bytes_max} bytes")
        else:
            self._text += data

    def _end(self) -> Iterator[Event]:
        text, self._text = self._text, None
        if text is not None:
            self._told = False
            if text.strip():
                yield _parse(text)


_CODES: tuple[tuple[type[ReconcilerError], int], ...] = (
    (InvalidSpec, INVALID_PARAMS),
    (Conflict, CONFLICT),
    (Forbidden, FORBIDDEN),
    (Busy, BUSY),
    (Unsupported, UNSUPPORTED),
    (DriverError, FAILED),
    (Terminal, FAILED),
    (NotHeld, NOT_HELD),
    (RemoteProtocolError, INVALID_REQUEST),
)


def refusal(id: Id | None, error: ReconcilerError, data: Json = None) -> ErrorResponse:
    """The answer that says `error`; the faults of an InvalidSpec go along as its data."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)
    if data is None and isinstance(error, InvalidSpec):
        data = {"faults": [{"path": fault.path, "message": fault.message} for fault in error.faults]}
    return ErrorResponse(id, code, str(error), data)


def as_error(answer: ErrorResponse) -> ReconcilerError:
    """The error that an answer says, for the caller to raise."""
    if answer.code == INVALID_PARAMS:
        return InvalidSpec(*(_faults(answer.data) or [Fault(0, 0, "", answer.message)]))
    if answer.code == NO_METHOD:
        return Unsupported(answer.message)
    kind = next((kind for kind, code in _CODES if code == answer.code), RemoteProtocolError)
    return kind(answer.message)


def _faults(data: Json) -> list[Fault]:
    faults = data.get("faults") if isinstance(data, dict) else None
    return [
        Fault(0, 0, str(fault.get("path", "")), str(fault.get("message", "")))
        for fault in (faults if isinstance(faults, list) else [])
        if isinstance(fault, dict)
    ]


def _bounded(events: Iterable[Event]) -> list[Event]:
    kept: list[Event] = []
    broken = 0
    for event in events:
        broken += isinstance(event, Broken)
        if broken <= BROKEN_MAX or not isinstance(event, Broken):
            kept.append(event)
    if broken > BROKEN_MAX:
        kept.append(Broken(PARSE_ERROR, f"{broken - BROKEN_MAX} more broken messages"))
    return kept


def _envelope(message: Message) -> dict[str, Json]:
    envelope: dict[str, Json] = {"jsonrpc": "2.0"}
    match message:
        case Request(id, method, params):
            return envelope | {"id": id, "method": method, "params": params}
        case Notification(method, params):
            return envelope | {"method": method, "params": params}
        case Response(id, result):
            return envelope | {"id": id, "result": result}
        case ErrorResponse(id, code, text, data):
            extra = {} if data is None else {"data": data}
            return envelope | {"id": id, "error": {"code": code, "message": text} | extra}


def _parse(text: bytearray) -> Event:
    if _too_deep(text):
        return Broken(PARSE_ERROR, f"message nests deeper than {DEPTH_MAX}, or its brackets do not match")
    try:
        value = _DECODER.decode(text.decode())
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # refuses a half of a surrogate pair
    except ValueError as error:
        return Broken(PARSE_ERROR, f"message is not JSON: {error}")
    if not isinstance(value, dict):
        return Broken(INVALID_REQUEST, "message is not an object")
    if "method" in value:
        return _call(value)
    return _answer(value)


def _call(value: dict[str, Json]) -> Event:
    id, method, params = value.get("id"), value["method"], value.get("params", {})
    if not _is_id(id) and "id" in value:
        return Broken(INVALID_REQUEST, f"id is neither an integer nor a string of 1 to {ID_LENGTH_MAX}")
    if value.get("jsonrpc") != "2.0":
        return Broken(INVALID_REQUEST, "message is not JSON-RPC 2.0", id)
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_LENGTH_MAX:
        return Broken(INVALID_REQUEST, f"method is not a string of 1 to {METHOD_LENGTH_MAX}", id)
    if "result" in value or "error" in value:
        return Broken(INVALID_REQUEST, "message is a call and an answer at once", id)
    if not isinstance(params, dict):
        return Broken(INVALID_PARAMS, "params are not an object", id)
    return Request(id, method, params) if _is_id(id) else Notification(method, params)


def _answer(value: dict[str, Json]) -> Event:
    """No `id` in what is broken here: an answer is not answered."""
    id, error = value.get("id"), value.get("error")
    if value.get("jsonrpc") != "2.0":
        return Broken(INVALID_REQUEST, "message is not JSON-RPC 2.0")
    if ("result" in value) == ("error" in value):
        return Broken(INVALID_REQUEST, "message is neither a call nor an answer")
    if "result" in value:
        return Response(id, value["result"]) if _is_id(id) else Broken(INVALID_REQUEST, "result has no id")
    if not (id is None or _is_id(id)) or not isinstance(error, dict):
        return Broken(INVALID_REQUEST, "answer is malformed")
    code, message = error.get("code"), error.get("message")
    if type(code) is not int or not isinstance(message, str):
        return Broken(INVALID_REQUEST, "answer has no error code or no message")
    return ErrorResponse(id, code, message, error.get("data"))


def _is_id(id: Json) -> TypeGuard[Id]:
    # A bool is an int to Python, so ask for the type itself.
    return type(id) is int or (isinstance(id, str) and 0 < len(id) <= ID_LENGTH_MAX)


# Possessive, and content with a missing end: linear on any input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _too_deep(text: bytearray) -> bool:
    """Whether the brackets nest deeper than DEPTH_MAX or do not match, found without recursion."""
    if text.count(b"[") + text.count(b"{") <= DEPTH_MAX:
        return False
    brackets = _STRING.sub(b"", text).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        before, brackets = brackets, brackets.replace(b"[]", b"")  # takes away the innermost level
        if len(brackets) == len(before):
            break
    return bool(brackets)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise ValueError(f"an integer has more than {INTEGER_DIGITS_MAX} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return value


def _constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
