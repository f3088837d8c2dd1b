"""Installed packages from the rpm database; see rpm(8) and rpm's docs/manual/hregions.md.

Theory of operation. The database of today is SQLite: the table Packages holds one header
blob for each package, of which only the few tags we use are read, however large the rest
is. Nothing is written, not even SQLite's shared memory, because the filesystem may be
frozen under us. The older databases (ndb, Berkeley DB) are left to the rpm command.
"""

import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.child import run
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

if TYPE_CHECKING:
    import sqlite3

FOLDERS = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")  # newer distributions, older ones
_SQLITE = "rpmdb.sqlite"
_OTHERS = ("Packages.db", "Packages")  # ndb, Berkeley DB
_COMMAND = "/usr/bin/rpm"

_PACKAGES_MAX = 20_000  # some 3 MiB as JSON, where a host takes 8
_TAGS_MAX = 65_536  # rpm's own limit on the entries of a header's index
_TEXT_BYTES_MAX = 256  # a name, a version, a vendor: all are far shorter
_CACHE_KIB = 128  # each header is read once, so pages need not be kept
_BUSY_S = 1.0  # a writer holds the lock for the moment of its commit
_COMMAND_S = 3.0  # rpm -qa takes a second for 2,000 packages
_COMMAND_BYTES_MAX = _PACKAGES_MAX * 200

# rpmtag.h
_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_INSTALLTIME, _SIZE, _VENDOR, _ARCH, _LONGSIZE = 1008, 1009, 1011, 1022, 5009
_TEXTS = frozenset({_NAME, _VERSION, _RELEASE, _VENDOR, _ARCH})
_NUMBERS = frozenset({_EPOCH, _INSTALLTIME, _SIZE, _LONGSIZE})
_INT32, _INT64, _STRING, _I18N = 4, 5, 6, 9
_INTRO = struct.Struct(">II")  # entries in the index, bytes of data
_ENTRY = struct.Struct(">IiiI")  # tag, type, offset into the data, count

_SEPARATOR = "\x1f"
_QUERY = _SEPARATOR.join(
    ("%{NAME}", "%{EPOCH}", "%{VERSION}-%{RELEASE}", "%{ARCH}", "%{VENDOR}", "%{INSTALLTIME}", "%{LONGSIZE}")
)
_NONE = "(none)"

Read = Callable[[int, int], bytes]  # of a header: offset, length


@dataclass(frozen=True)
class Package:
    """What we tell of one package."""

    name: str
    version: str  # [epoch:]version-release
    arch: str = ""
    vendor: str = ""
    installed_s: int = 0  # since 1970; 0 unknown
    size: int | None = None  # bytes

    def show(self) -> Json:
        shown: Json = {"version": self.version, "arch": self.arch}
        if self.vendor:
            shown["vendor"] = self.vendor
        if self.installed_s:
            shown["installed"] = stamp(self.installed_s)
        if self.size is not None:
            shown["size"] = self.size
        return shown


class Rpm(Source):
    """`apps`: `{rpm: {package: {version, arch, vendor?, installed?, size?}}}`, or nothing without a database.

    A package goes by its name. Where several have one name, it is that of the machine's own
    architecture installed last; another architecture is `name:arch`, another version
    `name=version`. `installed` is RFC 3339, `size` bytes. Imported signing keys,
    which rpm keeps as packages named gpg-pubkey, are none.
    """

    items: ClassVar[tuple[str, ...]] = ("apps",)
    needs: ClassVar[str] = "rpm database"
    folders: ClassVar[tuple[str, ...]] = FOLDERS

    def __init__(self, folders: Sequence[str] = folders, command: str = _COMMAND) -> None:
        self._folders = tuple(folders)
        self._command = command

    @classmethod
    def available(cls) -> bool:
        return _find(cls.folders, (_SQLITE,)) is not None or (
            os.access(_COMMAND, os.X_OK) and _find(cls.folders, _OTHERS) is not None
        )

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        if (database := _find(self._folders, (_SQLITE,))) is not None:
            packages = _from_sqlite(database)
        elif (database := _find(self._folders, _OTHERS)) is not None:
            packages = self._from_command(os.path.dirname(database))
        else:
            return {}
        return {"rpm": named(packages, os.uname().machine)}

    def watches(self) -> Sequence[Watch]:
        """The log in which SQLite writes ahead is closed at the end of a transaction of rpm's."""
        names = [_SQLITE, f"{_SQLITE}-wal", *_OTHERS]
        return (Folders(*self._folders, names=names, items=self.items),)

    def _from_command(self, folder: str) -> tuple[Package, ...]:
        query = ["--dbpath", folder, "-qa", "--qf", _QUERY + "\n"]
        ended = run([self._command, *query], deadline_s=_COMMAND_S, output_bytes_max=_COMMAND_BYTES_MAX)
        if ended.fault:
            raise DriverError(f"cannot list packages: {self._command}: {ended.fault}")
        return tuple(parse_query(ended.output.decode(errors="replace")))


