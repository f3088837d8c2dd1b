"""A guest with a screen that can be looked at; see tests/vm/desktop.py for what runs in it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tests.vm.guest import Guest
from tests.vm.image import ROOT

SCREENS = ROOT / "build/screens"  # what the tests saw, kept for a person to look at
DRAWN_BYTES = 1000  # three a pixel: a cursor has some 50, one line of a prompt 2000


class Desktop(Guest):
    """A virtual machine with a screen that compositors know how to draw on."""

    memory_mib: ClassVar[int] = 1536
    display: ClassVar[str] = "virtio-vga"
    started: ClassVar[str] = "systemctl is-active getty@tty1"

    def screenshot(self, name: str) -> Path:
        """What the screen shows now, as a PNG under `build/screens`."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        path = SCREENS / f"{name}.png"
        self.qmp("screendump", filename=str(path), format="png")
        return path

    def corner(self) -> tuple[int, ...]:
        """The colour of the last pixel: of what fills the whole screen, if anything does."""
        return tuple(self._pixels()[-3:])

    def wait_corner(self, colour: tuple[int, ...], timeout: float = 60) -> None:
        self._wait(lambda: self.corner() == colour, f"a corner of {colour}", timeout)

    def wait_drawn(self, timeout: float = 60) -> None:
        """Until there is more on the screen than black and a cursor."""
        self._wait(lambda: sum(map(bool, self._pixels())) > DRAWN_BYTES, "more than black", timeout)

    def _pixels(self) -> bytes:
        path = self.folder / "screen.ppm"
        self.qmp("screendump", filename=str(path), format="ppm")
        return path.read_bytes().split(b"\n", 3)[3]

    def _wait(self, shown: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not shown():
            if time.monotonic() > deadline:
                self.screenshot("missed")
                raise TimeoutError(f"not within {timeout:.0f} s on the screen: {what}")
            time.sleep(0.2)
