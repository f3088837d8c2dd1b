"""Agents with the kind `services` that die before their Nth step, by SIGKILL, each for a line.

A line is `[FOLDER, TOKEN, GENERATION, N]` in JSON; its answer is the exit code, 0 for an agent that
lived until all was done. A step is what Python tells audit hooks of (a file opened, renamed or removed, a
socket connected) and each side of an exchange on the bus. Agents are forked, as to start one takes long.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconciler.drivers.services.systemd1 import Systemd1Units
from reconciler.errors import ReconcilerError
from reconciler.facilities.dbus import Bus
from reconciler.loop import Loop, Setting
from reconciler.resources.services import Services
from reconciler.store import StateFile, Store
from tests.lamps import written

JOBS_MAX = 40  # a pass has some six


class Steps:
    def __init__(self, deadly: int) -> None:
        self.left = deadly

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, _: tuple[Any, ...]) -> None:
        if event.split(".")[0] in ("open", "os", "socket"):
            self()


def live(folder: Path, token: str, generation: int, deadly: int) -> None:
    """From start to the state in which nothing is left to do; its reason is left in FOLDER."""
    steps = Steps(deadly)
    exchange = Bus._exchange

    def stepping(bus: Bus, messages: Sequence[Any], method: str, timeout_s: float) -> list[Any]:
        steps()
        replies = exchange(bus, messages, method, timeout_s)
        steps()
        return replies

    vars_of_bus: Any = Bus
    vars_of_bus._exchange = stepping
    sys.addaudithook(steps.hear)
    store = Store(StateFile(str(folder)), "boot")
    loop = Loop(Setting(resources={"services": Services(Systemd1Units())}), store, str)
    if store.spec.generation < generation:
        units = {"web": {"state": "running", "restart": token}}
        loop.offer(written(generation, services={"units": units}))
    now_s = 0.0
    for _ in range(JOBS_MAX):
        for job in loop.step(now_s):
            result, error = None, None
            try:
                result = job.run()
            except ReconcilerError as failure:
                error = failure
            loop.answer(job, result, error, now_s)
        now_s += 0.1
    steps.left = 0  # what follows is the test's
    (condition,) = loop.journal.conditions
    (folder / "reason").write_text(condition.reason)


def main() -> None:
    for line in sys.stdin:
        folder, token, generation, deadly = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                live(Path(folder), token, generation, deadly)
                code = 0
            finally:
                os._exit(code)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
