"""What a document costs that the guest has already, and one with a changed field."""

import statistics
import time
from pathlib import Path

from bench.guest import Guest
from bench.host import Host
from bench.table import Line


def resend(folder: Path, rounds: int = 500) -> Line:
    """From `apply` sent to its answer `same`, on one connection."""
    times_ms = []
    with Guest(folder / "resend") as guest:
        host = guest.host()
        host.greet()
        spec = {"hostname": "bench-resend"}
        host.apply(1, spec, "hostname")
        for _ in range(rounds):
            began_s = time.perf_counter()
            answer = host.call("apply", generation=1, spec=spec)
            times_ms.append((time.perf_counter() - began_s) * 1000)
            if answer["accepted"] != "same":
                raise RuntimeError(f"a document sent again was taken as {answer['accepted']}")
        pings_ms = [_ping_ms(host) for _ in range(rounds)]
        host.close()
    beside = f"{spread(times_ms)}; a bare ping {statistics.median(pings_ms):.2f} ms"
    return Line("the same document again", "ms", statistics.median(times_ms), 2, beside, times_ms)


def _ping_ms(host: Host) -> float:
    began_s = time.perf_counter()
    host.call("ping")
    return (time.perf_counter() - began_s) * 1000


def change(folder: Path, rounds: int = 200) -> Line:
    """From `apply` sent to the status that tells that generation's hostname in sync, act rehearsed."""
    times_ms = []
    with Guest(folder / "change") as guest:
        host = guest.host()
        host.greet()
        host.apply(1, {"hostname": "bench-odd"}, "hostname")
        for generation in range(2, rounds + 2):
            name = "bench-odd" if generation % 2 else "bench-even"
            began_s = time.perf_counter()
            host.apply(generation, {"hostname": name}, "hostname")
            times_ms.append((time.perf_counter() - began_s) * 1000)
        host.close()
    return Line(
        "one changed field to in sync", "ms", statistics.median(times_ms), 5, spread(times_ms), times_ms
    )


def spread(times_ms: list[float]) -> str:
    ordered = sorted(times_ms)
    return f"median of {len(ordered)}, 95 % within {ordered[int(len(ordered) * 0.95)]:.2f} ms"
