"""The real daemon over a guest that is one file, killed at a chosen step of what it does.

The guest's truth is `acts`: a line for each thing done to it, on disk before the doing returns.
Each step that is passed is a line in `trace`, which goes on over restarts; so a step, known by
its name and by how often it was passed, comes once in the life of a guest.

Agents are forked from a process that has imported everything, because a test starts hundreds.
"""

import builtins
import io
import json
import os
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from guest_runtime import daemon, validator
from guest_runtime.conversation import Conversation
from guest_runtime.validation import Validation
from reconciler import store, track
from reconciler.errors import DriverError
from reconciler.guarding.kernel import boot_clock_s
from reconciler.loop import Job, Loop, Setting
from reconciler.protocols.channel import Request
from reconciler.pump.line import KERNEL, Line
from reconciler.resources.filesystems import Filesystems, Freeze, Freezer, PastFreeze, Seen
from reconciler.resources.hostname import Hostname, Name, Names
from reconciler.resources.hostname import Observed as NamesNow
from reconciler.resources.power import Machine, Power, Switch, Verb
from reconciler.subjects.mounts import Mount
from reconciler.transports import open_endpoint

DISK = Mount(1, "/data", "ext4", "8:1")

# What writing the state is made of, in order.
WRITING = (
    "the file is opened",
    "half of the file is written",
    "the file is written",
    "the file is synced",
    "the file is renamed",
    "the folder is synced",
)


class Acts:
    """What was done to the guest, in order: a verb and its words on each line."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_SYNC | os.O_CLOEXEC, 0o600)

    def add(self, *words: object) -> None:
        os.write(self._fd, " ".join(map(str, words)).encode() + b"\n")

    def read(self, *verbs: str) -> list[list[str]]:
        lines = os.pread(self._fd, 1 << 20, 0).decode().splitlines()
        return [words for line in lines if (words := line.split(" "))[0] in verbs]

    @property
    def boot_id(self) -> str:
        """Every restart brings another one, and so does a power cut."""
        return f"boot-{len(self.read('reboot', 'power-cut'))}"

    def close(self) -> None:
        os.close(self._fd)


class FileNames(Names):
    @classmethod
    def available(cls) -> bool:
        return False  # never chosen for a real guest, which other tests look for in this process

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def names(self) -> NamesNow:
        given = self._acts.read("static")
        name = given[-1][1] if given else "fresh"
        return NamesNow(static=name, transient=name)

    def set(self, name: Name, value: str) -> None:
        self._acts.add(name, value)


class FileSwitch(Switch):
    """A restart ends the agent as soon as that has seen it coming."""

    @classmethod
    def available(cls) -> bool:
        return False  # never chosen for a real guest, which other tests look for in this process

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._boot_id = acts.boot_id

    def boot_clock_s(self) -> float:
        return boot_clock_s()

    def machine(self) -> Machine:
        going = self._acts.boot_id != self._boot_id
        if going:
            os.kill(os.getpid(), signal.SIGTERM)
        return Machine(
            boot_id=self._boot_id,
            booted_at="2026-03-01T02:00:00Z",
            state="shutting-down" if going else "running",
        )

    def bring(self, verb: Verb, *, message: str, heed: bool, deadline_s: float | None) -> None:
        self._acts.add(verb)


class FileFreezer(Freezer):
    """A freeze belongs to the process that asked for it, and ends with it."""

    lease_s_max = 600.0

    @classmethod
    def available(cls) -> bool:
        return False  # never chosen for a real guest, which other tests look for in this process

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def look(self) -> Seen:
        seen_s = boot_clock_s()
        turns, trims = self._acts.read("freeze", "thaw"), self._acts.read("trim")
        freeze, last = None, None
        frozen = [words for words in turns if words[0] == "freeze"]
        if frozen:
            epoch = len(frozen)
            _, generation, pid, until_s = frozen[-1]
            if turns[-1][0] == "thaw" or int(pid) != os.getpid():
                ended = "Thawed" if turns[-1][0] == "thaw" else "AgentDied"
                last = PastFreeze(epoch, int(generation), ended)
            else:
                freeze = Freeze(epoch, int(generation), float(until_s), (DISK.device,), (DISK.path,))
        trimmed = {"token": trims[-1][1], "trimmed": {DISK.path: 0}} if trims else {}
        return Seen(seen_s, (DISK,), len(frozen), freeze, last, trimmed)

    def prepare(self) -> None:
        pass

    def freeze(self, generation: int, lease_s: float, mounts: Sequence[Mount]) -> None:
        self._acts.add("freeze", generation, os.getpid(), boot_clock_s() + lease_s)

    def thaw(self) -> None:
        if self.look().freeze is not None:
            self._acts.add("thaw")

    def renew(self, generation: int, lease_s: float) -> tuple[int, float]:
        raise AssertionError("nobody renews")

    def trim(self, token: str, minimum: int, mounts: Sequence[Mount]) -> None:
        if token == "u" and not self._acts.read("busy"):
            self._acts.add("busy")
            raise DriverError("cannot trim: the disk is busy for once")
        self._acts.add("trim", token)


class Steps:
    """Where an agent can die; `deadly` says where it does."""

    def __init__(self, path: Path, deadly: tuple[str, int]) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._deadly = deadly
        self._passed = Counter(os.pread(self._fd, 1 << 20, 0).decode().splitlines())
        self._one = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._one:  # then nobody passes another step, and this one is the last line
            self._passed[name] += 1
            os.write(self._fd, name.encode() + b"\n")
            if (name, self._passed[name]) == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, method: str, name: Callable[..., str]) -> None:
        """A step before each call of a method and one after it."""
        real = getattr(owner, method)

        def wrapped(*given: Any, **named: Any) -> Any:
            what = name(*given)
            self(f"before {what}")
            try:
                return real(*given, **named)
            finally:
                self(f"after {what}")

        setattr(owner, method, wrapped)


class Disk:
    """What the store writes with, in place of `os` and `open`."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        if flags & os.O_CREAT:
            self._steps("the file is opened")
        return fd

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        self._steps(f"the {'folder' if stat.S_ISDIR(os.fstat(fd).st_mode) else 'file'} is synced")

    def rename(self, old: str, new: str) -> None:
        keep_what_a_power_cut_brings_back(new)
        os.rename(old, new)
        self._steps("the file is renamed")

    def file(self, name: Any, mode: str, **more: Any) -> Any:
        return _Halves(name, self._steps) if mode == "wb" else builtins.open(name, mode, **more)


