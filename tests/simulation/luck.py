"""What a seed stands for: the documents, what goes wrong, and how badly.

Each seed has some sorts of trouble and not the others, so that a rare one is not always
drowned by the rest. After `until_s` nothing goes wrong any more.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reconciler.documents import normalise

Json = Any

SCRIPTS = 96  # so that each one's end without faults is found out once for many seeds
TROUBLES = (
    "noise",  # messages lost, doubled, torn, garbled, late, in another order
    "slow",  # bytes that take seconds
    "cuts",  # connections that end after some bytes, or at some moment
    "deaf",  # a host that does not read
    "leaving",  # a host that dies and comes back knowing nothing
    "kills",  # the agent killed at some moment
    "crashes",  # the agent killed within an act or a write
    "power-cuts",  # the guest killed so
    "reboots",
    "pauses",  # an agent that is stopped for a while
    "errors",  # drivers that fail, before the act or after it
    "hangs",  # drivers that do not return
    "disk",  # full or failing
    "hands",  # somebody in the guest: renames it, unlocks a screen, thaws
    "unseen",  # the same, and no event tells of it
    "clock",  # the wall clock stepped
)
LENGTHS_S = (4.0, 8.0, 8.0, 16.0, 16.0, 40.0)  # a hang outlasts a deadline in the last one only


@dataclass(frozen=True)
class Scene:
    """One document, and when its author writes it."""

    at_s: float
    normal: Mapping[str, Json]


class Luck:
    """Without a seed nothing goes wrong."""

    def __init__(self, script: tuple[Scene, ...], seed: int | None = None) -> None:
        self.script = script
        self.kinds = sorted({kind for scene in script for kind in scene.normal})  # that this guest can do
        self.draw = random.Random(f"luck {seed}")
        self.until_s = script[-1].at_s + 1.0
        self.troubles: frozenset[str] = frozenset()
        self.share = 0.0  # of messages, calls and writes that meet their trouble
        self.seamless = False  # the host's end stays open whatever becomes of the guest, as with virtio
        self.room_bytes = 1 << 16
        self.watched = False  # somebody follows the events
        self.awaited = True  # whoever wrote a document waits until it has come about
        if seed is not None:
            self.until_s = max(self.until_s, self.draw.choice(LENGTHS_S))
            self.troubles = frozenset(self.draw.sample(TROUBLES, self.draw.randint(1, 6)))
            self.share = self.draw.choice((0.02, 0.1, 0.3))
            self.seamless = self.draw.random() < 0.5
            self.room_bytes = self.draw.choice((600, 4096, 1 << 16))
            self.watched = self.draw.random() < 0.2
            self.awaited = self.draw.random() < 0.3
        self.over = False

    def has(self, trouble: str) -> bool:
        return trouble in self.troubles and not self.over

    def strikes(self, trouble: str, part: float = 1.0) -> bool:
        """Whether this trouble happens here, with the given part of the seed's probability."""
        return self.has(trouble) and self.draw.random() < self.share * part

    def moments(self, trouble: str) -> list[float]:
        """Times at which this trouble happens."""
        if trouble not in self.troubles:
            return []
        return sorted(self.draw.uniform(0, self.until_s) for _ in range(self.draw.randint(1, 4)))

    def little_s(self) -> float:
        """How long something takes that goes well."""
        return 0.0 if self.over or not self.troubles else self.draw.choice((0.0, 0.0, 0.0, 0.02))


@lru_cache
def script_of(number: int) -> tuple[Scene, ...]:
    """Some documents; the last one is what the end is judged by."""
    draw = random.Random(f"script {number}")
    times = sorted(draw.uniform(0, 8) for _ in range(draw.randint(0, 2)))
    return tuple(Scene(at_s, normal_of(draw)) for at_s in (0.0, *times))


def normal_of(draw: random.Random) -> Mapping[str, Json]:
    parts: dict[str, Json] = {
        "hostname": draw.choice(("web-01", "web-02", {"static": "web-03", "pretty": "Web three"})),
        "session": draw.choice(("locked", "unlocked", {"state": "locked", "enforce": "always"})),
        "power": draw.choice(("running", {"reboot": {"token": draw.choice("ab")}})),
        "filesystems": draw.choice(
            (
                "thawed",
                {"state": "frozen", "lease": draw.choice((2, 5, 12))},
                {"state": "frozen", "lease": 3, "mounts": ["/data"], "trim": {"token": draw.choice("cd")}},
                {"trim": {"token": draw.choice("cd")}},
            )
        ),
        "report": {"memory": {"every": draw.choice((5, 30))}},
    }
    kept = draw.sample(sorted(parts), draw.randint(1, 4))
    return normalise({kind: parts[kind] for kind in sorted(kept)})
