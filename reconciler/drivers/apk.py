"""Installed packages from the database of Alpine's apk; see apk-installed(5)."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

FOLDERS = ("/lib/apk/db", "/usr/lib/apk/db")  # apk 2, and apk 3 where /lib is a link

_PACKAGES_MAX = 20_000  # some 3 MiB as JSON; Alpine has about as many in all
_DATABASE_BYTES_MAX = 256 << 20  # it names every file; a large desktop's has 20 MiB
_VALUE_BYTES_MAX = 256  # names and versions are a tenth of it; a maintainer's name is cut
_SHORT = frozenset(
    {b"P", b"V", b"A", b"I", b"m"}
)  # package, version, architecture, installed size, maintainer


class Apk(Source):
    """`apps`: `{apk: {package: {version, arch, vendor?, size?}}}`; `size` is bytes on disk.

    When a package was installed is written nowhere.
    """

    items: ClassVar[tuple[str, ...]] = ("apps",)
    needs: ClassVar[str] = "apk"
    folders: ClassVar[tuple[str, ...]] = FOLDERS

    def __init__(self, folders: Sequence[str] = folders) -> None:
        self._folders = tuple(folders)

    @classmethod
    def available(cls) -> bool:
        return any(os.path.exists(f"{folder}/installed") for folder in cls.folders)

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        """apk renames a new database into place at the end of each run."""
        return (Folders(*self._folders, names=["installed"], items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        for folder in self._folders:
            try:
                with open(f"{folder}/installed", "rb") as database:
                    if os.fstat(database.fileno()).st_size > _DATABASE_BYTES_MAX:
                        raise DriverError(f"cannot list packages: {folder}/installed is too long")
                    return {"apk": dict(_app(stanza) for stanza in _bounded(stanzas(database)))}
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise DriverError(f"cannot list packages: {error.filename}: {error.strerror}") from error
        return {}


def stanzas(lines: Iterable[bytes]) -> Iterator[dict[bytes, bytes]]:
    """The fields that we use, of each package; a line is `P:name`, and an empty one ends a package."""
    stanza: dict[bytes, bytes] = {}
    for line in lines:
        if line[1:2] == b":" and line[:1] in _SHORT:
            stanza[line[:1]] = line[2:].strip()[:_VALUE_BYTES_MAX]
        elif line == b"\n":
            if b"P" in stanza:
                yield stanza
            stanza = {}
    if b"P" in stanza:
        yield stanza


def _bounded(found: Iterator[dict[bytes, bytes]]) -> Iterator[dict[bytes, bytes]]:
    for count, stanza in enumerate(found):
        if count >= _PACKAGES_MAX:
            raise DriverError(f"cannot list packages: there are more than {_PACKAGES_MAX}")
        yield stanza


def _app(stanza: dict[bytes, bytes]) -> tuple[str, Json]:
    texts = {letter: value.decode(errors="replace") for letter, value in stanza.items()}
    app: Json = {"version": texts.get(b"V", ""), "arch": intern(texts.get(b"A", ""))}
    if vendor := texts.get(b"m", "").partition("<")[0].strip():
        app["vendor"] = intern(vendor)
    size = stanza.get(b"I", b"")
    if size.isdigit() and len(size) < 16:
        app["size"] = int(size)
    return texts[b"P"], app
