"""The administrator's programs that run before a freeze and after it.

They lie in /etc/guest-reconciler/freeze.d, and each is called as `PROGRAM freeze` and
`PROGRAM thaw`, as qemu-ga calls its own, so the same scripts serve. They run in the
order of their names before, in reverse after.
"""

import os
import stat
from collections.abc import Callable

FOLDER = "/etc/guest-reconciler/freeze.d"
HOOK_S = 30.0  # what a database needs to flush; a guest whose hook hangs must still be usable
HOOKS_MAX = 32
# What editors and package tools leave behind.
_LEFTOVERS = ("~", ".bak", ".orig", ".sample", ".rpmnew", ".rpmsave", ".dpkg-old", ".dpkg-new", ".dpkg-dist")
_OUTPUT_BYTES_MAX = 64 * 1024
_TAIL_CHARS = 300  # enough of what a hook last said, in a message that is read as one line

# The guardian may not be killed for want of memory; what it starts may. And a hook complains on stderr.
_SHELL = 'echo 0 2>/dev/null >/proc/self/oom_score_adj; exec "$0" "$@" 2>&1'


class UnsafeHook(Exception):
    """Somebody else than root could have written what root would run."""


def find(folder: str = FOLDER, owner: int = 0) -> list[str]:
    """Paths of the hooks in order; leftovers and files that nobody may execute are none.

    Raises UnsafeHook for one that another user than `owner` may change.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    _check(folder, os.stat(folder), owner)
    hooks = []
    for name in names:
        path = os.path.join(folder, name)
        status = os.stat(path)
        if name.endswith(_LEFTOVERS) or not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            continue
        _check(path, status, owner)
        hooks.append(path)
    if len(hooks) > HOOKS_MAX:
        raise UnsafeHook(f"{folder} has more than {HOOKS_MAX} hooks")
    return hooks


def run(path: str, verb: str, deadline_s: float = HOOK_S) -> str:
    """Run one to its end; why it failed, or nothing. Blocks for at most the deadline and a second."""
    # Late: it imports dataclasses, which would double the guardian's start where there are no hooks.
    from reconciler.facilities import child

    ended = child.run(
        ["/bin/sh", "-c", _SHELL, path, verb], deadline_s=deadline_s, output_bytes_max=_OUTPUT_BYTES_MAX
    )
    said = ended.output.decode(errors="replace").strip()[-_TAIL_CHARS:]
    if not ended.fault:
        return ""
    return f"{path} {verb}: {ended.fault}" + (f": {said}" if said else "")


def run_owed(owed: list[str], paid: Callable[[list[str]], None]) -> list[str]:
    """Run the second halves in reverse order, telling `paid` what is left; why some failed."""
    faults = []
    while owed:
        fault = run(owed[-1], "thaw")
        owed = owed[:-1]
        paid(owed)
        faults += [fault] if fault else []
    return faults


def _check(path: str, status: os.stat_result, owner: int) -> None:
    if status.st_uid != owner or status.st_mode & 0o022:
        raise UnsafeHook(f"{path} belongs to another user, or others may write it; hooks run as root")
