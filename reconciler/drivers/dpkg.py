"""Installed packages from dpkg's own status file; see dpkg-query(1), deb-control(5)."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

_PACKAGES_MAX = 20_000  # some 3 MiB as JSON, where a host takes 8; Debian's largest desktops have 5,000
_STATUS_BYTES_MAX = 64 * 1024 * 1024  # what so many packages with long descriptions come to
_VALUE_BYTES_MAX = 256  # names and versions are a tenth of it; a maintainer's name is cut

# The files are in place and configured; only triggers may be outstanding.
_INSTALLED = frozenset({b"installed", b"triggers-awaited", b"triggers-pending"})
_FIELDS = frozenset(
    {
        b"Package",
        b"Status",
        b"Architecture",
        b"Version",
        b"Installed-Size",
        b"Origin",
        b"Vendor",
        b"Maintainer",
        b"Multi-Arch",
    }
)
_CONTINUED = frozenset({b" ", b"\t"})  # how most lines begin, those of descriptions


class Dpkg(Source):
    """Reads the database directly: dpkg-query costs a process, python-apt 50 MiB.

    `apps`: `{dpkg: {package: {version, arch, vendor?, installed?, size?}}}`. A package goes by
    its name, and by `name:arch` where another architecture of it is there too and is the
    machine's own. `vendor` is whoever made the package, `installed` the time (RFC 3339) at which this
    version was unpacked, `size` bytes on disk.
    """

    items: ClassVar[tuple[str, ...]] = ("apps",)
    needs: ClassVar[str] = "dpkg"
    folder: ClassVar[str] = "/var/lib/dpkg"

    def __init__(self, folder: str = folder) -> None:
        self._folder = folder
        self._last: tuple[tuple[int, ...], Json] = ((), None)  # the last status file, and what it said

    @classmethod
    def available(cls) -> bool:
        return os.path.exists(os.path.join(cls.folder, "status"))

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        try:
            with open(os.path.join(self._folder, "status"), "rb") as status:
                seen = os.fstat(status.fileno())
                if seen.st_size > _STATUS_BYTES_MAX:
                    raise DriverError(
                        f"cannot list packages: dpkg's status is over {_STATUS_BYTES_MAX} bytes"
                    )
                # dpkg renames a new file into place. Two lists at once would be the most that we ever hold.
                which = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
                if which != self._last[0]:
                    self._last = (which, _named(self._app(stanza) for stanza in installed(status)))
                return {"dpkg": self._last[1]}
        except OSError as error:
            raise DriverError(f"cannot list packages: {error.filename}: {error.strerror}") from error

    def watches(self) -> Sequence[Watch]:
        """dpkg renames a new status into place after each step, and apt makes many steps."""
        return (Folders(self._folder, names=["status"], items=self.items),)

    def _app(self, stanza: dict[bytes, bytes]) -> tuple[str, Json]:
        name, arch = _text(stanza[b"Package"]), _shared(stanza.get(b"Architecture", b""))
        app: Json = {"version": _text(stanza.get(b"Version", b"")), "arch": arch}
        if vendor := vendor_of(stanza):
            app["vendor"] = vendor
        if stamp := self._unpacked(name, arch, stanza.get(b"Multi-Arch") == b"same"):
            app["installed"] = stamp
        size = stanza.get(b"Installed-Size", b"")
        if size.isdigit() and len(size) < 16:
            app["size"] = int(size) * 1024
        return name, app

    def _unpacked(self, name: str, arch: str, same: bool) -> str | None:
        """When dpkg last wrote the package's list of files, the one date that it keeps."""
        for owner in (f"{name}:{arch}", name) if same else (name, f"{name}:{arch}"):
            try:
                written = os.stat(f"{self._folder}/info/{owner}.list").st_mtime
            except (OSError, ValueError):
                continue
            return stamp(written)
        return None


def installed(lines: Iterable[bytes]) -> Iterator[dict[bytes, bytes]]:
    """The fields that we use, of each package that is installed."""
    stanza: dict[bytes, bytes] = {}
    for line in lines:
        if line[:1] in _CONTINUED:
            continue
        name, colon, value = line.partition(b":")
        if colon and name in _FIELDS:
            stanza[name] = value.strip()
        elif not colon and not line.strip():
            if _is_installed(stanza):
                yield stanza
            stanza = {}
    if _is_installed(stanza):
        yield stanza


def _is_installed(stanza: dict[bytes, bytes]) -> bool:
    """Whether the last word of `install ok installed` says so."""
    return b"Package" in stanza and stanza.get(b"Status", b"").rpartition(b" ")[2] in _INSTALLED


def vendor_of(stanza: dict[bytes, bytes]) -> str:
    """The origin if there is one, else the maintainer without the mail address; may be empty."""
    for field in (b"Origin", b"Vendor", b"Maintainer"):
        vendor = stanza.get(field, b"").partition(b"<")[0].strip()
        if vendor:
            return _shared(vendor)
    return ""


def _text(value: bytes) -> str:
    return value[:_VALUE_BYTES_MAX].decode(errors="replace")


def _shared(value: bytes) -> str:
    """Interned: a thousand packages have two architectures and some hundred vendors."""
    return intern(_text(value))


def _named(found: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    """Apps by name; of several architectures the one that dpkg itself has keeps the bare name."""
    apps: dict[str, Json] = {}
    doubles: list[tuple[str, Json]] = []
    for name, app in found:
        if len(apps) + len(doubles) >= _PACKAGES_MAX:
            raise DriverError(f"cannot list packages: there are more than {_PACKAGES_MAX}")
        if name in apps:
            doubles.append((name, app))
        else:
            apps[name] = app
    native = apps["dpkg"]["arch"] if "dpkg" in apps else ""
    for name, app in doubles:
        if app["arch"] == native:
            apps[name], app = app, apps[name]
        apps[f"{name}:{app['arch']}"] = app
    return apps
