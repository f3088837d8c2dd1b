"""Writes to a file without end and says when it was kept from it: a freeze as a program feels it.

`writer.py FILE LOG`: each line of LOG is `FROM TO`, in seconds of the boot clock, for a write
that took longer than 0.1 s. LOG must lie on a filesystem that does not freeze.
"""

import os
import sys
import time

STEP_S = 0.005
FELT_S = 0.1  # ten times what a write takes on a busy emulator


def main(path: str, log: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with open(log, "a", buffering=1) as gaps:
        while True:
            before = now_s()
            os.pwrite(file, b"x", 0)
            after = now_s()
            if after - before > FELT_S:
                gaps.write(f"{before:.4f} {after:.4f}\n")
            time.sleep(STEP_S)


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
