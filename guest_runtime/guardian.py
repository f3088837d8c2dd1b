"""The freeze guardian: it thaws when the lease ends or the agent dies, however it dies.

It is a process of its own, so that no death, stop or bug of the agent can leave a
guest frozen. The agent starts it before the first freeze and talks to it over a socket
of packets, one JSON object each, on descriptor 0:

    {"do": "freeze", "n", "generation", "lease_s", "mounts": [{"path", "id", "device"}], "hooks": [path]}
    {"do": "thaw", "n"}   {"do": "renew", "n", "generation", "lease_s"}   {"do": "cancel"}

and gets {"n", ...} for each with an `n`, with an "error" where it failed. The end of
that socket is the agent's death. A byte on descriptor 1 says that the ledger has
changed without having been asked to.

While anything is frozen it writes to the ledger only, which lies in memory, and so does
all of itself: its pages are locked. What may block for long is done in a second thread.
"""

import _thread
import json
import os
import select
import signal
import sys

from guest_runtime.lease import ENTERING, FREEZE, HELD, HOOK, OVER, Lease
from guest_runtime.protection import Timer, protect
from reconciler.guarding import hooks, kernel
from reconciler.guarding.ledger import Ledger

IDLE_S = 300.0  # a freeze soon after another finds it warm; else its memory is given back
RETRY_S = 1.0  # after a thaw that the kernel refused: a guest that stays frozen is dead
LOOK_AGAIN_S = 0.1  # a parent's first thread is a zombie a moment after we hear of its death
PACKET_BYTES_MAX = 160 * 1024  # 256 mounts with long paths; a packet must fit the socket's buffer
_STACK_BYTES = 256 * 1024  # locked in memory, so not the usual 8 MiB
_NEVER_S = float("inf")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.resource import Json

    Message = dict[str, Json]


class Worker:
    """A second thread that takes one step at a time; `done` turns readable after each."""

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds
        self._step: tuple[str, int, str] = ("", 0, "")
        self._paths: list[str] = []
        self._outcome: int | str = 0
        self.ioctl_s = 0.0  # of the last step
        self._start, self._starter = os.pipe2(os.O_CLOEXEC)
        self.done, self._finisher = os.pipe2(os.O_CLOEXEC)
        # Started before any freeze: a thread needs memory, and then there may be none.
        _thread.stack_size(_STACK_BYTES)
        _thread.start_new_thread(self._labour, ())

    def start(self, step: tuple[str, int, str], hook_paths: list[str]) -> None:
        self._step, self._paths = step, hook_paths
        os.write(self._starter, b"!")

    def outcome(self) -> int | str:
        """Of the step that is done: an errno for a mount, a fault for a hook."""
        os.read(self.done, 1)
        return self._outcome

    def _labour(self) -> None:
        while os.read(self._start, 1):
            what, index, verb = self._step
            begun_s = kernel.boot_clock_s()
            try:
                if what == HOOK:
                    self._outcome = hooks.run(self._paths[index], verb)
                else:
                    self._outcome = kernel.freeze(self._fds[index])
            except Exception as error:  # whatever it is, nobody may be left waiting for it
                self._outcome = f"{type(error).__name__}: {error}" if what == HOOK else -1
            self.ioctl_s = kernel.boot_clock_s() - begun_s if what == FREEZE else 0.0
            os.write(self._finisher, b"!")


