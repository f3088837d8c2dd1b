"""`make picture`: what `make vm` shows on a terminal, as a drawing for the README.

The terminal is a real one, so colours and progress are those that a person sees.
"""

import os
import pty
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.vm.image import ROOT

PICTURE = ROOT / "docs/vm.svg"
COLUMNS = 96
TITLE = "make vm"
ERASE = "\x1b[K"
# Without the fonts that the default has a browser fetch.
FRAME = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>A document converges on a real Debian guest: a recording of make vm</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace;
    font-size: {char_height}px; line-height: {line_height}px; white-space: pre; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> int:
    recorded = bytearray()

    def read(fd: int) -> bytes:
        data = os.read(fd, 1 << 16)
        recorded.extend(data)
        return data

    os.environ.update(COLUMNS=str(COLUMNS), TERM="xterm-256color")
    os.environ.pop("NO_COLOR", None)
    ended = os.waitstatus_to_exitcode(pty.spawn([sys.executable, "-m", "tests.vm.demo"], read))
    if ended == 0:
        draw(recorded.decode(), PICTURE)
    return ended


def draw(recorded: str, picture: Path) -> None:
    """What stood on the screen in the end, line for line."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    for line in recorded.replace("\r\n", "\n").rstrip().split("\n"):
        # Progress overwrites itself: what came last in a line is what stayed.
        console.print(Text.from_ansi(line.rpartition("\r")[2].replace(ERASE, "")))
    svg = console.export_svg(title=TITLE, theme=MONOKAI, code_format=FRAME, unique_id="vm")
    picture.write_text(svg + "\n")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
