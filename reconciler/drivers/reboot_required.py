"""Whether a restart is due: packages that ask for it, or a newer kernel than what runs."""

import os
import re
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.facilities.inotify import Folders
from reconciler.facilities.sysblock import entries
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

# Who asks for a restart leaves a file in /run, which the restart takes away.
_WORDS = {
    "reboot-required": "packages ask for it",  # Debian, Ubuntu: update-notifier, unattended-upgrades
    "reboot-needed": "packages ask for it",  # SUSE: libzypp
    "ostree/staged-deployment": "a staged system waits to be started",  # ostree-admin-deploy(1)
}
_LIST = "reboot-required.pkgs"
_MODULES = ("lib/modules", "usr/lib/modules")
_LIST_BYTES_MAX = 64 * 1024  # a line for each package that asked
_PACKAGES_MAX = 100  # which a person reads
_KERNELS_MAX = 200
_NUMBER = re.compile(r"\d{1,9}(?:[.-]\d{1,9})*")


class RebootRequired(Source):
    """`reboot`: `{required, why: [words], packages?: [name], kernel?}`; `kernel` is the newer one."""

    items: ClassVar[tuple[str, ...]] = ("reboot",)
    needs: ClassVar[str] = "/run"

    def __init__(self, root: str = "", release: str = "") -> None:
        self._root = root
        self._release = release or os.uname().release
        self._had_modules = False

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir("/run")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        names = [_LIST, *(os.path.basename(name) for name in _WORDS)]
        # One descriptor for both: what is done in /run itself wakes us, if not for a look; a quiet guest does
        # nothing there.
        return (Folders(f"{self._root}/run", f"{self._root}/run/ostree", names=names, items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        why = [words for name, words in _WORDS.items() if os.path.exists(f"{self._root}/run/{name}")]
        folder = next((f"{self._root}/{m}" for m in _MODULES if os.path.isdir(f"{self._root}/{m}")), "")
        # A folder without this file is what a package that was removed has left behind.
        kernels = [
            name
            for name in entries(folder)[:_KERNELS_MAX]
            if os.path.exists(f"{folder}/{name}/modules.order")
        ]
        told: Json = {}
        self._had_modules = self._had_modules or self._release in kernels
        # A kernel that comes from the host has never had modules here, whatever else is installed.
        ours = self._had_modules or any(_flavour(name) == _flavour(self._release) for name in kernels)
        if ours and self._release not in kernels:
            why.append("the modules of the running kernel are gone")
        if newest := newer(self._release, kernels):
            why.append("a newer kernel is installed")
            told["kernel"] = newest
        if packages := self._packages():
            told["packages"] = packages
        return {"required": bool(why), "why": list(dict.fromkeys(why)), **told}

    def _packages(self) -> list[str]:
        try:
            with open(f"{self._root}/run/{_LIST}", "rb") as file:
                lines = (file.read(_LIST_BYTES_MAX) or b"").decode(errors="replace").split()
        except OSError:
            return []
        return sorted(set(lines))[:_PACKAGES_MAX]


def newer(running: str, installed: Sequence[str]) -> str:
    """The newest of the releases of the running kernel's flavour, if it is newer; else empty.

    `6.1.0-18-cloud-amd64` is of another flavour than `6.1.0-18-amd64`: which of them starts next
    is the boot loader's secret.
    """
    same = [name for name in installed if _flavour(name) == _flavour(running)]
    newest = max(same, key=_version, default=running)
    return newest if _version(newest) > _version(running) else ""


def _version(release: str) -> list[int]:
    """`5.14.0-362.8.1.el9_3.x86_64` is [5, 14, 0, 362, 8, 1]."""
    found = _NUMBER.match(release)
    return [int(part) for part in re.split("[.-]", found[0])] if found else []


def _flavour(release: str) -> str:
    """What is left without numbers: `el9` and `el9_3` are one."""
    return re.sub(r"[\d._+~-]+", "", release)