class Guardian:
    def __init__(self, link: int, bell: int, ledger: Ledger, note: str = "") -> None:
        self._link, self._bell, self._ledger, self._note = link, bell, ledger, note
        self._lease: Lease | None = None
        self._request: Message = {}  # that the lease was made for
        self._fds: list[int] = []
        self._worker = Worker(self._fds)
        self._open: list[Message] = []  # requests that wait for the lease to be held or let go
        self._later: Message | None = None  # a freeze that waits for the hooks of the one before
        self._noted: float | str | None = None  # what the ledger shows: nothing, an `until_s` or "over"
        self._epoch = 0
        self._ioctl_s = 0.0
        self._timer = Timer()
        self._agent = os.getppid()
        self._parted = False  # the agent is dead
        self._look_again_s = _NEVER_S
        self._idle_until_s = kernel.boot_clock_s() + IDLE_S

    def run(self) -> None:
        """Until the agent is gone and nothing is frozen, or nobody has asked for anything for long."""
        wake = _signal_pipe()
        poll = select.poll()
        for fd in (self._link, self._worker.done, wake, self._timer.fd):
            poll.register(fd, select.POLLIN)
        while not self._is_over():
            self._timer.set(self._due_s())
            ready = {fd for fd, _ in poll.poll()}
            self._expire()  # before any message: a thaw that comes after the end did not end it
            if self._worker.done in ready:
                self._take_outcome()
            if wake in ready:
                os.read(wake, 4096)
                self._look_for_agent(again=True)
            if kernel.boot_clock_s() >= self._look_again_s:
                self._look_for_agent(again=False)
            if self._link in ready and not self._take_message():
                poll.unregister(self._link)
                self._part()
            self._settle()

    def give_up(self, why: str) -> None:
        """Thaw without ceremony: this program has a fault."""
        for fd in self._fds[::-1]:
            kernel.thaw(fd)
        self._ledger.end("GuardianDied", why)

    # What wakes it

    def _is_over(self) -> bool:
        if self._lease is not None:
            self._idle_until_s = kernel.boot_clock_s() + IDLE_S
            return False
        return self._parted or kernel.boot_clock_s() >= self._idle_until_s

    def _due_s(self) -> float:
        lease = self._lease
        if lease is None:
            return min(self._idle_until_s, self._look_again_s)
        if lease.to_thaw():
            return kernel.boot_clock_s() + RETRY_S
        ends_s = lease.until_s if lease.state in (ENTERING, HELD) else None
        return min(_NEVER_S if ends_s is None else ends_s, self._look_again_s)

    def _look_for_agent(self, *, again: bool) -> None:
        """A thread of the agent died. Was it the first, then the agent is dead.

        The socket's end does not always say so: a thread that sleeps in a write to a
        frozen filesystem outlives its process, and keeps its descriptors open.
        """
        self._look_again_s = kernel.boot_clock_s() + LOOK_AGAIN_S if again else _NEVER_S
        try:
            with open(f"/proc/{self._agent}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            state = "X"
        if state in "ZX":
            self._part()

    def _part(self) -> None:
        self._parted = True
        self._later = None
        self._end("AgentDied")

    def _take_outcome(self) -> None:
        outcome = self._worker.outcome()
        self._ioctl_s += self._worker.ioctl_s
        assert self._lease is not None, "it stays until its step is done"
        owed = len(self._lease.owed)
        self._lease.finish(outcome, kernel.boot_clock_s())
        if len(self._lease.owed) != owed:
            self._ledger.owe([self._request["hooks"][index] for index in self._lease.owed])

    def _take_message(self) -> bool:
        """False at the end of the socket."""
        try:
            packet = os.read(self._link, PACKET_BYTES_MAX)
        except ConnectionResetError:
            packet = b""  # it died before it had read all our answers
        if not packet:
            return False
        message = json.loads(packet)
        match message["do"]:
            case "freeze":
                self._freeze(message)
            case "renew":
                self._renew(message)
            case "thaw":
                self._drop_later()
                self._end("Thawed")
                self._open.append(message)
            case "cancel":
                self._drop_later()
                self._end("Refused", "cannot freeze: it took too long and was given up")
        return True

    # What it does

    def _freeze(self, message: "Message") -> None:
        if self._lease is None:
            self._begin(message)
        elif self._lease.let_go and self._later is None:
            self._later = message
        else:
            self._answer(message, {"error": "cannot freeze: another freeze is under way"})

    def _begin(self, message: "Message") -> None:
        fault = self._open_mounts(message["mounts"])
        if not fault and not self._ledger.lock():
            fault = "cannot freeze: another guardian is still thawing"
        if fault:
            self._close()
            self._answer(message, {"error": fault})
            return
        paths = [mount["path"] for mount in message["mounts"]]
        self._lease = Lease(message["lease_s"], paths, message["hooks"])
        self._request, self._noted, self._ioctl_s = message, None, 0.0
        self._open.append(message)

    def _open_mounts(self, mounts: "list[Message]") -> str:
        """Open them all before any of them is frozen; why that cannot be."""
        for mount in mounts:
            try:
                fd = kernel.open_mount(mount["path"])
                self._fds.append(fd)
                if kernel.mount_id(fd) != mount["id"]:
                    return f"cannot freeze {mount['path']}: something else was mounted there meanwhile"
                if os.fstat(fd).st_dev == self._ledger.device():
                    return f"cannot freeze {mount['path']}: {self._ledger.path} lies on it"
            except OSError as error:
                return f"cannot freeze {mount['path']}: {error.strerror}"
        return "" if mounts else "cannot freeze: nothing was asked for"

    def _renew(self, message: "Message") -> None:
        same = message["generation"] == self._request.get("generation")
        if self._lease is not None and same and self._lease.renew(message["lease_s"]):
            self._open.append(message)
            return
        error = f"cannot renew: no freeze of generation {message['generation']} holds"
        self._answer(message, {"error": error})

    def _end(self, why: str, message: str = "") -> None:
        if self._lease is not None:
            self._lease.end(why, message)

    def _expire(self) -> None:
        lease = self._lease
        if lease is not None and lease.until_s is not None and kernel.boot_clock_s() >= lease.until_s:
            early = lease.state == ENTERING
            lease.end("LeaseEnded", "cannot freeze: the lease ended before all was frozen" if early else "")

    def _settle(self) -> None:
        """Do all that is due now; a thaw first of all."""
        lease = self._lease
        if lease is None:
            self._answer_all("thaw", {})
            return
        for index in lease.to_thaw():
            lease.thawed(index, kernel.thaw(self._fds[index]))
        step = lease.next(kernel.boot_clock_s())
        if step is not None:
            if step[0] == FREEZE and self._noted is None:
                self._note_begin(lease)
            self._worker.start(step, self._request["hooks"])
        self._tell(lease)
        if lease.state == OVER:
            self._finish(lease)

    def _note_begin(self, lease: Lease) -> None:
        assert lease.until_s is not None
        mounts = [{"path": mount["path"], "device": mount["device"]} for mount in self._request["mounts"]]
        self._epoch = self._ledger.begin(self._request["generation"], lease.until_s, mounts, self._note)
        self._noted = lease.until_s

    def _tell(self, lease: Lease) -> None:
        """Let the ledger and whoever waits know what has become of the lease."""
        if lease.state == HELD and not lease.renewing:
            if self._noted != lease.until_s:
                self._ledger.extend(lease.until_s or 0.0)
                self._noted = lease.until_s
            held = {"epoch": self._epoch, "until_s": lease.until_s, "ioctl_s": self._ioctl_s}
            self._answer_all("freeze", held)
            self._answer_all("renew", held)
        elif lease.let_go and self._noted != "over":
            self._noted = "over"
            self._ledger.end(lease.ended, lease.message)
            self._ledger.unlock()
            if not self._open:
                self._ring()
            self._answer_all("freeze", {"error": lease.message or f"cannot freeze: {lease.ended}"})
            self._answer_all("renew", {"error": f"cannot renew: {lease.ended} {lease.message}".rstrip()})
        if lease.let_go:
            self._answer_all("thaw", {"ended": lease.ended})
        elif lease.to_thaw():
            left = ", ".join(self._request["mounts"][index]["path"] for index in lease.to_thaw())
            self._answer_all("thaw", {"error": f"cannot thaw {left}; the guardian goes on trying"})

    def _finish(self, lease: Lease) -> None:
        if lease.faults:
            self._ledger.complain(lease.faults)
            self._ring()
        self._lease = None
        self._close()
        waiting, self._later = self._later, None
        if waiting is not None:
            self._freeze(waiting)
            self._settle()

    def _close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    # What it says

    def _drop_later(self) -> None:
        if self._later is not None:
            self._answer(self._later, {"error": "cannot freeze: it was given up"})
            self._later = None

    def _answer_all(self, do: str, result: "Message") -> None:
        for message in [message for message in self._open if message["do"] == do]:
            self._open.remove(message)
            self._answer(message, result)

    def _answer(self, message: "Message", result: "Message") -> None:
        _write(self._link, json.dumps({"n": message["n"], **result}).encode())

    def _ring(self) -> None:
        _write(self._bell, b"!")


def _write(fd: int, data: bytes) -> None:
    """Never wait for the agent, nor die with it: that it reads no more is told by the socket's end."""
    try:
        os.set_blocking(fd, False)
        os.write(fd, data)
    except OSError:
        pass


def _signal_pipe() -> int:
    """Readable after SIGUSR1, the parent's death."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    return reader


def main(ledger_path: str) -> None:
    guardian = Guardian(0, 1, Ledger(ledger_path), protect())
    try:
        guardian.run()
    except BaseException as error:
        guardian.give_up(f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main(sys.argv[1])
