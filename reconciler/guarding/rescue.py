"""Thaw what a guardian that is gone has left frozen, by the ledger alone."""

import os
import time

from reconciler.guarding import hooks, kernel
from reconciler.guarding.ledger import PATH, Ledger
from reconciler.subjects import mounts

_PATIENCE_S = 1.0  # a living guardian whose agent died thaws within milliseconds; a hung one never does
_LOOK_S = 0.02  # nothing tells of a lock that is let go; at most fifty looks, and then it is done without


def thaw_all(ledger_path: str = PATH, ended: str = "Thawed") -> list[str]:
    """Thaw every filesystem in the ledger and run the hooks that are owed; what could not be done.

    Harmless where nothing is frozen. Blocks for up to a second where a guardian still
    has the right to thaw, and then goes on without it.
    """
    ledger = Ledger(ledger_path)
    if ledger.is_settled():
        return []
    ends_s = time.monotonic() + _PATIENCE_S
    while not ledger.lock() and time.monotonic() < ends_s:
        time.sleep(_LOOK_S)
    try:
        faults = _thaw(ledger, ended)
    finally:
        ledger.unlock()
    return faults + hooks.run_owed(ledger.read().get("owed", []), ledger.owe)


def _thaw(ledger: Ledger, ended: str) -> list[str]:
    held = ledger.read().get("held")
    if held is None:
        return []
    with open("/proc/self/mountinfo", errors="surrogateescape", newline="\n") as file:
        lines = mounts.parse(file.read())
    hidden = mounts.hidden(lines)
    paths = {line.device: line.path for line in lines if line.id not in hidden}
    faults, lost = [], []
    # The last to freeze is the one that backs the others, and thaws first.
    for mount in reversed(held["mounts"]):
        path = paths.get(mount["device"])
        if path is None:
            lost.append(mount["path"])
            continue
        try:
            error = _thaw_path(path)
        except OSError as failure:
            error = failure.errno or 0
        if error not in (0, kernel.THAWED_ALREADY):
            faults.append(f"cannot thaw {path}: {kernel.words(error)}")
    if not faults:
        # No path leads there, so nobody waits for it either: no reason to hold up all the rest.
        note = f"unmounted while frozen, and it may be still: {', '.join(lost)}" if lost else ""
        ledger.end(ended, note)
    return faults


def _thaw_path(path: str) -> int:
    fd = kernel.open_mount(path)
    try:
        return kernel.thaw(fd)
    finally:
        os.close(fd)
