"""Locks of shadow's tools that have outlived their holders.

A lock is a file beside the database, passwd.lock, with the number of a process in it. The tools
take over a lock whose process is gone. After a power cut its number may be another process's, and
then they would wait for that one, every time and for ever.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress

from reconciler.errors import DriverError

_DATABASES = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
_NUMBER_BYTES_MAX = 32
# Who takes such locks; see lckpwdf(3) and the pages of these.
_HOLDERS = frozenset(
    {"useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "groupmems", "newusers"}
    | {"passwd", "chpasswd", "chgpasswd", "chage", "chfn", "chsh", "gpasswd", "vipw", "vigr"}
    | {"pwck", "grpck", "pwconv", "pwunconv", "grpconv", "grpunconv"}
)


def clear(etc: str) -> bool:
    """Remove locks that nobody holds; whether there were any. Raises DriverError."""
    try:
        outer = os.open(f"{etc}/.pwd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # lckpwdf(3), which each of the tools takes first: with it nobody is at work.
            fcntl.lockf(outer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale = list(_stale(etc))
            for path in stale:
                os.unlink(path)
        finally:
            os.close(outer)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise DriverError(f"cannot clear the locks in {etc}: {error.strerror}") from error
    return bool(stale)


def _stale(etc: str) -> Iterator[str]:
    for name in _DATABASES:
        path = f"{etc}/{name}.lock"
        with suppress(FileNotFoundError):
            with open(path, "rb") as file:
                number = file.read(_NUMBER_BYTES_MAX).rstrip(b"\0\n")
            if not (number.isdigit() and _holds(int(number))):
                yield path


def _holds(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name in _HOLDERS and not rest.startswith(" Z")
