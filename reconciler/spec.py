"""Desired state in normal form, with the number and digest that make retries free."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.resource import Json

Normal = Mapping[str, Mapping[str, Json]]  # kind -> its long form, in JSON types only


@dataclass(frozen=True)
class Spec:
    """One generation of what is desired of one guest."""

    generation: int = 0  # 0: nothing has ever been written
    digest: str = ""
    normal: Normal = field(default_factory=dict)


def canonical(normal: Normal) -> bytes:
    """One byte string for one normal form, whatever the order in which it was written."""
    return json.dumps(normal, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(normal: Normal) -> str:
    """`sha256:` and 64 hex digits over the canonical form."""
    # Late: hashlib maps all of OpenSSL, 3.8 MiB resident, and the guest's daemon never digests.
    from hashlib import sha256

    return "sha256:" + sha256(canonical(normal)).hexdigest()
