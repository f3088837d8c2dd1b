"""The user's own command as a child: same terminal, signals passed on, its end awaited."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from reconciler.errors import ReconcilerError
from reconciler.host.failures import Exit

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
ASKED_MAX = 2  # whoever asks the child a third time wants it gone


class NotStarted(ReconcilerError):
    """The command can't be run; `code` is what a shell would say."""

    def __init__(self, words: str, code: Exit) -> None:
        super().__init__(words)
        self.code = code


def check(words: Sequence[str]) -> None:
    """Raises NotStarted for a command that is not there: nothing need be frozen to find that out."""
    if shutil.which(words[0]) is None:
        if os.path.exists(words[0]):
            raise NotStarted(f"cannot run {words[0]}: it is no program", Exit.NOT_STARTED)
        raise NotStarted(f"cannot run {words[0]}: not found", Exit.NOT_FOUND)


class Child:
    """One command, and what becomes of the signals that are meant for it.

    Before it starts, a signal stops us: `stop` is called, once. From then on signals are for
    it, and what we do hangs on what it does. After it, they are too late.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self.stopped_by = 0  # the signal that came before the start, if any
        self._stop = stop
        self._process: asyncio.subprocess.Process | None = None
        self._early: list[signal.Signals] | None = None  # came while it was being started
        self._asked = 0

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take over the signals. The loop's own way with Ctrl-C would cut a thaw short."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.take, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def run(self, words: Sequence[str]) -> int:
        """Its exit status, or 128 and the signal that killed it. Raises NotStarted."""
        self._early = []
        try:
            self._process = await asyncio.create_subprocess_exec(*words)
        except OSError as error:
            code = Exit.NOT_FOUND if isinstance(error, FileNotFoundError) else Exit.NOT_STARTED
            raise NotStarted(f"cannot run {words[0]}: {error.strerror}", code) from None
        for number in self._early:
            self.take(number)
        try:
            status = await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
        return status if status >= 0 else 128 - status

    def take(self, number: signal.Signals) -> None:
        if self._process is None:
            if self._early is not None:
                self._early.append(number)
            elif not self.stopped_by:
                self.stopped_by = number
                self._stop()
        elif self._process.returncode is None:
            self._asked += 1
            if self._asked > ASKED_MAX:
                self._process.kill()
            # From a terminal the child has had it already, as one of the same group.
            elif number not in (signal.SIGINT, signal.SIGQUIT) or not _at_terminal():
                self._process.send_signal(number)


def _at_terminal() -> bool:
    """Whether Ctrl-C reaches our children without us: what their standard input is makes no difference."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
