"""The kernel's clocks: read together, stepped and slewed, and the RTC beside them.

Sources: adjtimex(2), rtc(4), timerfd_create(2), and the kernel's kernel/time/ntp.c. A positive
number of seconds puts the clock forward. What fails raises OSError.
"""

import ctypes
import os
import struct
import time
from dataclasses import dataclass
from fcntl import ioctl

RTC = "/dev/rtc0"  # the one that the kernel took its time from, unless told otherwise
RTC_SYSFS = "/sys/class/rtc/rtc0"

# linux/timex.h
_ADJ_SETOFFSET = 0x0100
_ADJ_NANO = 0x2000
_ADJ_OFFSET_SINGLESHOT = 0x8001
_ADJ_OFFSET_SS_READ = 0xA001
_STA_UNSYNC = 0x0040
_STA_NANO = 0x2000
_TIME_ERROR = 5
# struct timex: modes; offset, freq, maxerror, esterror; status; constant, precision, tolerance, two
# parts of the time, tick, ppsfreq, jitter; shift; five counts of a pulse a second; tai; the rest is spare.
_TIMEX = struct.Struct("@I4li8li5li44x")
_OFFSET, _MAXERROR, _STATUS, _SECONDS, _PART = 1, 3, 5, 9, 10

_RTC_SET_TIME = 0x4024700A  # _IOW('p', 0x0a, struct rtc_time) of linux/rtc.h
_RTC_TIME = struct.Struct("9i")  # as struct tm: the month from 0, the year from 1900

# linux/timerfd.h
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_FAR_S = 2**32  # in the year 2106

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Moment:
    """Three clocks at one time, in seconds."""

    wall_s: float  # since 1970
    boot_s: float  # since the boot, sleep included; nobody can step it
    slept_s: float  # how much of that was sleep


@dataclass(frozen=True)
class Kernel:
    """What the kernel knows of its clock."""

    synchronised: bool  # somebody disciplines it, and has told the kernel so
    error_s: float  # the most that it is off, if whoever disciplines it is right
    correcting_s: float  # what the discipline has found and is still to be made up for
    slewing_s: float  # what is left of a slew; adjtime(3)


def moment() -> Moment:
    """The clocks together, to some microseconds."""
    tries = []
    for _ in range(3):  # we may have had to wait between two of the readings
        before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        wall_s, awake_s = time.time(), time.monotonic()
        after_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        boot_s = (before_s + after_s) / 2
        tries.append((after_s - before_s, Moment(wall_s, boot_s, max(0.0, round(boot_s - awake_s, 2)))))
    return min(tries, key=lambda each: each[0])[1]


def kernel() -> Kernel:
    state, found = _adjtimex()
    unit = 1e-9 if found[_STATUS] & _STA_NANO else 1e-6
    left = _adjtimex(_ADJ_OFFSET_SS_READ)[1][_OFFSET]
    return Kernel(
        synchronised=state != _TIME_ERROR and not found[_STATUS] & _STA_UNSYNC,
        error_s=found[_MAXERROR] / 1e6,
        correcting_s=found[_OFFSET] * unit,
        slewing_s=left / 1e6,
    )


def step(by_s: float) -> None:
    """Put the clock forward or back at once. It ends a slew, and the kernel forgets that it was in step."""
    whole, part = divmod(round(by_s * 1e9), 10**9)
    _adjtimex(_ADJ_SETOFFSET | _ADJ_NANO, seconds=whole, part=part)


def slew(by_s: float) -> float:
    """Run faster or slower, by 500 ppm, until `by_s` is made up for; what was left of the slew before."""
    return _adjtimex(_ADJ_OFFSET_SINGLESHOT, offset=round(by_s * 1e6))[1][_OFFSET] / 1e6


def rtc_s(folder: str = RTC_SYSFS) -> float | None:
    """The RTC in whole seconds since 1970, as if it were UTC; None where there is none with a time."""
    try:
        with open(f"{folder}/since_epoch") as file:
            return float(file.read())
    except (OSError, ValueError):  # EINVAL: it has lost its time
        return None


def set_rtc(*, local: bool, device: str = RTC) -> None:
    """Write the clock's time into the RTC, to the second."""
    time.tzset()  # the zone may be another one by now
    now_s = time.time()
    now = time.localtime(now_s) if local else time.gmtime(now_s)
    fields = (now.tm_sec, now.tm_min, now.tm_hour, now.tm_mday, now.tm_mon - 1, now.tm_year - 1900, 0, 0, 0)
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ioctl(fd, _RTC_SET_TIME, _RTC_TIME.pack(*fields))
    finally:
        os.close(fd)


class Steps:
    """A `Watch` that wakes when somebody sets the clock, and when the guest has slept."""

    def __init__(self) -> None:
        self._fd: int = _libc.timerfd_create(time.CLOCK_REALTIME, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._arm()

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> bool:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return False
        except OSError:  # ECANCELED: the clock was set
            pass
        self._arm()
        return True

    def close(self) -> None:
        os.close(self._fd)

    def _arm(self) -> None:
        # struct itimerspec: no interval, then the time.
        spec = (ctypes.c_long * 4)(0, 0, min(_FAR_S, 2 ** (8 * ctypes.sizeof(ctypes.c_long) - 1) - 1), 0)
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if _libc.timerfd_settime(self._fd, flags, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _adjtimex(
    modes: int = 0, *, offset: int = 0, seconds: int = 0, part: int = 0
) -> tuple[int, tuple[int, ...]]:
    """The clock's state, and the whole struct timex as it was filled in."""
    fields = [0] * 21
    fields[0], fields[_OFFSET], fields[_SECONDS], fields[_PART] = modes, offset, seconds, part
    buffer = ctypes.create_string_buffer(_TIMEX.pack(*fields), _TIMEX.size)
    state = _libc.adjtimex(buffer)
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return state, _TIMEX.unpack(buffer.raw)
