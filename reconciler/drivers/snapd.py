"""Applications from where snapd mounts them; see snapd's data locations and snap.yaml."""

import os
import re
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.facilities.sysblock import entries
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

_MOUNTS = ("/snap", "/var/lib/snapd/snap")  # most distributions; those without folders of their own in /
_STATE = "/var/lib/snapd"

_SNAPS_MAX = 1000  # a desktop has some 30
_YAML_BYTES_MAX = 64 * 1024  # of one snap's description; name and version stand at its top
_TEXT_CHARS_MAX = 128  # snapd takes versions of 32
_FIELD = re.compile(rb"^(version|type|base):[ \t]*(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^#\n]*))", re.MULTILINE)


class Snapd(Source):
    """`apps`: `{snap: {name: {version, revision, type?, base?, installed?, size?}}}`.

    Read from files: to ask snapd may start it, for it ends when nothing is to be done. `size` is that
    of the compressed image, `installed` when it came.
    """

    items: ClassVar[tuple[str, ...]] = ("apps",)
    needs: ClassVar[str] = "snapd"

    def __init__(self, mounts: Sequence[str] = _MOUNTS, state: str = _STATE) -> None:
        self._mounts = tuple(mounts)
        self._state = state

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir(f"{_STATE}/snaps")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        """snapd writes here which revisions there are, after it has put one in place."""
        return (Folders(f"{self._state}/sequence", suffix=".json", items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        told: dict[str, Json] = {}
        for mount in self._mounts:
            for name in entries(mount):
                if name in told or not os.path.islink(f"{mount}/{name}/current"):
                    continue
                if len(told) >= _SNAPS_MAX:
                    raise DriverError(f"cannot list snaps: there are more than {_SNAPS_MAX}")
                told[name] = self._snap(f"{mount}/{name}", name)
        return {"snap": told}

    def _snap(self, folder: str, name: str) -> Json:
        try:
            revision = os.readlink(f"{folder}/current")[:_TEXT_CHARS_MAX]
        except OSError:
            revision = ""
        told: Json = {
            "version": "",
            "revision": revision,
            **described(_bytes(f"{folder}/current/meta/snap.yaml")),
        }
        try:
            image = os.stat(f"{self._state}/snaps/{name}_{revision}.snap")
        except OSError:
            return told  # one that is tried out of a folder has no image
        came = stamp(image.st_mtime)
        return told | {"installed": came, "size": image.st_size}


def described(snap_yaml: bytes) -> dict[str, str]:
    """The fields of snap.yaml that we tell, by its top level alone: a YAML reader takes 3 MiB."""
    told: dict[str, str] = {}
    for name, *values in _FIELD.findall(snap_yaml):
        value = next((value for value in values if value), b"").strip().decode(errors="replace")
        if value:
            told.setdefault(name.decode(), value[:_TEXT_CHARS_MAX])
    return told


def _bytes(path: str) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(_YAML_BYTES_MAX) or b""
    except OSError:
        return b""
