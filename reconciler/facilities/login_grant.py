"""One permission to log in: for one user, by one PAM service, used once, for a few seconds.

Theory of operation. A door whose program asks PAM by itself, as display managers do, cannot
be told that PAM has agreed already. So its PAM rules begin with a question to the agent:

    auth [success=done default=ignore] pam_exec.so quiet FOLDER/pam-credential

That program (guest_runtime/pam_credential.py, in /usr/lib/guest-reconciler) asks at a socket
that only root reaches and that is there only while a login is under way. The answer is yes
once: to the right user and the right service. In any other case PAM goes on as if that line
were not there.

Nothing is asked for whoever sits at a prompt: such a login has a terminal or a display, or
comes from another host, and one that an agent had opened has none of them yet. So nobody who
types the same name at the same moment takes the permission.
"""

import json
import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress

from reconciler.errors import DriverError

SOCKET = "/run/guest-reconciler/pam.sock"
VALID_S = 5.0  # a greeter needs one second; an emulated one three
QUESTION_BYTES_MAX = 4096  # two names
_ASKING_MAX = 128  # at once; one too many is turned away, and it may be the right one
_QUESTION_S = 1.0  # it comes in one write
_UCRED = struct.Struct("3i")  # pid, uid, gid; see SO_PEERCRED in unix(7)


class Grant:
    """`with Grant("alice", "lightdm") as grant:` the door has PAM ask; then `grant.wait()`."""

    def __init__(
        self, user: str, service: str, token: str = "", *, path: str = SOCKET, valid_s: float = VALID_S
    ) -> None:
        """With a token, who asks has to know it."""
        self._user, self._service, self._token, self._path = user, service, token, path
        self._valid_s, self._ends_s = valid_s, 0.0
        self._used = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._end, self._ended = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Grant":
        """Raises DriverError."""
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # of an agent that was killed
            self._listener.bind(self._path)
            os.chmod(self._path, 0o600)
            self._listener.listen(_ASKING_MAX)
            self._ends_s = time.monotonic() + self._valid_s
            self._thread.start()
        except (OSError, RuntimeError) as error:  # the latter where no more threads can be had
            self.__exit__()
            why = getattr(error, "strerror", None) or error
            raise DriverError(f"cannot let {self._user} in: {self._path}: {why}") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ended)
        if self._thread.is_alive():
            self._thread.join(2 * _QUESTION_S)
        self._listener.close()
        os.close(self._end)
        with suppress(OSError):
            os.unlink(self._path)

    @property
    def used(self) -> bool:
        return self._used.is_set()

    def left_s(self) -> float:
        return max(0.0, self._ends_s - time.monotonic())

    def wait(self, within_s: float = threading.TIMEOUT_MAX) -> bool:
        """Until it is used or has expired, or so long; whether it was used."""
        return self._used.wait(min(within_s, self.left_s()))

    def _serve(self) -> None:
        with self._listener as listener:  # who asks later is refused at once
            while not self.used and (left_s := self._ends_s - time.monotonic()) > 0:
                ready, _, _ = select.select([listener.fileno(), self._end], [], [], left_s)
                if self._end in ready:
                    return
                if ready:
                    with suppress(OSError):  # who asked is gone, and may ask again
                        self._answer(listener.accept()[0])

    def _answer(self, asking: socket.socket) -> None:
        with asking:
            _, uid, _ = _UCRED.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            asking.settimeout(_QUESTION_S)
            question = _line(asking)  # first, as who is still writing hears no answer
            yes = uid == os.geteuid() and self._grants(question)
            if yes:
                self._used.set()  # before the answer: a lost one costs the login, not a second use
            asking.sendall(b"yes\n" if yes else b"no\n")

    def _grants(self, question: bytes) -> bool:
        try:
            asked = json.loads(question)
            words = [asked["user"], asked["service"], asked.get("token", "")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        return words == [self._user, self._service, self._token] and time.monotonic() < self._ends_s


def _line(asking: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= QUESTION_BYTES_MAX:
        data = asking.recv(QUESTION_BYTES_MAX)
        if not data:
            break
        line += data
    return bytes(line)
