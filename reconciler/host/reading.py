"""Whether anybody reads what we write: a watcher may have nothing to write for hours."""

import asyncio
import os
import stat
import sys
from collections.abc import Coroutine


async def while_read(work: Coroutine[None, None, int]) -> int:
    """What `work` returns. Raises BrokenPipeError once standard output is a pipe that nobody reads."""
    task = asyncio.ensure_future(work)
    fd = _pipe()
    if fd is None:
        return await task
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    # Nothing can be read from this end: it is reported for the one reason that its reader has gone.
    loop.add_reader(fd, gone.set)
    waiting = asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise BrokenPipeError
        return task.result()
    finally:
        loop.remove_reader(fd)
        task.cancel()
        waiting.cancel()
        await asyncio.wait({task, waiting})


def _pipe() -> int | None:
    """The descriptor of standard output, where that is a pipe."""
    try:
        fd = sys.stdout.fileno()
        return fd if stat.S_ISFIFO(os.fstat(fd).st_mode) else None
    except (AttributeError, OSError, ValueError):  # closed, or a text in memory
        return None
