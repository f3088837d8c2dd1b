"""Applications of the whole system from flatpak's folders; see flatpak-installation(5)."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.facilities.sysblock import entries
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

FOLDER = "/var/lib/flatpak"

_DEPLOYED_MAX = 2000  # apps and runtimes; a desktop has some 50
_FILE_BYTES_MAX = 256 * 1024  # of an app's description, whose releases stand within it, newest first
_TEXT_CHARS_MAX = 128  # of a version
_METADATA_FOLDERS = ("export/share/metainfo", "files/share/metainfo", "files/share/appdata")
_RELEASE = re.compile(rb"<release\s[^>]{0,500}?version=\"([^\"]{1,500})\"")
_RUNTIME = re.compile(rb"^runtime=(.{1,500})$", re.MULTILINE)


class Flatpak(Source):
    """`apps`: `{flatpak: {id: {kind, arch, branch, commit?, version?, runtime?, installed?}}}`.

    `kind` is app or runtime; one of several branches goes by `id/arch/branch`. `version` is what the
    app's own description says of its newest release; runtimes have none. People's own
    installations, in their homes, are not looked at.
    """

    items: ClassVar[tuple[str, ...]] = ("apps",)
    needs: ClassVar[str] = "flatpak"

    def __init__(self, folder: str = FOLDER) -> None:
        self._folder = folder

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir(f"{FOLDER}/repo")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        """flatpak touches this file after each change, for those who watch."""
        return (Folders(self._folder, names=[".changed"], items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        found = list(islice(self._deployed(), _DEPLOYED_MAX + 1))
        if len(found) > _DEPLOYED_MAX:
            raise DriverError(f"cannot list flatpaks: there are more than {_DEPLOYED_MAX}")
        names = [name for _, name, _, _ in found]
        told: dict[str, Json] = {}
        for kind, name, arch, branch in found:
            key = name if names.count(name) == 1 else f"{name}/{arch}/{branch}"
            folder = f"{self._folder}/{kind}/{name}/{arch}/{branch}/active"
            told[key] = {"kind": kind, "arch": arch, "branch": branch, **_facts(folder, name)}
        return {"flatpak": told}

    def _deployed(self) -> Iterator[tuple[str, str, str, str]]:
        """What is there to run: `active` names the deployment that is in use."""
        for kind in ("app", "runtime"):
            for name in entries(f"{self._folder}/{kind}"):
                for arch in entries(f"{self._folder}/{kind}/{name}"):
                    for branch in entries(f"{self._folder}/{kind}/{name}/{arch}"):
                        # `current` beside the architectures is a link to a branch of one of them.
                        place = f"{self._folder}/{kind}/{name}/{arch}/{branch}/active"
                        if arch != "current" and os.path.isdir(place):
                            yield kind, name, arch, branch


def _facts(folder: str, name: str) -> dict[str, str]:
    told: dict[str, str] = {}
    try:
        told["commit"] = os.path.basename(os.readlink(folder))[:12]
        deployed_s = os.stat(f"{folder}/deploy").st_mtime
        told["installed"] = stamp(deployed_s)
    except (OSError, ValueError):
        pass
    if runtime := _RUNTIME.search(_bytes(f"{folder}/metadata")):
        told["runtime"] = _clean(runtime[1])
    for place in _METADATA_FOLDERS:
        for suffix in ("metainfo.xml", "appdata.xml"):
            if release := _RELEASE.search(_bytes(f"{folder}/{place}/{name}.{suffix}")):
                return told | {"version": _clean(release[1])}
    return told


def _clean(value: bytes) -> str:
    return value.decode(errors="replace").strip()[:_TEXT_CHARS_MAX]


def _bytes(path: str) -> bytes:
    """What a file begins with; nothing where there is none."""
    try:
        # Not blocking: what an app brings along may be a pipe.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(_FILE_BYTES_MAX) or b""
    except OSError:
        return b""
