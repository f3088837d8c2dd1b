"""Runs one command in a unit of its own, and keeps head and tail of what it writes.

Started by systemd, so that neither the command nor its outcome depends on the agent, with
its order in FOLDER/ID.order, which it removes as it reads it. What became of the command
goes to FOLDER/ID.result, whole or not at all. The order:

    {"argv", "script": text or null, "user", "group", "cwd", "environment": [[name, value]],
     "stdin": text, "input": path of a socket that has the standard input in place of that, or ""}

The result is what `Outcome` in `reconciler/subjects/task.py` is made of. SIGTERM, which
systemd sends to everything in the unit at its deadline, asks for a quick end.
"""

import codecs
import grp
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import time
from base64 import b64encode
from contextlib import suppress
from functools import partial

HEAD_BYTES = TAIL_BYTES = 8 * 1024  # some hundred lines each: what a person reads to see what went wrong
TOLD_BYTES_MAX = 33 * 1024  # on the wire: twice what is kept, as if all were quotes and line ends
INPUT_BYTES_MAX = 64 * 1024  # what a pipe holds, so nobody has to feed it
GRACE_S = 10.0  # between SIGTERM and SIGKILL, to save what is open
_DEATH_S = 3.0  # SIGKILL takes milliseconds; who sleeps in the kernel for longer is left to systemd
_GAP_S = 0.05  # between two looks at who is left
_INPUT_S = 10.0  # the agent waits for us at its socket
_READ_BYTES = 64 * 1024
_REST_BYTES_MAX = 1 << 20  # the largest pipe; whoever is left and writes for ever must not be heard for ever
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.resource import Json

    Message = dict[str, Json]


class Excerpt:
    """Head and tail of a stream of any length, in bounded memory."""

    def __init__(self) -> None:
        self.total = 0
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 4 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def told(self) -> "Message":
        """Text, with U+FFFD for what is not UTF-8.

        Base64 where there are NULs, as then it is no text, and where JSON would make too much of the text.
        """
        head, tail = bytes(self._head), bytes(self._tail[-TAIL_BYTES:])
        if self.total <= HEAD_BYTES + TAIL_BYTES:
            head, tail = head + tail, b""
        if b"\0" not in head + tail:
            # A character that the cut goes through is left out.
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            begin = next((i for i, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0)
            texts = [decoder.decode(head, final=not tail), tail[begin:].decode("utf-8", "replace")]
            if len(json.dumps(texts, ensure_ascii=False).encode()) <= TOLD_BYTES_MAX:
                return {"total": self.total, "head": texts[0], "tail": texts[1]}
        coded = {"head": b64encode(head).decode(), "tail": b64encode(tail).decode()}
        return {"total": self.total, **coded, "base64": True}


class _StoppedBefore(OSError):
    """Asked to end while the command had yet to begin."""


class Command:
    """One command, from its start to its end."""

    def __init__(self, order: "Message", group: str) -> None:
        """Start it. Raises OSError, KeyError and SubprocessError, and then nothing was started.

        `group` lists the processes of our unit and of no other; empty where we have none.
        """
        self._group = group
        self.stopped = False
        self._kill_s = self._grace_ends_s = float("inf")
        self._streams: dict[int, Excerpt] = {}
        self._bell, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        stdin = _stdin(order)
        try:
            if self.stopped:
                raise _StoppedBefore(0, "it was stopped before it began")
            self._child = _spawn(order, stdin)
        finally:
            if stdin >= 0:
                os.close(stdin)
        if self.stopped:  # it may have come too late to be among those that systemd told
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGTERM)
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._streams[pipe.fileno()] = Excerpt()
        self._open = set(self._streams)

    def outcome(self) -> "Message":
        """Wait for its end. What it has left running is for systemd to end, but for a stop.

        In a stop, systemd takes our end for that of all, and ends the rest only after it.
        """
        exited = os.pidfd_open(self._child.pid)
        self._listen(exited)
        status = self._child.wait()
        if self.stopped:
            self._end_others()
        for fd in self._open:
            self._drain(fd, _REST_BYTES_MAX)  # what was written before the end is in the pipe by now
        stdout, stderr = self._streams.values()
        result: Message = {"stopped": self.stopped, "stdout": stdout.told(), "stderr": stderr.told()}
        if status < 0:
            return result | {"signal": _name(-status)}
        return result | {"exit_code": status}

    def _listen(self, exited: int) -> None:
        poll = select.poll()
        for fd in (exited, self._bell, *self._open):
            poll.register(fd, select.POLLIN)
        while True:
            left_s = self._kill_s - time.monotonic()
            if left_s <= 0:
                self._kill_s = float("inf")
                with suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)
            ready = {fd for fd, _ in poll.poll(max(0.0, left_s) * 1000 if left_s < 1e6 else None)}
            if exited in ready:
                return
            if self._bell in ready:
                os.read(self._bell, 4096)
            for fd in ready & self._open:
                if not self._drain(fd, _READ_BYTES):
                    self._open.discard(fd)
                    poll.unregister(fd)

    def _drain(self, fd: int, bytes_max: int) -> bool:
        """Take in what there is; False at the end of the stream."""
        while bytes_max > 0:
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._streams[fd].add(data)
            bytes_max -= len(data)
        return True

    def _end_others(self) -> None:
        while others := _members(self._group) - {os.getpid()}:
            over_s = time.monotonic() - self._grace_ends_s
            if over_s > _DEATH_S:
                return
            for pid in others if over_s >= 0 else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_GAP_S)

    def _stop(self, number: int, frame: object) -> None:
        if not self.stopped:
            self.stopped = True
            self._kill_s = self._grace_ends_s = time.monotonic() + GRACE_S


