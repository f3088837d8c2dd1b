"""One pass of the kind `run` by an agent that dies before its Nth step, by SIGKILL: FOLDER TASK N.

A step is whatever Python tells audit hooks of: a file opened, renamed or removed, a folder
made, a socket connected. An agent that comes to its end exits with 0.
"""

import json
import os
import signal
import sys
from typing import Any

from reconciler.drivers.run.systemd1 import Systemd1
from reconciler.resources.run import Desired, Run
from reconciler.store import StateFile, Store
from reconciler.subjects.task import Task


def main(folder: str, written: str, deadly: int) -> None:
    steps = 0
    armed = False

    def hear(event: str, _: tuple[Any, ...]) -> None:
        nonlocal steps
        if armed and event.split(".")[0] in ("open", "os", "socket"):
            steps += 1
            if steps == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    desired = Desired((Task(**json.loads(written)),))
    store = Store(StateFile(f"{folder}/state"), "this boot")
    kind = Run(Systemd1(f"{folder}/runs", f"{folder}/kept"))
    observed = kind.observe(desired, store.past("run"))
    for action in Run.plan(desired, Run.diff(desired, observed)):
        armed = True
        if action.token:
            store.begin("run", action.token)
        kind.act(action)
        if action.token:
            store.finish("run", action.token)
    store.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
