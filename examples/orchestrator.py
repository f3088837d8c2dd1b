"""Bring some guests to one state at once; exits with 1 if any did not come to it, 2 without a document.

python examples/orchestrator.py examples/hostname.yaml unix:/run/a.sock unix:/run/b.sock
"""

import asyncio
import sys
from pathlib import Path

from reconciler.documents import read
from reconciler.errors import ReconcilerError
from reconciler.host.client import connect
from reconciler.host.following import converged
from reconciler.spec import Normal

CONVERGED_S = 60.0


async def converge(channel: str, normal: Normal) -> tuple[bool, str]:
    """One guest: whether it is as desired, and what became of it, in words."""
    try:
        async with connect(channel, prepare=True) as guest:
            applied = await guest.apply(normal)
            status = await guest.wait(converged(applied.generation), timeout_s=CONVERGED_S)
            is_now = f"{status['phase']}, generation {applied.generation}"
            return True, f"{channel}: {guest.hello.name!r}: {is_now}"
    except ReconcilerError as error:
        return False, f"{channel}: {error}"


async def main(path: str, *channels: str) -> int:
    try:
        (document,) = read(Path(path).read_bytes(), source=path)
    except (OSError, ValueError, ReconcilerError) as error:
        print(f"cannot take a document from {path}: {error}", file=sys.stderr)
        return 2
    all_so = True
    for came in asyncio.as_completed([converge(channel, document.normal) for channel in channels]):
        so, told = await came
        all_so = all_so and so
        print(told, flush=True)
    return 0 if all_so else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
