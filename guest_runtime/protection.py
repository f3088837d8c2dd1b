"""What keeps the guardian alive and awake: memory, OOM killer, parent's death, a clock."""

import ctypes
import os
import signal

_MCL_CURRENT, _MCL_FUTURE = 1, 2  # asm-generic/mman.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TFD_TIMER_ABSTIME = 1  # linux/timerfd.h
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_CLOCK_BOOTTIME = 7
_NEVER_S = 1e9  # 30 years

_libc = ctypes.CDLL(None, use_errno=True)


def protect() -> str:
    """Do what can be done; what could not, in words."""
    faults = []
    # All of it now: to bring a page in from a frozen disk is possible, but not for want of memory.
    if _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        faults.append(f"the guardian is not locked in memory: {os.strerror(ctypes.get_errno())}")
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
    except OSError as error:
        faults.append(f"the guardian may be killed for want of memory: {error.strerror}")
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0) != 0:
        faults.append(f"the guardian hears late of the agent's death: {os.strerror(ctypes.get_errno())}")
    return "; ".join(faults)


class Timer:
    """Ends a poll at a time on the boot clock, also when that has passed in a suspend.

    poll(2) alone counts on the monotonic clock, which stands still in a suspend.
    """

    def __init__(self) -> None:
        self.fd: int = _libc.timerfd_create(_CLOCK_BOOTTIME, _TFD_FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "cannot make a timer on the boot clock")

    def set(self, due_s: float) -> None:
        """Make `fd` readable at `due_s` and not before. Arming it anew takes back what was due."""
        due_s = min(max(due_s, 0.000001), _NEVER_S)  # zero would disarm it
        seconds = int(due_s)
        # struct itimerspec: no interval, then the time.
        spec = (ctypes.c_long * 4)(0, 0, seconds, int((due_s - seconds) * 1e9))
        _libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
