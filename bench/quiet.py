"""What the agent costs while it has nothing to do: its start, its memory, its wake-ups."""

import statistics
import time
from pathlib import Path
from typing import Any

from bench.guest import Guest, interpreter
from bench.table import Line
from reconciler.subjects.items import KEPT

QUIET_S = 60.0
_SETTLED_S = 90.0  # the process that reads documents leaves after 30 s
_AFTER_S = 2.0  # the look that reaps it is over by then
_EVERYTHING = {
    "filesystems": "thawed",
    "hostname": "bench-full",
    "power": "running",
    "report": sorted(KEPT),
    "session": "unlocked",
}


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
    """Resident memory and wake-ups of converged guests whose host has left.

    The memory is that of a document with every kind and every item. The wake-ups are those of a
    document that asks for no periods, for a period is one.
    """
    with Guest(folder / "full") as full, Guest(folder / "quiet") as still:
        _converge(full, _EVERYTHING)
        _converge(still, {"hostname": "bench-quiet"})
        at_once_mib = full.resident_mib()
        _settle(full)
        _settle(still)
        small_mib = still.resident_mib()
        before, began_s = still.wake_ups(), time.monotonic()
        time.sleep(length_s)
        counted, minutes = still.wake_ups() - before, (time.monotonic() - began_s) / 60
        resident_mib = full.resident_mib()
    program, _ = interpreter()
    beside = f"{program} -IS; {at_once_mib:.1f} MiB just after converging; {small_mib:.1f} MiB for a hostname"
    return [
        Line("resident, every kind and item", "MiB", resident_mib, 16, beside),
        Line("wake-ups, converged and quiet", "/min", counted / minutes, 2, f"{counted} in {length_s:.0f} s"),
    ]


def _converge(guest: Guest, spec: dict[str, Any]) -> None:
    host = guest.host()
    host.greet()
    host.apply(1, spec, "hostname")
    host.close()


def _settle(guest: Guest) -> None:
    ends_s = time.monotonic() + _SETTLED_S
    while guest.has_children() and time.monotonic() < ends_s:
        time.sleep(0.5)
    time.sleep(_AFTER_S)
