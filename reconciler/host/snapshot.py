"""One command, run while a guest is frozen, with signals under control."""

import asyncio
from collections.abc import Sequence

from reconciler.host.child import Child, NotStarted, check
from reconciler.host.client import Guest
from reconciler.host.freezing import Freeze, Wish, frozen
from reconciler.host.output import note, progress


async def snapshot(guest: Guest, wish: Wish, words: Sequence[str]) -> int:
    """The command's exit status, if the freeze held. Raises NotFrozen, FreezeLost."""
    try:
        check(words)
    except NotStarted as error:
        return _not_started(error)
    task = asyncio.current_task()
    assert task is not None
    child = Child(task.cancel)
    with child.signals():
        try:
            async with frozen(guest, wish) as freeze:
                progress(f"frozen: freeze {freeze.epoch}, generation {freeze.generation}")
                status = await _run(freeze, child, words)
            progress("thawed: the same freeze held throughout")
            return status
        except asyncio.CancelledError:
            if not child.stopped_by:
                raise
            # Nothing but the signal cancelled us, and the exit code says so.
            task.uncancel()
            note("reconciler: stopped before the command was started; nothing is frozen")
            return 128 + child.stopped_by


async def _run(freeze: Freeze, child: Child, words: Sequence[str]) -> int:
    try:
        status = await child.run(words)
    except NotStarted as error:
        return _not_started(error)
    await freeze.check()
    return status


def _not_started(error: NotStarted) -> int:
    note(f"reconciler: {error}")
    return error.code
