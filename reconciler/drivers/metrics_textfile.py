"""User-defined metrics from files in Prometheus' text format that others leave in a folder."""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

FOLDER = "/var/lib/guest-reconciler/metrics"

_FILES_MAX = 64  # as many jobs as a guest has; all of them together share the limit on series
_NAME_MAX = 128  # characters, with the suffix
_SUFFIX = ".prom"


class _Refused(Exception):
    """Why one file is not read."""


class MetricsTextfile(Source):
    """`metrics`: `{textfile: {series, families, files}}`, or nothing while there is no folder.

    `series` is `{'name{label="value"}': number}`, with NaN, +Inf and -Inf as text;
    `families` is `{name: {type?, help?}}`; `files` is `{file: {written, series}}`, or
    `{file: {written?, fault}}` for one that is refused, which costs itself only. `written`
    (RFC 3339) lets the reader judge how stale a value is: a job may run every minute or
    once a week, and only its owner knows.

    Only files named `*.prom` count. A writer writes under another name and renames, so
    that nobody sees half a file. Links, devices and files that everybody may write to are
    refused: so nobody can have another's file read, or speak in another's name.
    """

    items: ClassVar[tuple[str, ...]] = ("metrics",)
    needs: ClassVar[str] = "folders"

    def __init__(self, folder: str = FOLDER) -> None:
        self._folder = folder

    @classmethod
    def available(cls) -> bool:
        return True  # the folder may come later

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        try:
            names = sorted(name for name in os.listdir(self._folder) if _counts(name))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise DriverError(f"cannot read metrics in {self._folder}: {error.strerror}") from error
        # Late, here and below: few guests have metrics of their own.
        from reconciler.protocols.prometheus import gather

        files: dict[str, dict[str, Json]] = {}
        gathered = gather(self._texts(names[:_FILES_MAX], files))
        for name, series in gathered.counts.items():
            files[name]["series"] = series
        for name, fault in gathered.faults.items():
            files[name]["fault"] = fault
        for name in names[_FILES_MAX : 2 * _FILES_MAX]:
            files[name] = {"fault": f"there are more than {_FILES_MAX} files"}
        return {"textfile": {"series": gathered.series, "families": gathered.families, "files": files}}

    def watches(self) -> Sequence[Watch]:
        return (Folders(self._folder, suffix=_SUFFIX, items=self.items),)

    def _texts(self, names: Sequence[str], files: dict[str, dict[str, Json]]) -> Iterator[tuple[str, bytes]]:
        """The files that may be read; what is known of each goes into `files`."""
        for name in names:
            files[name] = {}
            try:
                written_s, text = _read(os.path.join(self._folder, name))
            except _Refused as refused:
                files[name]["fault"] = str(refused)
            except FileNotFoundError:
                del files[name]  # replaced or removed while we looked; there will be an event
            except OSError as error:
                files[name]["fault"] = str(error.strerror)
            else:
                files[name]["written"] = stamp(written_s)
                yield name, text


def _counts(name: str) -> bool:
    return (
        name.endswith(_SUFFIX) and not name.startswith(".") and len(name) <= _NAME_MAX and name.isprintable()
    )


def _read(path: str) -> tuple[int, bytes]:
    """When it was written and what is in it. Raises _Refused, OSError."""
    from reconciler.protocols.prometheus import TEXT_BYTES_MAX

    # Looked at before it is opened: to open a device can already do something.
    _check(os.lstat(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        seen = os.fstat(descriptor)
        _check(seen)
        # One byte over the limit, so that the parser can say that it is too long.
        return max(0, int(seen.st_mtime)), file.read(TEXT_BYTES_MAX + 1) or b""


def _check(seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise _Refused("it is not a regular file")
    if seen.st_mode & stat.S_IWOTH:
        raise _Refused("everybody may write to it")