class _Halves(io.FileIO):
    """Written in two halves with a step between them."""

    def __init__(self, fd: int, steps: Steps) -> None:
        super().__init__(fd, "w")
        self._steps = steps

    def write(self, data: Any) -> int:
        half = len(data) // 2
        super().write(data[:half])
        self._steps("half of the file is written")
        super().write(data[half:])
        self._steps("the file is written")
        return len(data)


def keep_what_a_power_cut_brings_back(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path + ".before")
    with suppress(FileNotFoundError):
        os.link(path, path + ".before")


def cut_the_power(folder: Path) -> None:
    """Undo what was not synced, after the agent was killed, and have another boot."""
    written = [step for step in (folder / "trace").read_text().splitlines() if step in WRITING]
    if written and WRITING.index("the file is renamed") <= WRITING.index(written[-1]) < len(WRITING) - 1:
        state = folder / "state/state.json"
        state.unlink()
        with suppress(FileNotFoundError):
            state.with_name("state.json.before").rename(state)
    acts = Acts(folder / "acts")
    acts.add("power-cut")
    acts.close()


def install(steps: Steps) -> None:
    """Have every step of a pass counted."""
    steps("the agent starts")
    disk = Disk(steps)
    vars(store).update(os=disk, open=disk.file)
    for method in ("begin", "finish", "refuse"):
        steps.around(store.Store, method, lambda _, kind, *__, m=method: f"store.{m} {kind}")
    steps.around(store.Store, "keep", lambda *_: "store.keep")
    steps.around(store.Store, "settle", lambda _, kind: f"store.settle {kind}")
    steps.around(Loop, "offer", lambda *_: "offer")
    steps.around(Loop, "answer", _answered)
    steps.around(Validation, "ask", lambda *_: "validation")
    steps.around(Conversation, "_request", _requested)
    steps.around(Conversation, "_ack", lambda *_: "ack")
    steps.around(Line, "send", lambda _, data: f"send {_kind_of(data)}")
    for driver, methods in (
        (FileNames, "names set"),
        (FileSwitch, "machine bring"),
        (FileFreezer, "look freeze thaw trim"),
    ):
        for method in methods.split():
            steps.around(driver, method, lambda *_, m=method, **__: f"driver.{m}")
    _install_on_lines(steps)


def _install_on_lines(steps: Steps) -> None:
    read, write = KERNEL.read, KERNEL.write

    def stepping_read(fd: int) -> bytes:
        data = read(fd)
        steps("bytes are read")
        return data

    def halves(fd: int, data: bytearray) -> int:
        half = write(fd, data[: max(1, len(data) // 2)])
        steps("half of a message is sent")
        # One write may do less than it was asked for, so this is nothing that could not be.
        with suppress(BlockingIOError):
            half += write(fd, data[half:]) if len(data) > half else 0
        return half

    vars(KERNEL).update(read=stepping_read, write=halves)


def _answered(loop: Loop, job: Job, *_: Any) -> str:
    return f"answer {job.what} {job.kind}"


def _requested(conversation: Conversation, request: Request) -> str:
    return f"request {request.method}"


def _kind_of(data: bytes) -> str:
    message = json.loads(data.strip(b"\x1e"))
    return str(message.get("method", "an answer"))


class ForkedValidation(Validation):
    """Its first child is forked from this process; to start one anew takes longer than a guest's life."""

    def __init__(self) -> None:
        super().__init__()
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.dup2(theirs_in, 0)
            os.dup2(theirs_out, 1)
            os.closerange(3, max(ours_in, ours_out, theirs_in, theirs_out) + 1)
            validator.main()
            os._exit(0)
        os.close(theirs_in)
        os.close(theirs_out)
        self._to, self._from = ours_out, ours_in


def live(folder: Path, step: str, number: int) -> None:
    """Be the agent of the guest in `folder`."""
    acts = Acts(folder / "acts")
    vars(daemon).update(boot_id=lambda: acts.boot_id)
    vars(track).update(BACKOFF_FIRST_S=0.01)  # hundreds wait for it
    validation = ForkedValidation()
    install(Steps(folder / "trace", (step, number)))
    resources = (Hostname(FileNames(acts)), Power(FileSwitch(acts)), Filesystems(FileFreezer(acts)))
    setting = Setting(resources={type(resource).kind: resource for resource in resources}, jitter=lambda: 0.0)
    endpoint = open_endpoint(f"unix:{folder}/guest.sock")
    daemon.Daemon(setting, [endpoint], str(folder / "state"), validation).run()


def main() -> None:
    """For each line `folder, step, number` in JSON: an agent, its process id, and how it ended."""
    while line := os.read(0, 1 << 16):
        folder, step, number = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                devnull = os.open(os.devnull, os.O_RDWR)
                os.dup2(devnull, 0)
                os.dup2(devnull, 1)
                live(Path(folder), step, number)
            finally:
                os._exit(1)
        os.write(1, f"{pid}\n".encode())
        os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())


if __name__ == "__main__":
    main()
