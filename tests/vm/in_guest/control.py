"""What the tests talk to inside a guest: runs shell commands, answers what came of them.

One JSON object a line on a port of its own, never the product's. Every command has
its own thread, so one that blocks on a frozen filesystem blocks nothing else, and
this process writes to no filesystem at all.

- in: {"id": int, "command": "shell text", "timeout": seconds}
- out: {"id": int, "rc": int, "out": "both streams, as text"}; rc -1 when it took too long
"""

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

RETRY_S = 0.05  # a port without a host reads as an end of file at once, and udev names it late


class Control:
    def __init__(self, port: str) -> None:
        while not os.path.exists(port):
            time.sleep(RETRY_S)
        self.port = os.open(port, os.O_RDWR)
        self.lock = threading.Lock()

    def serve(self) -> None:
        pending = b""
        while True:
            data = os.read(self.port, 65536)
            if not data:
                time.sleep(RETRY_S)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                try:
                    request = json.loads(line)
                except ValueError:
                    continue  # the rest of a line that a host of an earlier boot began
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()

    def answer(self, request: dict[str, Any]) -> None:
        rc, out = shell(request["command"], request["timeout"])
        line = json.dumps({"id": request["id"], "rc": rc, "out": out}).encode() + b"\n"
        with self.lock:
            while line:
                line = line[os.write(self.port, line) :]


def shell(command: str, timeout: float) -> tuple[int, str]:
    done = subprocess.Popen(
        ["/bin/bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        out, _ = done.communicate(timeout=timeout)
        return done.returncode, out.decode(errors="replace")
    except subprocess.TimeoutExpired:
        # Not waited for: it may sit in D state on a frozen filesystem until the thaw.
        os.killpg(done.pid, 9)
        return -1, ""


if __name__ == "__main__":
    Control(sys.argv[1]).serve()
