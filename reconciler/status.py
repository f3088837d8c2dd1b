"""What came of it: conditions, the phase, the report to the host and its merge patches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.resource import Json

NOT_SEEN_YET = "NotSeenYet"  # the reason of a kind whose first look for a document is under way
Phase = Literal["Converged", "Converging", "Holding", "Degraded", "Refused"]


@dataclass(frozen=True)
class Condition:
    """How one kind stands, with Kubernetes' fields."""

    type: str  # the kind
    status: Literal["True", "False", "Unknown"]
    reason: str  # one CamelCase word for machines
    message: str = ""
    observed_generation: int = 0
    last_transition: str = ""  # RFC 3339, when `status` last changed
    attempts: int = 0  # failures in a row
    next_try: str = ""  # RFC 3339; empty while nothing is to be retried
    # What it does to the phase: failed is Degraded, waiting is Converging, at ease is neither.
    mood: Literal["ease", "waiting", "failed"] = "ease"

    def document(self) -> dict[str, Json]:
        fields: dict[str, Json] = {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": self.last_transition,
            "attempts": self.attempts,
        }
        return fields | ({"nextTry": self.next_try} if self.next_try else {})


@dataclass(frozen=True)
class Refusal:
    """The last document that was refused; gone as soon as one is accepted."""

    generation: int
    reason: str
    message: str

    def document(self) -> dict[str, Json]:
        return {"generation": self.generation, "reason": self.reason, "message": self.message}


@dataclass(frozen=True)
class Status:
    """What the guest reports: all of it, every time."""

    observed_generation: int
    conditions: tuple[Condition, ...] = ()
    observed: Mapping[str, Json] = field(default_factory=dict)
    inventory: Mapping[str, Json] = field(default_factory=dict)
    holding: bool = False
    refusal: Refusal | None = None

    def document(self, agent: Mapping[str, Json]) -> dict[str, Json]:
        """As it travels: JSON without null, conditions in order of type."""
        whole: dict[str, Json] = {
            "observedGeneration": self.observed_generation,
            "phase": phase(self),
            "conditions": [c.document() for c in sorted(self.conditions, key=lambda c: c.type)],
            "observed": dict(self.observed),
            "inventory": dict(self.inventory),
            "agent": dict(agent),
        }
        return whole | ({"refusal": self.refusal.document()} if self.refusal else {})


def phase(status: Status) -> Phase:
    """One word for the whole guest; the most urgent one wins."""
    if status.refusal is not None:
        return "Refused"
    moods = {condition.mood for condition in status.conditions}
    if "failed" in moods:
        return "Degraded"
    if "waiting" in moods:
        return "Converging"
    return "Holding" if status.holding else "Converged"


def merge_patch(old: Json, new: Json) -> Json:
    """The RFC 7396 patch that makes `new` of `old`; both without null, which a patch can't carry.

    Compared as Python does, so True is 1: no member of a status changes from one to the other.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone: dict[str, Json] = {key: None for key in old if key not in new}
    changed = {
        key: merge_patch(old.get(key, {} if isinstance(value, dict) else None), value)
        for key, value in new.items()
        if key not in old or old[key] != value
    }
    return gone | changed


def apply_patch(target: Json, patch: Json) -> Json:
    """RFC 7396, section 2. Neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = apply_patch(kept.get(key), value)
    return kept
