"""A large body in acknowledged chunks: goes on where it stopped, whatever was lost between.

The rules:

1. A body is named by its digest, so both sides mean the same one after any interruption.
2. The receiver's offset is the truth. Each answer carries it and the sender goes on from
   there; a chunk that comes twice, late or too early changes nothing.
3. The receiver holds one body, of bounded size; beginning another forgets the first.
4. The digest is checked by whoever takes the body, not here: the agent leaves that to a
   short-lived child, because hashlib would stay resident.
"""

import binascii
import re
from collections.abc import Mapping
from typing import Any

from reconciler.errors import InvalidSpec, NotHeld, RemoteProtocolError

Json = Any

CHUNK_BYTES_MAX = 128 << 10  # as base64 well inside one message; 15 s on a line of 115200 baud
TRANSFER_BYTES_MAX = 16 << 20  # a bundle of the agent is some 2 MiB; the body lies in the agent's memory
STALLS_MAX = 8  # answers in a row without progress, before the sender gives up

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Receiving:
    """The guest's end: at most one body, complete or under way."""

    def __init__(self, bytes_max: int = TRANSFER_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._digest = ""
        self._size = 0
        self._body = bytearray()

    def begin(self, params: Mapping[str, Json]) -> int:
        """Take `{digest, size}`; the offset from which to send. Raises InvalidSpec."""
        digest, size = params.get("digest"), params.get("size")
        if not isinstance(digest, str) or not _DIGEST.match(digest):
            raise InvalidSpec("cannot begin the transfer: digest is not sha256: and 64 hex digits")
        if type(size) is not int or not 0 < size <= self._bytes_max:
            raise InvalidSpec(f"cannot begin the transfer: size is not from 1 to {self._bytes_max}")
        if (digest, size) != (self._digest, self._size):
            self._digest, self._size, self._body = digest, size, bytearray()
        return len(self._body)

    def chunk(self, params: Mapping[str, Json]) -> int:
        """Take `{digest, offset, data}`; the offset from which to go on, whatever was sent.

        Raises NotHeld where the body was forgotten meanwhile (begin again), InvalidSpec
        for a chunk that is wrong in itself.
        """
        offset, data = params.get("offset"), _decoded(params.get("data"))
        self._expect(params.get("digest"))
        if type(offset) is not int or offset < 0:
            raise InvalidSpec("cannot take the chunk: offset is not a number of bytes")
        if offset + len(data) > self._size:
            raise InvalidSpec(f"cannot take the chunk: it ends beyond the body's {self._size} bytes")
        have = len(self._body)
        if offset <= have:
            self._body += data[have - offset :]
        return len(self._body)

    def take(self, digest: str) -> bytes:
        """The whole body, which is then forgotten. Raises NotHeld until it is complete."""
        self._expect(digest)
        if len(self._body) < self._size:
            raise NotHeld(f"cannot use the transfer: {len(self._body)} of {self._size} bytes are here")
        body = bytes(self._body)
        self.forget()
        return body

    def forget(self) -> None:
        self._digest, self._size, self._body = "", 0, bytearray()

    def _expect(self, digest: Json) -> None:
        if not self._digest or digest != self._digest:
            raise NotHeld("cannot go on with the transfer: no such body is under way")


class Sending:
    """The host's end: says what to send next, given the last answer."""

    def __init__(self, digest: str, body: bytes, chunk_bytes: int = CHUNK_BYTES_MAX) -> None:
        self._digest = digest
        self._body = body
        self._chunk_bytes = chunk_bytes
        self._offset = -1
        self._stalls = 0

    @property
    def opening(self) -> dict[str, Json]:
        """The params of `transfer.begin`, at the start and after every reconnect."""
        return {"digest": self._digest, "size": len(self._body)}

    def next(self, result: Json) -> dict[str, Json] | None:
        """The params of the next `transfer.chunk` after the answer `{offset}`; None once all is there.

        Raises RemoteProtocolError for an answer without sense, and where nothing moves on.
        """
        offset = result.get("offset") if isinstance(result, dict) else None
        if type(offset) is not int or not 0 <= offset <= len(self._body):
            raise RemoteProtocolError("cannot go on with the transfer: the answer has no offset in the body")
        self._stalls = 0 if offset > self._offset else self._stalls + 1
        if self._stalls > STALLS_MAX:
            raise RemoteProtocolError(f"cannot go on with the transfer: it stands still at {offset}")
        self._offset = offset
        if offset == len(self._body):
            return None
        data = self._body[offset : offset + self._chunk_bytes]
        return {
            "digest": self._digest,
            "offset": offset,
            "data": binascii.b2a_base64(data, newline=False).decode(),
        }


def _decoded(data: Json) -> bytes:
    if not isinstance(data, str) or len(data) > CHUNK_BYTES_MAX * 4 // 3 + 4:
        raise InvalidSpec(f"cannot take the chunk: data is not base64 of at most {CHUNK_BYTES_MAX} bytes")
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:  # binascii.Error, and what is not ASCII
        raise InvalidSpec("cannot take the chunk: data is not base64") from error