def group_of(cgroups: str, unit: str) -> str:
    """Where the processes of a unit are listed, from its own /proc/self/cgroup; see cgroups(7).

    Empty unless the control group is that unit's: nobody else's processes may be taken for ours.
    """
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd") and path.rpartition("/")[2] == unit:
            for root in ("", "/unified") if not controllers else ("/systemd",):
                if os.path.exists(listed := f"/sys/fs/cgroup{root}{path}/cgroup.procs"):
                    return listed
    return ""


def _members(group: str) -> set[int]:
    try:
        with open(group) as file:
            return {int(line) for line in file}
    except OSError:
        return set()


def _spawn(order: "Message", stdin: int) -> "subprocess.Popen[bytes]":
    account = pwd.getpwnam(order["user"])
    group = grp.getgrnam(order["group"]).gr_gid if order["group"] else account.pw_gid
    home = account.pw_dir
    environment = {
        "PATH": _PATH,
        "HOME": home,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell or "/bin/sh",
        "LANG": "C.UTF-8",
        **dict(order["environment"]),
    }
    argv, script = list(order["argv"]), -1
    if order["script"] is not None:
        # A file without a name: its text is in no argument that others can read, and on no disk.
        script = os.memfd_create("script", 0)
        os.write(script, order["script"].encode())
        argv.append(f"/proc/self/fd/{script}")
    root = os.geteuid() == 0  # a test may not be
    folder = order["cwd"] or (home if os.path.isdir(home) else "/")
    return subprocess.Popen(
        argv,
        stdin=stdin if stdin >= 0 else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        # With the user's rights, not with ours: a way of the user's own may lead through closed folders.
        # No thread of ours runs beside, so nothing can be locked in the child.
        preexec_fn=partial(os.chdir, folder),
        env=environment,
        pass_fds=(script,) if script >= 0 else (),
        start_new_session=True,
        umask=0o022,
        user=account.pw_uid if root else None,
        group=group if root else None,
        extra_groups=os.getgrouplist(account.pw_name, group) if root else None,
    )


def _stdin(order: "Message") -> int:
    """A pipe that holds the standard input, or -1 where there is none. Raises OSError."""
    data = _handed_over(order["input"]) if order["input"] else order["stdin"].encode()
    if not data:
        return -1
    if len(data) > INPUT_BYTES_MAX:
        raise OSError(0, f"its standard input is longer than {INPUT_BYTES_MAX} bytes")
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(writer, False)
        if os.write(writer, data) != len(data):
            raise OSError(0, "its standard input does not fit into a pipe")
    finally:
        os.close(writer)
    return reader


def _handed_over(path: str) -> bytes:
    """What the agent has for us at a socket. Raises OSError."""
    data = bytearray()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(_INPUT_S)
        try:
            agent.connect(path)
            while len(data) <= INPUT_BYTES_MAX + 1 and (part := agent.recv(_READ_BYTES)):
                data += part
        except OSError:
            data.clear()
    # The last byte says that nothing is missing.
    if data[-1:] != b"\n":
        raise OSError(0, "its secret was gone before it could begin")
    return bytes(data[:-1])


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _why(error: Exception, order: "Message") -> str:
    if isinstance(error, KeyError):
        return f"there is no user {order['user']} with group {order['group'] or 'of its own'}"
    if isinstance(error, subprocess.SubprocessError):  # what failed before the program was not its start
        return f"{order['user']} cannot enter {order['cwd'] or 'its home'}"
    program = order["argv"][0]
    if isinstance(error, FileNotFoundError) and os.path.exists(program):
        return f"{program}: the interpreter that it names is not there"  # after #!, or its loader
    words = str(getattr(error, "strerror", None) or error)
    return f"{words}: {program}" if getattr(error, "filename", None) else words


def perform(order: "Message", group: str = "") -> "Message":
    """The result of an order; `group` as of `Command`."""
    started_s, began_s = time.time(), time.monotonic()
    try:
        command = Command(order, group)
    except (OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        return {"stopped": isinstance(error, _StoppedBefore), "fault": f"cannot start: {_why(error, order)}"}
    result = command.outcome()
    duration_s = round(time.monotonic() - began_s, 3)
    return result | {
        "started_at": _stamp(started_s),
        "ended_at": _stamp(started_s + duration_s),
        "duration_s": duration_s,
    }


def _stamp(epoch_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s))


def main(folder: str, id: str) -> None:
    path = f"{folder}/{id}.order"
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    os.unlink(path)
    with open("/proc/self/cgroup") as file:
        group = group_of(file.read(), f"guest-task-{id}.service")
    result = perform(order, group)
    fresh = f"{folder}/{id}.fresh"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="replace") as file:
        json.dump(result, file, ensure_ascii=False)
    os.rename(fresh, f"{folder}/{id}.result")
