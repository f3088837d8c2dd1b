"""What a guest says of itself in hello, taken in with the distrust that a guest deserves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.errors import RemoteProtocolError, Unsupported
from reconciler.protocols.channel import PROTOCOL, TO_GUEST_BYTES_MAX
from reconciler.resource import Json

NAME_LENGTH_MAX = 253  # of a host name, RFC 1035
WORD_LENGTH_MAX = 128  # a digest is 71 long, a boot id 36
KINDS_MAX = 256  # there are some twenty
_WORDS = ("reason", "message", "wants")
MESSAGE_BYTES_MIN = 4096  # below that no document fits, and transfers would never end


@dataclass(frozen=True)
class Limits:
    """What the guest takes, never more than what this side would send anyway."""

    message_bytes: int = TO_GUEST_BYTES_MAX
    chunk_bytes: int = 128 << 10
    transfer_bytes: int = 16 << 20


@dataclass(frozen=True)
class Ability:
    """Whether a guest has a driver for a kind, and if not why."""

    usable: bool
    reason: str = ""
    message: str = ""
    wants: str = ""  # of the host: `time`, or nothing


@dataclass(frozen=True)
class Hello:
    name: str
    boot_id: str
    generation: int  # 0: the guest has no document
    digest: str
    revision: int
    agent: str = ""  # its version
    rehearsing: bool = False
    kinds: Mapping[str, Ability] = field(default_factory=dict)
    limits: Limits = Limits()


def parse_hello(value: Json) -> Hello:
    """Raises RemoteProtocolError, and Unsupported for a protocol that this side does not speak."""
    if not isinstance(value, dict):
        raise RemoteProtocolError("hello is not an object")
    if value.get("protocol") != PROTOCOL:
        raise Unsupported(
            f"cannot talk to the guest: it speaks protocol {value.get('protocol')!r:.20}, we speak {PROTOCOL}"
        )
    agent, kinds = value.get("agent"), value.get("kinds")
    return Hello(
        name=text(value, "name", NAME_LENGTH_MAX),
        boot_id=text(value, "bootId"),
        generation=count(value, "generation"),
        digest=text(value, "digest"),
        revision=count(value, "revision"),
        agent=text(agent, "version") if isinstance(agent, dict) else "",
        rehearsing=value.get("rehearsing") is True,
        kinds=_kinds(kinds if isinstance(kinds, dict) else {}),
        limits=_limits(value.get("limits")),
    )


def count(value: Mapping[str, Json], key: str) -> int:
    """The natural number under `key`. Raises RemoteProtocolError."""
    number = value.get(key)
    if type(number) is not int or number < 0:
        raise RemoteProtocolError(f"{key} is not a natural number")
    return number


def text(value: Mapping[str, Json], key: str, length_max: int = WORD_LENGTH_MAX) -> str:
    """The string under `key`. Raises RemoteProtocolError."""
    found = value.get(key)
    if not isinstance(found, str) or len(found) > length_max:
        raise RemoteProtocolError(f"{key} is not a string of at most {length_max}")
    return found


def _kinds(value: Mapping[str, Json]) -> dict[str, Ability]:
    if len(value) > KINDS_MAX:
        raise RemoteProtocolError(f"hello has more than {KINDS_MAX} kinds")
    return {
        kind: Ability(
            ability.get("usable") is True,
            *(found if isinstance(found := ability.get(key), str) else "" for key in _WORDS),
        )
        for kind, ability in value.items()
        if isinstance(ability, dict)
    }


def _limits(value: Json) -> Limits:
    ours = Limits()
    if not isinstance(value, dict):
        return ours

    def least(key: str, our: int) -> int:
        their = value.get(key)
        return max(MESSAGE_BYTES_MIN, min(our, their)) if type(their) is int else our

    return Limits(
        least("messageBytes", ours.message_bytes),
        least("chunkBytes", ours.chunk_bytes),
        least("transferBytes", ours.transfer_bytes),
    )
