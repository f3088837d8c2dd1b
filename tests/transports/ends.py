"""What the tests of endpoints share: looking without waiting, and collecting events."""

import os
import select
from typing import TypeVar

from reconciler.stream import Data, Endpoint, Event

EventT = TypeVar("EventT")

PATIENCE_S = 10.0  # for what the kernel does in its own time, as passing a pseudoterminal's bytes on


def ready(endpoint: Endpoint) -> bool:
    """Whether a level-triggered selector would wake the loop now."""
    return bool(select.select([endpoint], [], [], 0)[0])


def settle(endpoint: Endpoint, now_s: float = 0.0) -> list[Event]:
    """The events until the endpoint is quiet, as a loop with this clock would see them."""
    events: list[Event] = []
    for _ in range(1000):
        due = endpoint.due_s is not None and endpoint.due_s <= now_s
        if not due and not ready(endpoint):
            return events
        events += endpoint.poll(now_s)
    raise AssertionError("the endpoint is never quiet")


def wait(endpoint: Endpoint, kind: type[Event], now_s: float = 0.0) -> list[Event]:
    """The events up to the first of this kind, which is sure to come."""
    events = settle(endpoint, now_s)
    while not any(isinstance(event, kind) for event in events):
        assert select.select([endpoint], [], [], PATIENCE_S)[0], f"no {kind.__name__} came"
        events += settle(endpoint, now_s)
    return events


def wait_for_bytes(endpoint: Endpoint, count: int, now_s: float = 0.0) -> bytes:
    data = b""
    while len(data) < count:
        data += received(wait(endpoint, Data, now_s))
    return data


def only(kind: type[EventT], events: list[Event]) -> EventT:
    """The one event of this kind."""
    (event,) = (event for event in events if isinstance(event, kind))
    return event


def received(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Data))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
