"""The agent's end of its guardian: starts it, asks it, and notices when it dies."""

import json
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress

import reconciler
from reconciler.resource import Json

_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from guest_runtime.guardian import main; main(sys.argv[2])"
)
# It ends with its agent, and not before: what a stop of the service sends to both is for the agent alone.
_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_unreaped: set[int] = set()  # dead or about to die, and not collected yet
_PACKET_BYTES_MAX = 160 * 1024  # as the guardian reads them; 256 mounts with long paths


class LinkLost(Exception):
    """The guardian died before it answered."""


class LinkSilent(Exception):
    """It did not answer in time, as when somebody has stopped it."""


class Link:
    """One guardian process, for any thread: one call at a time, and `send` and `lives` beside it."""

    def __init__(self, ledger: str) -> None:
        """Start it and wait for nothing: it is ready some 20 ms later, and takes messages from now on."""
        _collect()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.bell, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self.pid = _spawn(theirs.fileno(), ring, ledger)
        except OSError:
            ours.close()
            os.close(self.bell)
            raise
        finally:
            theirs.close()
            os.close(ring)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _PACKET_BYTES_MAX)
        self._socket = ours
        self._sending = threading.Lock()
        self._calling = threading.Lock()  # or one thread would take another's answer
        self._number = 0

    def lives(self) -> bool:
        """Whether it is there; a stopped one is."""
        with self._sending:
            if self.bell < 0:
                return False
            poll = select.poll()
            poll.register(self.bell, 0)  # only the hangup
            return not poll.poll(0)

    def send(self, message: dict[str, Json]) -> int:
        """Number and send a message. Raises LinkLost."""
        with self._sending:
            self._number += 1
            number = self._number
            packet = json.dumps({**message, "n": number}).encode()
            try:
                self._socket.sendall(packet)
            except OSError as error:
                raise LinkLost(f"the freeze guardian is gone: {error.strerror}") from error
        return number

    def call(self, message: dict[str, Json], patience_s: float | None = None) -> dict[str, Json]:
        """Send, and wait for the answer, for as long as it takes or `patience_s`."""
        if not self._calling.acquire(timeout=-1 if patience_s is None else patience_s):
            raise LinkSilent("the freeze guardian is still busy with another call")
        try:
            return self._call(message, patience_s)
        finally:
            self._calling.release()

    def calls(self) -> bool:
        """Whether a call is under way."""
        return self._calling.locked()

    def _call(self, message: dict[str, Json], patience_s: float | None) -> dict[str, Json]:
        number = self.send(message)
        self._socket.settimeout(patience_s)
        while True:
            try:
                packet = self._socket.recv(_PACKET_BYTES_MAX)
            except TimeoutError:
                raise LinkSilent("the freeze guardian does not answer") from None
            except OSError as error:
                raise LinkLost(f"the freeze guardian is gone: {error.strerror}") from error
            if not packet:
                raise LinkLost("the freeze guardian died")
            answer: dict[str, Json] = json.loads(packet)
            if answer["n"] == number:  # else an answer to a call that was given up
                return answer

    def rung(self) -> bool:
        """Take in what the bell holds; False when the guardian is dead."""
        try:
            while data := os.read(self.bell, 4096):
                pass
        except BlockingIOError:
            return True
        return bool(data)

    def kill(self) -> None:
        """For one that does not answer. What it has frozen is then for others to thaw."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it: it thaws whatever it holds, and ends."""
        with self._sending:
            if self.bell >= 0:
                self._socket.close()
                os.close(self.bell)
                self.bell = -1
                _unreaped.add(self.pid)
        _collect()


def _collect() -> None:
    for pid in tuple(_unreaped):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _unreaped.discard(pid)
        except ChildProcessError:
            _unreaped.discard(pid)


def _spawn(link: int, bell: int, ledger: str) -> int:
    root = os.path.dirname(os.path.dirname(os.path.abspath(reconciler.__file__)))
    # -B: it must write to no disk, a cache of compiled code included.
    command = [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, root, ledger]
    return os.posix_spawn(
        sys.executable,
        command,
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, link, 0),
            (os.POSIX_SPAWN_DUP2, bell, 1),
            # Not the journal, which may wait for a frozen disk.
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=_BLOCKED,
        setsigdef=_DEFAULT,
    )
