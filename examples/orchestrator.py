"""Bring some guests to one state at once, and tell how each came out.

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


async def converge(channel: str, normal: Normal) -> str:
    """One guest; what became of it, in words."""
    try:
        async with connect(channel, prepare=True) as guest:
            applied = await guest.apply(normal)
            status = await guest.wait(converged(applied.generation), timeout_s=CONVERGED_S)
            return f"{guest.hello.name!r}: {status['phase']}, generation {applied.generation}"
    except ReconcilerError as error:
        return f"{channel}: {error}"


async def main(path: str, *channels: str) -> None:
    (document,) = read(Path(path).read_bytes(), source=path)
    for told in asyncio.as_completed([converge(channel, document.normal) for channel in channels]):
        print(await told, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
