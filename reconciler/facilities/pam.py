"""Asks PAM about one user and one credential, in a process that ends with the answer.

1. The credential goes over a socket, once, and only after the process has said that nothing
   else keeps the user out. It is in no argument, environment, file or log.
2. This process has no PAM in it: modules of PAM leave behind whatever they like, and a
   hostile one would live in the agent.
3. If the process fails after it was given the credential, PAM may have counted an attempt:
   that is an answer, `NotJudged`, and not a reason to try again.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from reconciler.errors import DriverError, Unsupported
from reconciler.secret import Secret
from reconciler.subjects.seating import LATER, REFUSALS

SERVICE = "guest-reconciler"  # in /etc/pam.d
DEADLINE_S = 20.0  # PAM itself waits 2 to 3 s after a wrong password; a directory may take its time
_ANSWER_BYTES_MAX = 64
_LENGTH_BYTES = 2  # before the credential
_WORDS = frozenset({"ok", "NoPam", *REFUSALS, *LATER})


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """What is asked of PAM, all but the credential."""

    user: str
    credential: bool  # one will be given
    tty: str = ""  # where the user will sit, for rules that look at it
    service: str = SERVICE
    folder: str = ""  # of PAM's rules; empty: /etc/pam.d


def judged(
    inquiry: Inquiry,
    take: Callable[[], Secret] | None,
    deadline_s: float = DEADLINE_S,
) -> str:
    """`ok`, or why not, as one word. Raises DriverError or Unsupported when nothing was taken."""
    ends_s = time.monotonic() + deadline_s
    try:
        ours, pid = _started()
    except OSError as error:
        raise DriverError(f"cannot ask PAM about {inquiry.user}: {error.strerror}") from error
    with ours:
        taken = False
        try:
            _send(ours, ends_s, json.dumps(asdict(inquiry)).encode() + b"\n")
            word = _line(ours, ends_s)
            if word == "?" and take is not None:
                with take() as secret:
                    taken = True
                    _hand_over(ours, secret, ends_s)
                word = _line(ours, ends_s)
            if word not in _WORDS or (word == "ok" and take is not None and not taken):
                raise ConnectionAbortedError(f"its process gave an answer that makes no sense: {word!r}")
        except (OSError, OverflowError) as error:
            if taken:
                return "NotJudged"
            why = getattr(error, "strerror", None) or error
            raise DriverError(f"cannot ask PAM about {inquiry.user}: {why}") from error
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
    if word == "NoPam":
        raise Unsupported(f"cannot log in {inquiry.user}: this guest has no PAM")
    return word


def _started() -> tuple[socket.socket, int]:
    """Our end of the process's socket, and its id. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return ours, _spawn(theirs)
        except OSError:
            ours.close()
            raise


def _spawn(theirs: socket.socket) -> int:
    # Where we ourselves were found, which the child's own start would not always find.
    folders = [os.path.dirname(os.path.dirname(os.path.dirname(__file__))), *sys.path]
    code = f"import sys; sys.path[:] = {folders!r}; from reconciler.facilities.pam_child import main; main()"
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-B", "-c", code],
        # Modules tell in words what they do not tell otherwise, and those are to be English.
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "MALLOC_ARENA_MAX": "1"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


def _hand_over(ours: socket.socket, secret: Secret, ends_s: float) -> None:
    size = len(secret.data)
    for end in (b"\n", b"\r"):  # what editors leave is no part of a password
        size -= secret.data.endswith(end, 0, size)
    _send(ours, ends_s, size.to_bytes(_LENGTH_BYTES, "big"))
    if not size:
        return  # it has all of it, and may have answered and gone by now
    with memoryview(secret.data) as whole:  # not joined with the length, which would be another copy
        _send(ours, ends_s, whole[:size])


def _send(ours: socket.socket, ends_s: float, data: bytes | memoryview) -> None:
    ours.settimeout(_left_s(ends_s))
    ours.sendall(data)


def _line(ours: socket.socket, ends_s: float) -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        ours.settimeout(_left_s(ends_s))
        data = ours.recv(_ANSWER_BYTES_MAX)
        if not data or len(line) > _ANSWER_BYTES_MAX:
            raise ConnectionResetError("its process ended without an answer")
        line += data
    return line[:-1].decode("ascii", "replace")


def _left_s(ends_s: float) -> float:
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("no answer in time")
    return left_s
