"""This host's clock, told to a guest that wants it: its own clocks, and what ours was then.

A ping's answer says what the guest's boot clock was somewhere between the ping's departure and its
return. In the middle is the best guess, and half the round trip the bound; of several pings the
fastest counts. Nobody steps a boot clock, so how long the news itself then takes does not matter, unless
the guest sleeps meanwhile: it tells from its other clock, which stands still then.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from reconciler.errors import ReconcilerError
from reconciler.host.hello import Ability
from reconciler.resource import Json
from reconciler.spec import Normal

PINGS = 5  # the first wakes a guest up; of the others one is seldom held up
GRAIN_S = 0.000_01  # between two clocks that are read one after the other
_TIME = "time"
_CLOCKS = ("bootClock", "awakeClock")

Call = Callable[[str, Mapping[str, Json]], Awaitable[Json]]


def wanted(kinds: Mapping[str, Ability]) -> bool:
    """Whether a guest that says this in hello wants the time."""
    return any(ability.wants == _TIME for ability in kinds.values())


def asked_for(normal: Normal) -> bool:
    """Whether a spec has the guest's clock set from the host."""
    clock = normal.get("clock")
    return isinstance(clock, Mapping) and clock.get("source") == "host"


async def offer_time(
    call: Call, wall_s: Callable[[], float] = time.time, steady_s: Callable[[], float] = time.monotonic
) -> None:
    """Measure the way to the guest and say what time it is. What goes wrong is left to the next time."""
    with suppress(ReconcilerError):
        found = []
        for _ in range(PINGS):
            before_s = steady_s()
            answer = await call("ping", {})
            trip_s, now_s = steady_s() - before_s, wall_s()
            clocks = [answer.get(name) for name in _CLOCKS] if isinstance(answer, dict) else [None]
            if all(isinstance(clock, int | float) for clock in clocks):
                found.append((trip_s / 2 + GRAIN_S, now_s - trip_s / 2, clocks))
        if found:
            error_s, middle_s, clocks = min(found)
            await call(
                "clock", dict(zip(_CLOCKS, clocks, strict=True)) | {"time": middle_s, "error": error_s}
            )
