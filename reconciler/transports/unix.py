"""A unix socket that the guest listens on, for root and the agent's own user."""

import errno
import os
import socket
import stat
import struct

from reconciler.errors import DriverError, InvalidSpec
from reconciler.pump.listener import Listener
from reconciler.stream import Endpoint

_PATH_BYTES_MAX = 107  # sun_path in unix(7), less its closing NUL
_UCRED = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED in unix(7)


def endpoint(path: str) -> Endpoint:
    """From what follows `unix:`: where to put the socket."""
    if not path or "\0" in path or len(os.fsencode(path)) > _PATH_BYTES_MAX:
        raise InvalidSpec(f"unix: is followed by a path of 1 to {_PATH_BYTES_MAX} bytes")
    return Unix(path)


class Unix(Listener):
    """The socket has mode 0600 before anybody can connect, and each peer is asked who it is."""

    def __init__(self, path: str) -> None:
        super().__init__(f"unix:{path}")
        self._path = path
        self._ours: tuple[int, int] | None = None

    def bind(self) -> socket.socket:
        _remove_dead(self._path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(self._path)
            # Nobody can connect before listen(2), so there is no moment with a wider mode.
            os.chmod(self._path, 0o600)
            self._ours = _identity(os.lstat(self._path))
        except BaseException:
            bound.close()
            raise
        return bound

    def refusal(self, peer: socket.socket) -> str:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(credentials)
        return "" if uid in (0, os.geteuid()) else f"user {uid} is neither root nor this agent's"

    def close(self) -> None:
        super().close()
        try:
            if _identity(os.lstat(self._path)) == self._ours:
                os.unlink(self._path)
        except FileNotFoundError:
            pass


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _remove_dead(path: str) -> None:
    """Remove a socket that a killed agent of this user has left; nothing else is touched."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise DriverError("there is a file that is no socket")
    if status.st_uid != os.geteuid():
        raise DriverError(f"there is a socket of user {status.st_uid}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)  # a living listener with a full queue must not hold us
        code = caller.connect_ex(path)
    if code != errno.ECONNREFUSED:
        raise DriverError("another process listens there")
    os.unlink(path)
