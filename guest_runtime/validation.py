"""The daemon's side of the validating child: started when needed, asked from any thread."""

import json
import os
import select
import sys
import threading
from contextlib import suppress

from reconciler.errors import Busy, Fault, InvalidSpec
from reconciler.resource import Json

DEADLINE_S = 20.0  # a cold start and the slowest document; a swapping guest may take long for both


class Validation:
    """Blocks its caller, so it is called from threads of its own, never from the loop's."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._pid = 0
        self._to = self._from = -1

    def ask(self, request: Json) -> Json:
        """The child's answer. Raises InvalidSpec for a refused document, Busy when it did not come."""
        line = json.dumps(request).encode() + b"\n"
        with self._one:
            answer = None
            # A child that idled out just as we wrote is no fault: ask a new one.
            for _ in range(2):
                if self._pid == 0:
                    self._start()
                answer = self._exchange(line)
                if answer is not None:
                    break
                self.close()
        if answer is None:
            raise Busy("cannot read the document: the validating process gave no answer")
        decoded = json.loads(answer)
        if "faults" in decoded:
            raise InvalidSpec(*(Fault(*fault) for fault in decoded["faults"]))
        return decoded

    def warm(self) -> None:
        """Have the child started and its modules loaded before they are needed."""
        if self._one.acquire(blocking=False):
            try:
                if self._pid == 0:
                    with suppress(Busy):  # whoever asks will hear of it
                        self._start()
            finally:
                self._one.release()

    def reap(self) -> bool:
        """Take note of a child that has ended, so that no zombie stays; whether one lives still."""
        if not self._one.acquire(blocking=False):
            return True  # it is being asked just now
        try:
            if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
                self._close()
            return self._pid != 0
        finally:
            self._one.release()

    def _start(self) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Where we ourselves were found, which the child's own start would not always find.
        folders = [os.path.dirname(os.path.dirname(__file__)), *sys.path]
        code = f"import sys; sys.path[:] = {folders!r}; from guest_runtime.validator import main; main()"
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                # -B: compiled code could go to a frozen disk, and the document that thaws it would wait.
                [sys.executable, "-I", "-S", "-B", "-c", code],
                {"MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs_in, 0),
                    (os.POSIX_SPAWN_DUP2, theirs_out, 1),
                ],
            )
        except OSError as error:
            os.close(ours_in)
            os.close(ours_out)
            raise Busy(f"cannot read the document: {error.strerror}") from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        os.set_blocking(ours_out, False)
        self._to, self._from = ours_out, ours_in

    def _exchange(self, line: bytes) -> bytes | None:
        """One line there and one back; None when the child ended or is late."""
        try:
            if not _write(self._to, line):
                return None
            answer = bytearray()
            while not answer.endswith(b"\n"):
                if not select.select([self._from], [], [], DEADLINE_S)[0]:
                    return None
                data = os.read(self._from, 1 << 16)
                if not data:
                    return None
                answer += data
            return bytes(answer)
        except BrokenPipeError:
            return None

    def close(self) -> None:
        """End the child, if there is one."""
        if self._pid:
            os.kill(self._pid, 9)
            os.waitpid(self._pid, 0)
            self._close()

    def _close(self) -> None:
        os.close(self._to)
        os.close(self._from)
        self._pid, self._to, self._from = 0, -1, -1


def _write(fd: int, data: bytes) -> bool:
    """Whether all of it was taken; a child that stands still takes no more than a pipe holds."""
    view = memoryview(data)
    while view:
        if not select.select([], [fd], [], DEADLINE_S)[1]:
            return False
        view = view[os.write(fd, view) :]
    return True
