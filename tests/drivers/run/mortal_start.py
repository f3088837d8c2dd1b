"""An agent with the kind `run` alone, which dies before its Nth step, by SIGKILL: FOLDER TASKS NUMBER N.

Its loop is the real one, and follows a document of generation NUMBER. A step is whatever Python
tells audit hooks of: a file opened, renamed or removed, a folder made, a socket connected. They
count from the first act on. An agent that comes to its end exits with 0.
"""

import json
import os
import signal
import sys
from typing import Any

from reconciler.drivers.run.systemd1 import Systemd1
from reconciler.errors import ReconcilerError
from reconciler.guarding.kernel import boot_clock_s
from reconciler.loop import Loop, Setting
from reconciler.resources.run import Run
from reconciler.store import StateFile, Store
from tests.lamps import written


def main(folder: str, tasks: str, number: int, deadly: int) -> None:
    steps = 0
    armed = False

    def hear(event: str, _: tuple[Any, ...]) -> None:
        nonlocal steps
        if armed and event.split(".")[0] in ("open", "os", "socket"):
            steps += 1
            if steps == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    kind = Run(Systemd1(f"{folder}/runs", f"{folder}/kept"))
    loop = Loop(Setting(resources={"run": kind}), Store(StateFile(f"{folder}/state"), "this boot"), str)
    loop.offer(written(number, run={"tasks": json.loads(tasks)}))
    while jobs := loop.step(boot_clock_s()):
        for job in jobs:
            armed = armed or job.what == "act"
            result, error = None, None
            try:
                result = job.run()
            except ReconcilerError as failure:
                error = failure
            loop.answer(job, result, error, boot_clock_s())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
