"""Kernel and names from uname(2), /etc/hostname and /etc/hosts; no name server is asked."""

import os
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.facilities.polled import PolledFile
from reconciler.resource import Json, Watch
from reconciler.resources.hostname import fqdn_of, static_of
from reconciler.resources.report import Source

_FILE_BYTES_MAX = 1024 * 1024  # of /etc/hosts, which some fill with thousands of names to block
_NAMES = ("hostname", "fqdn")


class Uname(Source):
    """`kernel`: `{name, release, version}`; `hostname`: `{static?, transient}`; `fqdn`: text.

    The kernel's command line is left out: some put secrets there. The fqdn is what the
    guest itself knows, as hostname(1) finds it in /etc/hosts; where it has no domain the
    plain name stands. A resolver could block for half a minute, and is not asked.
    """

    items: ClassVar[tuple[str, ...]] = ("kernel", "hostname", "fqdn")
    needs: ClassVar[str] = "uname(2)"

    def __init__(self, etc: str = "/etc") -> None:
        self._etc = etc

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        files = Folders(self._etc, names=("hostname", "hosts"), items=_NAMES)
        try:
            return files, PolledFile("/proc/sys/kernel/hostname", items=_NAMES)
        except OSError:
            return (files,)  # a container may hide it

    def read(self, item: str) -> Json:
        kernel = os.uname()
        match item:
            case "kernel":
                return {"name": kernel.sysname, "release": kernel.release, "version": kernel.version}
            case "hostname":
                static = static_of(self._text("hostname"))
                return ({"static": static} if static else {}) | {"transient": kernel.nodename}
            case "fqdn":
                name = static_of(self._text("hostname")) or kernel.nodename
                return fqdn_of(self._text("hosts"), name) or name
            case _:
                raise AssertionError(item)

    def _text(self, name: str) -> str:
        try:
            with open(f"{self._etc}/{name}", "rb") as file:
                return file.read(_FILE_BYTES_MAX).decode(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DriverError(f"cannot read {self._etc}/{name}: {error.strerror}") from error
