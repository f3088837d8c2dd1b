"""The timezone from /etc/localtime and the C library; see localtime(5) and tzset(3)."""

import os
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import CREATE, SETTLED, Folders
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_FOLDER = "zoneinfo/"
_NAME_CHARS_MAX = 128  # the longest of the tz database has 32


class Localtime(Source):
    """`timezone`: `{name?, abbreviation, utcOffset, dst}`: seconds east of Greenwich, right now.

    The name is that of the tz database. A guest whose /etc/localtime is a copy and who has no
    /etc/timezone does not know it, and it is left out.
    """

    items: ClassVar[tuple[str, ...]] = ("timezone",)
    needs: ClassVar[str] = "a clock"

    def __init__(self, etc: str = "/etc") -> None:
        self._etc = etc

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        # A symbolic link is never closed after writing: that it is there is all that is told of it.
        return (Folders(self._etc, names=("localtime", "timezone"), mask=SETTLED | CREATE, items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        time.tzset()  # looks whether the file is another one by now
        now = time.localtime()
        name = self._name()
        return ({"name": name} if name else {}) | {
            "abbreviation": now.tm_zone,
            "utcOffset": now.tm_gmtoff,
            "dst": now.tm_isdst > 0,
        }

    def _name(self) -> str:
        try:
            _, found, name = os.readlink(f"{self._etc}/localtime").rpartition(_FOLDER)
        except FileNotFoundError:
            return "UTC"  # what the C library takes then
        except OSError:
            found = name = ""  # a copy: EINVAL
        return name[:_NAME_CHARS_MAX] if found else self._debian_name()

    def _debian_name(self) -> str:
        try:
            with open(f"{self._etc}/timezone", "rb") as file:
                return file.read(_NAME_CHARS_MAX).decode("ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DriverError(f"cannot read {self._etc}/timezone: {error.strerror}") from error
