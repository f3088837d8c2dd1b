"""An agent that does nothing but freeze, driven line by line, to be killed and stopped."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.drivers.fifreeze import FiFreeze
from reconciler.errors import ReconcilerError
from reconciler.subjects.mounts import choose
from tests.loop_mounts import PATIENCE_S


class Agent:
    """A process with a guardian of its own."""

    def __init__(self, ledger: Path, hooks: Path, below: Path, *wrapper: str) -> None:
        module = [sys.executable, "-m", "tests.guest_runtime.freezing_agent"]
        self.process = subprocess.Popen(
            [*wrapper, *module, str(ledger), str(hooks), str(below)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # or a second answer would wait in a buffer that select does not see
        )
        self.pending = b""

    def do(self, do: str, **order: Any) -> dict[str, Any]:
        self.order(do, **order)
        return self.answer()

    def order(self, do: str, **order: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        while b"\n" not in self.pending:
            assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "the agent does not answer"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, "the agent is gone"
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        for number in (signal.SIGKILL, signal.SIGCONT):
            self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def act(driver: FiFreeze, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "freeze":
            mounts = driver.look().mounts
            # In the given order where there is one, so that a test can choose what comes first.
            chosen = [next(m for m in mounts if m.path == path) for path in order.get("mounts", ())]
            driver.freeze(order["generation"], order["lease_s"], chosen or choose(mounts, ()))
        case "thaw":
            driver.thaw()
        case "renew":
            driver.renew(order["generation"], order["lease_s"])
        case "prepare":
            driver.prepare()
        case "cancel":
            driver.cancel()
        case "write":
            # A thread of the agent that sleeps in the kernel outlives SIGKILL.
            threading.Thread(target=_write, args=(order["path"],), daemon=True).start()
        case "watch":
            (watch,) = driver.watches()
            watch.drain()
    return {}


def look(driver: FiFreeze) -> dict[str, Any]:
    seen, link = driver.look(), driver._link
    return {
        "now_s": seen.boot_clock_s,
        "epoch": seen.epoch,
        "freeze": vars(seen.freeze) if seen.freeze else None,
        "last": vars(seen.last) if seen.last else None,
        "guardian": link.pid if link else 0,
        "ioctl_s": driver.ioctl_s,
    }


def _write(path: str) -> None:
    with open(path, "w") as file:
        file.write("late")


def main(ledger: str, hooks: str, below: str) -> None:
    driver = FiFreeze(ledger, hooks, below)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "freeze" and order.get("later"):
            threading.Thread(target=_answer, args=(driver, order)).start()
        else:
            _answer(driver, order)
    driver.close()


def _answer(driver: FiFreeze, order: dict[str, Any]) -> None:
    try:
        answer = act(driver, order)
    except ReconcilerError as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    line = json.dumps({"did": order["do"], **look(driver), **answer}) + "\n"
    os.write(1, line.encode())  # in one go: two threads answer


if __name__ == "__main__":
    main(*sys.argv[1:])
