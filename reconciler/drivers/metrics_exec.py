"""User-defined metrics from executables in a folder, run in the background.

Theory of operation. Nobody waits for a slow program: a read starts a round in a thread
of its own, waits for a moment, and returns what the last finished round brought. When a
round ends after its read has gone, and brought something else than the one before, the
watch wakes the loop. The read that follows comes too soon after that round to start
another, so the two cannot chase each other.
"""

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.child import run
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

if TYPE_CHECKING:
    from reconciler.protocols.prometheus import Gathered

FOLDER = "/etc/guest-reconciler/metrics.exec.d"

_PROGRAMS_MAX = 16  # one after the other, so a round of slow ones takes no more than 80 s
_NAME_MAX = 128  # characters
_DEADLINE_S = 5.0  # for each program: what takes longer belongs into a timer that leaves a text file
_PATIENCE_S = 0.8  # most programs end within it, and the other sources of a look lose no more
_PAUSE_S = 10.0  # between a round and the next, whatever period is asked for: processes cost


class MetricsExec(Source):
    """`metrics`: `{executables: {series, families, programs}}`, or nothing while there is no folder.

    `series` and `families` are as in text files; `programs` is `{program: {series}}`, or
    `{program: {fault}}` for one that failed, which costs itself only.

    A program writes Prometheus' text format to its standard output and ends within 5 s. It
    runs with the rights of the agent, so it and the folder must belong to root (or to the
    agent's own user) and nobody else may write to them; one that needs less drops the
    rest itself (setpriv(1)). It gets no input and an environment of PATH, LC_ALL and HOME.
    """

    items: ClassVar[tuple[str, ...]] = ("metrics",)
    needs: ClassVar[str] = "processes"
    forbidden_commands: tuple[str, ...] = ()  # shell patterns of full paths, from the guest's policy

    def __init__(self, folder: str = FOLDER) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # holds what follows
        self._round: threading.Thread | None = None  # the one that runs
        self._found: Json = None  # what the last one brought
        self._ended_s = -_PAUSE_S
        self._overdue = False  # a read has gone without the running round's result
        self._watch: _Wake | None = None

    @classmethod
    def available(cls) -> bool:
        return hasattr(os, "pidfd_open")  # the folder may come later

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        names = self._names()
        if names is None:
            return {}
        with self._lock:
            running = self._round
            if running is None and self.boot_clock_s() - self._ended_s >= _PAUSE_S:
                running = threading.Thread(target=self._run, args=(names,), daemon=True)
                running.start()
                self._round = running
        if running is not None:
            running.join(_PATIENCE_S)
        with self._lock:
            self._overdue = self._round is not None
            found = self._found
        return {"executables": found or _unfinished(names)}

    def watches(self) -> Sequence[Watch]:
        self._watch = _Wake()
        return (self._watch,)

    def _names(self) -> list[str] | None:
        """What may be a program; None while there is no folder. Raises DriverError for an unsafe one."""
        try:
            if why := _unsafe(os.lstat(self._folder)):
                raise DriverError(f"cannot run what is in {self._folder}: {why}")
            return sorted(name for name in os.listdir(self._folder) if _counts(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DriverError(f"cannot run what is in {self._folder}: {error.strerror}") from error

    def _run(self, names: Sequence[str]) -> None:
        """One round, in a thread of its own."""
        found: Json = None
        try:
            found = self._measure(names)
        finally:
            with self._lock:
                changed = found != self._found
                self._found = found
                self._ended_s = self.boot_clock_s()
                self._round = None
                if self._overdue and changed and self._watch:
                    self._watch.wake()

    def _measure(self, names: Sequence[str]) -> Json:
        # Late, here and below: few guests have metrics of their own.
        from reconciler.protocols.prometheus import gather

        faults: dict[str, str] = {}
        gathered = gather(self._outputs(names[:_PROGRAMS_MAX], faults))
        for name in names[_PROGRAMS_MAX : 2 * _PROGRAMS_MAX]:
            faults[name] = f"there are more than {_PROGRAMS_MAX} programs"
        return _show(gathered, faults)

    def _outputs(self, names: Sequence[str], faults: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        """What each program wrote, one at a time, so that only one output is in memory."""
        from reconciler.protocols.prometheus import TEXT_BYTES_MAX

        for name in names:
            path = os.path.join(self._folder, name)
            if fault := self._refusal(path):
                faults[name] = fault
                continue
            ended = run([path], deadline_s=_DEADLINE_S, output_bytes_max=TEXT_BYTES_MAX)
            if ended.fault:
                faults[name] = ended.fault
            else:
                yield name, ended.output

    def _refusal(self, path: str) -> str:
        """Why a program may not run; empty when it may."""
        if any(fnmatchcase(path, pattern) for pattern in self.forbidden_commands):
            return "the guest's policy forbids it (forbid.commands)"
        try:
            seen = os.lstat(path)
        except OSError as error:
            return str(error.strerror)
        if not stat.S_ISREG(seen.st_mode):
            return "it is not a regular file"
        if not seen.st_mode & stat.S_IXUSR:
            return "it is not executable"
        return _unsafe(seen)


class _Wake:
    """A `Watch` that another thread of this process sets off."""

    items = ("metrics",)

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def wake(self) -> None:
        os.eventfd_write(self._fd, 1)

    def drain(self) -> bool:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._fd)


def _counts(name: str) -> bool:
    """Hidden files and editors' copies do not count, as in run-parts(8)."""
    return (
        not name.startswith(".") and not name.endswith("~") and len(name) <= _NAME_MAX and name.isprintable()
    )


def _unsafe(seen: os.stat_result) -> str:
    if seen.st_uid not in (0, os.geteuid()):
        return "it does not belong to root"
    if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than its owner may write to it"
    return ""


def _unfinished(names: Sequence[str]) -> Json:
    from reconciler.protocols.prometheus import Gathered

    return _show(Gathered(), dict.fromkeys(names, "it has not ended yet"))


def _show(gathered: "Gathered", faults: dict[str, str]) -> Json:
    programs: dict[str, Json] = {name: {"series": series} for name, series in gathered.counts.items()}
    programs |= {name: {"fault": fault} for name, fault in (gathered.faults | faults).items()}
    return {"series": gathered.series, "families": gathered.families, "programs": programs}
