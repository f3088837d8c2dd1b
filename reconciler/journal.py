"""Conditions with the time of their last change, and the events that tell of it."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.errors import ReconcilerError
from reconciler.resource import Json, Notice
from reconciler.status import NOT_SEEN_YET, Condition

EVENTS_MAX = 256  # what a host that was away for a night wants to read, in some 64 KiB
OF_ONE_KIND_MAX = EVENTS_MAX // 2  # what never comes to rest pushes out what it has told itself
AGAIN_S = 1.0  # anybody can touch a file a thousand times a second
MESSAGE_MAX = 1000


@dataclass(frozen=True)
class Event:
    """Something that happened, told once."""

    seq: int
    time: str
    kind: str
    reason: str
    message: str

    def document(self) -> dict[str, Json]:
        return dict(vars(self))


class Journal:
    """Owned by the loop. Events live in memory only: a log line could block on a frozen disk."""

    def __init__(self, stamp: Callable[[float], str]) -> None:
        self.stamp = stamp
        self._conditions: Mapping[str, Condition] = {}
        self._told: dict[str, tuple[str, str]] = {}  # status and reason of the last event, by kind
        self._noted: dict[str, tuple[str, str, float]] = {}  # the last notice of each kind, and when
        self._events: deque[Event] = deque()
        self._seq = 0

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return tuple(self._conditions.values())

    def add(self, kind: str, reason: str, message: str, now_s: float) -> None:
        self._seq += 1
        if len(self._events) == EVENTS_MAX:
            alike = [event for event in self._events if event.kind == kind]
            self._events.remove(alike[0] if len(alike) >= OF_ONE_KIND_MAX else self._events[0])
        self._events.append(Event(self._seq, self.stamp(now_s), kind, reason, message[:MESSAGE_MAX]))

    def note(self, kind: str, notice: Notice, now_s: float) -> None:
        """Tell what a kind has noticed, but not the same again at once."""
        reason, message, at_s = self._noted.get(kind, ("", "", 0.0))
        if (reason, message) != (notice.reason, notice.message) or now_s >= at_s + AGAIN_S:
            self._noted[kind] = (notice.reason, notice.message, now_s)
            self.add(kind, notice.reason, notice.message, now_s)

    def since(self, seq: int) -> tuple[Event, ...]:
        """Events after `seq`, oldest first; those that fell out of the bound are lost."""
        if seq >= self._seq:
            return ()
        return tuple(event for event in self._events if event.seq > seq)

    @property
    def last(self) -> int:
        return self._seq

    def judge(self, fresh: Iterable[Condition], now_s: float) -> None:
        """Take the conditions as they are now; those no longer among them are forgotten."""
        judged: dict[str, Condition] = {}
        for condition in fresh:
            before = self._conditions.get(condition.type)
            if before is not None and before.status == condition.status:
                judged[condition.type] = replace(condition, last_transition=before.last_transition)
            else:
                judged[condition.type] = replace(condition, last_transition=self.stamp(now_s))
            self._tell(condition, now_s)
        self._conditions = judged
        self._told = {kind: told for kind, told in self._told.items() if kind in judged}

    def _tell(self, condition: Condition, now_s: float) -> None:
        """An event for what is news. That a new document has not been looked at for yet is none."""
        told = (condition.status, condition.reason)
        if condition.reason != NOT_SEEN_YET and self._told.get(condition.type) != told:
            self._told[condition.type] = told
            self.add(condition.type, condition.reason, condition.message, now_s)


def unusable(kind: str, why: ReconcilerError, generation: int) -> Condition:
    """The condition of a kind that this guest cannot do at all."""
    return Condition(
        kind, "False", type(why).__name__, str(why), observed_generation=generation, mood="failed"
    )
