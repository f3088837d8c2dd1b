"""The last lines that a unit has written, from the journal; see journalctl(1)."""

import re
import time

from reconciler.facilities.child import run

LINES = 5  # enough to see why; all of them are in the guest's journal
LINE_CHARS_MAX = 200
SETTLES_S = 0.5  # by then journald has taken in what a process wrote before its end
_JOURNALCTL = "/usr/bin/journalctl"
_OPTIONS = ("--boot", "--quiet", "--no-pager", "--output=cat", f"--lines={LINES}")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BYTES_MAX = 512 * 1024  # journald cuts a line at 48 KiB unless it is told otherwise


def last_lines(
    unit: str, deadline_s: float, *, ago_s: float = SETTLES_S, journalctl: str = _JOURNALCTL
) -> tuple[str, ...]:
    """Of its processes in this boot, or else of systemd about it; empty when there is no telling.

    `ago_s` is how long ago it fell silent. systemd says at length that a unit failed, and would
    leave no room for why.
    """
    ends_s = time.monotonic() + deadline_s
    time.sleep(min(deadline_s, SETTLES_S, max(0.0, SETTLES_S - ago_s)))
    for matches in ((f"_SYSTEMD_UNIT={unit}",), ("_PID=1", f"UNIT={unit}")):
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            break
        ended = run((journalctl, *_OPTIONS, *matches), deadline_s=left_s, output_bytes_max=_BYTES_MAX)
        if lines := _lines(ended.output if not ended.fault else b""):
            return lines
    return ()


def _lines(output: bytes) -> tuple[str, ...]:
    """On one line each, without colours and what does not print."""
    text = _COLOURS.sub("", output.decode(errors="replace"))
    lines = ("".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines())
    return tuple(line[:LINE_CHARS_MAX] for line in lines if line)[-LINES:]
