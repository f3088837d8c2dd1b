"""Keeps the agent small: it is resident in every guest."""

import ctypes
import gc
from contextlib import suppress

_PR_SET_THP_DISABLE = 41  # linux/prctl.h


def stay_small() -> None:
    """Take no transparent huge pages; before much is allocated. See prctl(2), PR_SET_THP_DISABLE.

    Where the kernel gives them to whoever has two megabytes in a row, they would cost up to
    four in which little is used. Programs that the agent starts inherit it.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def give_back() -> None:
    """Return to the kernel what a burst of work has left; see malloc_trim(3)."""
    gc.collect()
    with suppress(AttributeError):  # other libraries of C do not keep as much
        ctypes.CDLL(None).malloc_trim(0)