def _find(folders: Iterable[str], names: Iterable[str]) -> str | None:
    paths = (os.path.join(folder, name) for folder in folders for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def _from_sqlite(path: str) -> tuple[Package, ...]:
    # Late: sqlite3 takes 1.4 MiB, and few guests have both dpkg and rpm.
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(_uri(path), _BUSY_S, uri=True)) as database:
            database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            database.execute("BEGIN")  # one snapshot for the list and every header on it
            return tuple(_packages(database))
    except sqlite3.Error as error:
        raise DriverError(f"cannot list packages: {path}: {error}") from error


def _uri(path: str) -> str:
    """How to open it without writing: as it is on disk when no log waits to be merged into it."""
    try:
        waiting = os.stat(f"{path}-wal").st_size > 0
    except OSError:
        waiting = False
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{escaped}?mode=ro&{'readonly_shm=1' if waiting else 'immutable=1'}"


def _packages(database: "sqlite3.Connection") -> Iterator[Package]:
    numbers = database.execute("SELECT hnum FROM Packages LIMIT ?", (_PACKAGES_MAX + 1,)).fetchall()
    if len(numbers) > _PACKAGES_MAX:
        raise DriverError(f"cannot list packages: there are more than {_PACKAGES_MAX}")
    for (number,) in numbers:
        # In pieces: the header of a kernel is megabytes of file names.
        with database.blobopen("Packages", "blob", number, readonly=True) as blob:

            def read(offset: int, length: int, blob: "sqlite3.Blob" = blob) -> bytes:
                if offset >= len(blob):
                    return b""
                blob.seek(offset)
                return blob.read(length)

            package = parse_header(read)
        if package is not None:
            yield package


def parse_header(read: Read) -> Package | None:
    """The package that a header describes; None for a signing key and for what is no header."""
    intro = read(0, _INTRO.size)
    if len(intro) < _INTRO.size:
        return None
    entries, _ = _INTRO.unpack(intro)
    if entries > _TAGS_MAX:
        return None
    index = read(_INTRO.size, entries * _ENTRY.size)
    data = _INTRO.size + entries * _ENTRY.size
    texts: dict[int, str] = {}
    numbers: dict[int, int] = {}
    for tag, kind, offset, _ in _ENTRY.iter_unpack(index[: len(index) // _ENTRY.size * _ENTRY.size]):
        if offset < 0:
            continue
        if tag in _TEXTS and kind in (_STRING, _I18N):
            raw = read(data + offset, _TEXT_BYTES_MAX)
            texts[tag] = intern(raw.split(b"\0", 1)[0].decode(errors="replace"))
        elif tag in _NUMBERS and kind in (_INT32, _INT64):
            numbers[tag] = int.from_bytes(read(data + offset, 4 if kind == _INT32 else 8), "big")
    return _package(texts, numbers)


def _package(texts: dict[int, str], numbers: dict[int, int]) -> Package | None:
    name = texts.get(_NAME, "")
    if name in ("", "gpg-pubkey"):
        return None
    version = f"{texts.get(_VERSION, '')}-{texts.get(_RELEASE, '')}"
    return Package(
        name,
        f"{numbers[_EPOCH]}:{version}" if _EPOCH in numbers else version,
        texts.get(_ARCH, ""),
        texts.get(_VENDOR, ""),
        _time(numbers.get(_INSTALLTIME, 0)),
        numbers.get(_LONGSIZE, numbers.get(_SIZE)),
    )


def _time(seconds: int) -> int:
    """A time that can be written with four digits of year, else 0."""
    return seconds if 0 < seconds < 2**33 else 0


def parse_query(text: str) -> Iterator[Package]:
    """What `rpm -qa` wrote in our format; a line that is not in it is none of ours."""
    for line in text.split("\n"):
        fields = ["" if field == _NONE else field[:_TEXT_BYTES_MAX] for field in line.split(_SEPARATOR)]
        if len(fields) != 7 or fields[0] in ("", "gpg-pubkey"):
            continue
        name, epoch, version, arch, vendor, installed, size = fields
        yield Package(
            name,
            f"{epoch}:{version}" if epoch else version,
            arch,
            vendor,
            _time(int(installed)) if _is_number(installed) else 0,
            int(size) if _is_number(size) else None,
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def named(packages: Iterable[Package], machine: str) -> dict[str, Json]:
    """Packages by the names under which they are told apart, in the order of names."""

    def rank(package: Package) -> tuple[str, bool, int, str, str]:
        foreign = package.arch not in (machine, "noarch")
        return (package.name, foreign, -package.installed_s, package.version, package.arch)

    apps: dict[str, Json] = {}
    for package in sorted(packages, key=rank):
        key = package.name
        if key in apps:
            other_arch = apps[key]["arch"] != package.arch
            key = f"{key}:{package.arch}" if other_arch else f"{key}={package.version}"
        if key in apps:
            key = f"{package.name}:{package.arch}={package.version}"
        apps[key] = package.show()
    return apps
