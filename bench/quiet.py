"""What the agent costs while it has nothing to do: its start, its memory, its wake-ups."""

import statistics
import time
from pathlib import Path

from bench.guest import Guest, interpreter
from bench.table import Line

QUIET_S = 60.0
_SETTLED_S = 90.0  # the process that reads documents leaves after 30 s
_AFTER_S = 2.0  # the look that reaps it is over by then


def start(folder: Path, rounds: int = 5) -> Line:
    """From before the spawn to the guest's hello."""
    times_ms = [_start_ms(folder / f"start-{number}") for number in range(rounds)]
    beside = f"median of {rounds}, slowest {max(times_ms):.0f} ms"
    return Line("start to hello", "ms", statistics.median(times_ms), 200, beside, times_ms)


def _start_ms(folder: Path) -> float:
    began_s = time.perf_counter()
    with Guest(folder) as guest:
        host = guest.host()
        host.until(lambda: host.hello is not None)
        ended_s = time.perf_counter()
        host.close()
    return (ended_s - began_s) * 1000


def quiet(folder: Path, length_s: float = QUIET_S) -> list[Line]:
    """Resident memory and wake-ups of a converged guest whose host has left."""
    with Guest(folder / "quiet") as guest:
        host = guest.host()
        host.greet()
        host.apply(1, {"hostname": "bench-quiet"}, "hostname")
        at_once_mib = guest.resident_mib()
        host.close()
        _settle(guest)
        before, began_s = guest.wake_ups(), time.monotonic()
        time.sleep(length_s)
        counted, minutes = guest.wake_ups() - before, (time.monotonic() - began_s) / 60
        resident_mib = guest.resident_mib()
    program, _ = interpreter()
    beside = f"{program} -IS; {at_once_mib:.1f} MiB just after converging"
    return [
        Line("resident, converged and quiet", "MiB", resident_mib, 16, beside),
        Line("wake-ups, converged and quiet", "/min", counted / minutes, 2, f"{counted} in {length_s:.0f} s"),
    ]


def _settle(guest: Guest) -> None:
    ends_s = time.monotonic() + _SETTLED_S
    while guest.has_children() and time.monotonic() < ends_s:
        time.sleep(0.5)
    time.sleep(_AFTER_S)
