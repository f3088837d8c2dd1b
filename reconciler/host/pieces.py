"""A spec too long for one message goes in pieces, and is put in force by its digest."""

from collections.abc import Awaitable, Callable, Mapping

from reconciler.errors import InvalidSpec, NotHeld
from reconciler.host.hello import Limits
from reconciler.protocols.transfer import Sending
from reconciler.resource import Json

TRANSFERS_MAX = 3  # an agent that restarts during a transfer has forgotten it

Call = Callable[[str, Mapping[str, Json]], Awaitable[Json]]


async def apply_in_pieces(
    call: Call, limits: Limits, params: Mapping[str, Json], body: bytes, name: str
) -> Json:
    """The answer to `apply` of `body`, whose digest is `name`. Raises InvalidSpec, and what `call` raises."""
    if len(body) > limits.transfer_bytes:
        raise InvalidSpec(f"cannot send {len(body)} bytes: the guest takes {limits.transfer_bytes}")
    for tries_left in reversed(range(TRANSFERS_MAX)):
        # In base64 three bytes are four; an eighth is left for the message around it.
        sending = Sending(name, body, min(limits.chunk_bytes, limits.message_bytes * 5 // 8))
        try:
            result = await call("transfer.begin", sending.opening)
            while (chunk := sending.next(result)) is not None:
                result = await call("transfer.chunk", chunk)
            return await call("apply", {**params, "transfer": name})
        except NotHeld:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")
