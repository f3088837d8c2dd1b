"""Containers registered with machined, as nspawn's are; see sd_get_machine_names(3)."""

import os
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.facilities.inotify import Folders
from reconciler.facilities.sysblock import entries, text
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_FOLDER = "/run/systemd/machines"  # a file each, and a link for each unit; read as libsystemd reads it
_MACHINES_MAX = 1000
_TEXT_CHARS_MAX = 256


class Machined(Source):
    """`containers`: `{machines: {name: {state, by?, root?}}}`; `by` is what runs it, `root` its folder.

    Read from files: to ask machined would start it, for it ends when it is idle.
    """

    items: ClassVar[tuple[str, ...]] = ("containers",)
    needs: ClassVar[str] = "machined"

    def __init__(self, folder: str = _FOLDER) -> None:
        self._folder = folder

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir("/run/systemd/system") and (
            os.path.isdir(_FOLDER) or os.path.exists("/usr/lib/systemd/systemd-machined")
        )

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        return (Folders(self._folder, items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        told: dict[str, Json] = {}
        for name in entries(self._folder):
            # Links lead from a unit to its machine, and what begins with a dot is about to be renamed.
            if name.startswith((".", "unit:")) or len(told) >= _MACHINES_MAX:
                continue
            lines = (text(f"{self._folder}/{name}") or "").splitlines()
            about = dict(line.split("=", 1) for line in lines if "=" in line)
            if about.get("CLASS") == "container":
                known = {"by": about.get("SERVICE"), "root": about.get("ROOT")}
                shown = {key: value[:_TEXT_CHARS_MAX] for key, value in known.items() if value}
                told[name] = {"state": "running", **shown}
        return {"machines": told}
