"""What the agent costs while it has nothing to do: its start, its memory, its wake-ups."""

import statistics
import time
from pathlib import Path
from typing import Any

from bench.guest import Guest, interpreter
from bench.table import Line
from reconciler.resources import names
from reconciler.subjects.items import KEPT

QUIET_S = 60.0
_SETTLED_S = 90.0  # the process that reads documents leaves after 30 s
_AFTER_S = 2.0  # the look that reaps it is over by then
_USUAL: dict[str, Any] = {
    "filesystems": "thawed",
    "hostname": "bench-usual",
    "power": "running",
    "report": sorted(KEPT),
    "session": "unlocked",
}
# Those that sleep until a document names them; these touch nothing, and the guest rehearses.
_EVERYTHING = _USUAL | {
    "accounts": {"root": {"shell": "/bin/bash"}},
    "clock": {"ntp": True},
    "cpus": "all",
    "files": {"/etc/hostname": {"mode": "0644"}},
    "memory-blocks": "all",
    "run": {"nothing": {"command": ["/bin/true"], "token": "1"}},
    "services": {"cron": "running"},
    "user": "nobody logged-out",
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

    The memory is that of a document with the kinds that are always awake, and of one with every kind,
    each with every item. The wake-ups are those of a document that asks for no periods, for a period
    is one.
    """
    if missing := set(names()) - _EVERYTHING.keys():
        raise RuntimeError(f"cannot measure every kind: {', '.join(missing)}: it has no document here")
    with (
        Guest(folder / "usual") as usual,
        Guest(folder / "full") as full,
        Guest(folder / "quiet") as still,
    ):
        _converge(usual, _USUAL)
        _converge(full, _EVERYTHING)
        _converge(still, {"hostname": "bench-quiet"})
        at_once_mib = usual.resident_mib()
        for guest in (usual, full, still):
            _settle(guest)
        small_mib = still.resident_mib()
        before, began_s = still.wake_ups(), time.monotonic()
        time.sleep(length_s)
        counted, minutes = still.wake_ups() - before, (time.monotonic() - began_s) / 60
        usual_mib, full_mib = usual.resident_mib(), full.resident_mib()
    program, _ = interpreter()
    beside = f"{program} -IS; {at_once_mib:.1f} MiB just after converging; {small_mib:.1f} MiB for a hostname"
    return [
        Line("resident, five kinds, every item", "MiB", usual_mib, 16, beside),
        Line("resident, every kind and item", "MiB", full_mib, 20, f"{len(_EVERYTHING)} kinds"),
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
