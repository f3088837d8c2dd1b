"""A long spec in pieces, to a guest that forgets them."""

import asyncio
import base64
from collections.abc import Mapping

import pytest

from reconciler.errors import InvalidSpec, NotHeld
from reconciler.host.hello import Limits
from reconciler.host.pieces import TRANSFERS_MAX, apply_in_pieces
from reconciler.resource import Json

BODY = bytes(range(256)) * 40
LIMITS = Limits(message_bytes=4096, chunk_bytes=1000, transfer_bytes=len(BODY))


class Forgetful:
    """Takes pieces, and has forgotten them all `times` times when they are asked for."""

    def __init__(self, times: int = 0) -> None:
        self.times = times
        self.body = b""
        self.longest = 0

    async def call(self, method: str, params: Mapping[str, Json]) -> Json:
        match method:
            case "transfer.begin":
                self.body = b""
            case "transfer.chunk":
                data = base64.b64decode(params["data"])
                self.longest = max(self.longest, len(data))
                self.body += data
            case "apply" if self.times:
                self.times -= 1
                raise NotHeld("cannot use the transfer: forgotten")
            case "apply":
                return {**params, "body": self.body}
        return {"offset": len(self.body)}


def send(guest: Forgetful, limits: Limits = LIMITS) -> Json:
    return asyncio.run(apply_in_pieces(guest.call, limits, {"generation": 7}, BODY, "sha256:x"))


def test_it_is_named_by_its_digest_once_all_is_there() -> None:
    assert send(guest := Forgetful()) == {"generation": 7, "transfer": "sha256:x", "body": BODY}
    assert guest.longest == 1000


def test_a_piece_fits_into_a_message() -> None:
    send(guest := Forgetful(), Limits(message_bytes=800, transfer_bytes=len(BODY)))
    assert guest.longest == 500


def test_an_agent_that_has_forgotten_it_gets_it_again() -> None:
    assert send(Forgetful(TRANSFERS_MAX - 1))["body"] == BODY


def test_an_agent_that_always_forgets_is_given_up() -> None:
    with pytest.raises(NotHeld):
        send(Forgetful(TRANSFERS_MAX))


def test_what_the_guest_would_not_take_is_not_sent() -> None:
    with pytest.raises(InvalidSpec, match="the guest takes 10239"):
        send(Forgetful(), Limits(transfer_bytes=len(BODY) - 1))
