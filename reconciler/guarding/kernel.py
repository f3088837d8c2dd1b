"""The kernel's side of a freeze: ioctls of linux/fs.h, and the clock that a lease runs on."""

# Imported by the guardian, which must start in some 15 ms: nothing here that imports dataclasses or typing.
import errno
import fcntl
import os
import struct
import time

_FIFREEZE = 0xC0045877  # _IOWR('X', 119, int)
_FITHAW = 0xC0045878  # _IOWR('X', 120, int)
_FITRIM = 0xC0185879  # _IOWR('X', 121, struct fstrim_range)
_RANGE = struct.Struct("QQQ")  # start, len, minlen: bytes
_WHOLE = 2**64 - 1

FROZEN_ALREADY = errno.EBUSY
THAWED_ALREADY = errno.EINVAL

_WORDS = {
    errno.EBUSY: "somebody else holds it frozen",
    errno.EOPNOTSUPP: "this filesystem cannot",
    errno.ENOTTY: "this filesystem cannot",
    errno.EPERM: "not permitted (it needs CAP_SYS_ADMIN)",
}


def boot_clock_s() -> float:
    """Seconds since the boot, suspended time included; nobody can step it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def open_mount(path: str) -> int:
    """A descriptor through which a filesystem can be frozen and thawed. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def mount_id(fd: int) -> int:
    """The id, as in mountinfo, of the mount that a descriptor was opened in."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["mnt_id"])


def freeze(fd: int) -> int:
    """0, or the errno. Blocks until all that is dirty is on the disk; FROZEN_ALREADY changes nothing."""
    return _ioctl(fd, _FIFREEZE)


def thaw(fd: int) -> int:
    """0, or the errno; THAWED_ALREADY where nothing was frozen."""
    return _ioctl(fd, _FITHAW)


def trim(fd: int, minimum: int) -> int:
    """How many bytes were told to the disk as free. Raises OSError."""
    asked = bytearray(_RANGE.pack(0, _WHOLE, minimum))
    fcntl.ioctl(fd, _FITRIM, asked, True)
    return int(_RANGE.unpack(asked)[1])


def words(error: int) -> str:
    """What an errno of these calls means to a person."""
    return _WORDS.get(error) or os.strerror(error)


def _ioctl(fd: int, request: int) -> int:
    try:
        fcntl.ioctl(fd, request, 0)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
