"""Keeps the agent small, as it is resident in every guest, and its memory to itself."""

import ctypes
import gc
import os
from contextlib import suppress

_PR_SET_DUMPABLE, _PR_SET_THP_DISABLE = 4, 41  # linux/prctl.h


def stay_small() -> None:
    """Take no transparent huge pages; before much is allocated. See prctl(2), PR_SET_THP_DISABLE.

    Where the kernel gives them to whoever has two megabytes in a row, they would cost up to
    four in which little is used. Programs that the agent starts inherit it.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def stay_private() -> None:
    """Have no dump made of this process, which may hold secrets; see prctl(2), PR_SET_DUMPABLE.

    A limit of zero does not bind programs to which the kernel pipes a dump; see core(5).
    """
    if os.geteuid() == 0:  # anybody else would lose /proc/self/fd with it, by which files are opened
        with suppress(AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_back() -> None:
    """Return to the kernel what a burst of work has left; see malloc_trim(3)."""
    gc.collect()
    with suppress(AttributeError):  # other libraries of C do not keep as much
        ctypes.CDLL(None).malloc_trim(0)
