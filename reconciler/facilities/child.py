"""One child process under a deadline and an output limit, of which nothing is left over.

The rules of a run:

1. The child leads a session of its own, and when the run ends, however it ends, the
   whole process group is killed: what it left in the background goes with it.
2. It gets as standard input only what is given, at once and whole, and only the environment
   given. Its standard error is the null device, or counts as output where that is asked for.
3. A process in uninterruptible sleep outlives SIGKILL. Then the run ends without it,
   and a later one collects it.
"""

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/"}

STDIN_BYTES_MAX = 4096  # PIPE_BUF: a pipe takes it before anybody reads
_READ_BYTES = 64 * 1024  # what a pipe holds
_DEATH_S = 1.0  # SIGKILL takes milliseconds, except where rule 3 applies
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)  # what Python ignores, and a child would inherit

_NOTHING = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
_SILENT = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)

_undead: set[int] = set()


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    output: bytes = b""
    fault: str = ""  # why the output is not to be trusted, to follow "cannot X: "
    # The exit code, or below zero a signal's number; None if it is not known.
    status: int | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Streams:
    """What a child reads, and whether what it complains about is output too."""

    stdin: bytes = field(default=b"", repr=False)
    stderr: bool = False


_QUIET = Streams()


def run(
    command: Sequence[str],
    *,
    deadline_s: float,
    output_bytes_max: int,
    environment: Mapping[str, str] = ENVIRONMENT,
    streams: Streams = _QUIET,
) -> Ended:
    """Run a program given by its full path, and return what it wrote; raises nothing for it.

    What it wrote is returned with a fault too, if it ended by itself.
    """
    assert len(streams.stdin) <= STDIN_BYTES_MAX
    _collect()
    ends_s = time.monotonic() + deadline_s
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(reader, False)
        try:
            pid = _spawn(command, environment, writer, streams)
        finally:
            os.close(writer)
        try:
            exited = os.pidfd_open(pid)
        except ProcessLookupError:
            return _gone(reader, output_bytes_max)
        except OSError:  # too many open files, say: it cannot be waited for, so it must not go on
            os.killpg(pid, signal.SIGKILL)
            _undead.add(pid)
            raise
        try:
            output, fault = _listen(exited, reader, ends_s, output_bytes_max)
            died = _kill(pid, exited)
        finally:
            os.close(exited)
    except OSError as error:
        return Ended(fault=error.strerror or str(error))
    finally:
        os.close(reader)
    if not died:
        _undead.add(pid)
        return Ended(fault=fault or "it cannot be killed")
    status = _status(pid)
    return Ended(output, fault or _why(status), status)


def _gone(reader: int, output_bytes_max: int) -> Ended:
    """What a child wrote that ended, and was collected by somebody else, before we could look."""
    output = bytearray()
    _take(reader, output, output_bytes_max)
    too_much = len(output) > output_bytes_max
    return Ended(fault=f"it wrote more than {output_bytes_max} bytes") if too_much else Ended(bytes(output))


def _spawn(command: Sequence[str], environment: Mapping[str, str], writer: int, streams: Streams) -> int:
    source, sink = os.pipe2(os.O_CLOEXEC)
    try:
        with open(sink, "wb", buffering=0) as given:
            given.write(streams.stdin)
        return os.posix_spawn(
            command[0],
            list(command),
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, 0) if streams.stdin else _NOTHING,
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_DUP2, writer, 2) if streams.stderr else _SILENT,
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        os.close(source)


def _listen(exited: int, reader: int, ends_s: float, output_bytes_max: int) -> tuple[bytes, str]:
    """All that the child wrote until it ended, or why it must be ended."""
    output = bytearray()
    poll = select.poll()
    poll.register(exited, select.POLLIN)
    poll.register(reader, select.POLLIN)
    while True:
        left_s = ends_s - time.monotonic()
        ready = {fd for fd, _ in poll.poll(max(0.0, left_s) * 1000)}
        # If the child is gone, all that it wrote is in the pipe by now.
        if reader in ready and not _take(reader, output, output_bytes_max):
            poll.unregister(reader)
        if len(output) > output_bytes_max:
            return b"", f"it wrote more than {output_bytes_max} bytes"
        if exited in ready:
            return bytes(output), ""
        if left_s <= 0:
            return b"", "it did not end in time"


def _take(reader: int, output: bytearray, output_bytes_max: int) -> bool:
    """Take in what there is, to just over the limit; False at the end of the pipe."""
    while len(output) <= output_bytes_max:
        try:
            data = os.read(reader, _READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        output += data
    return True


def _kill(pid: int, exited: int) -> bool:
    """Kill the group; whether its leader is dead. It is not collected yet, so its number is its own."""
    # Refused when nobody is left, or only one who has taken another user's rights.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    poll = select.poll()
    poll.register(exited, select.POLLIN)
    return bool(poll.poll(_DEATH_S * 1000))


def _status(pid: int) -> int | None:
    """The exit code, a signal's number below zero, or None when somebody else collected it."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None


def _why(status: int | None) -> str:
    if not status:
        return ""
    return f"it was ended by signal {-status}" if status < 0 else f"it exited with {status}"


def _collect() -> None:
    """Collect the dead among those that would not die in their own run."""
    for pid in tuple(_undead):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _undead.discard(pid)
        except ChildProcessError:
            _undead.discard(pid)
