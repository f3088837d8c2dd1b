"""Mounted filesystems that lie on disks, from mountinfo and statvfs(3)."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.sysblock import SYS, UDEV, beneath, numbers, properties
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source
from reconciler.subjects.mounts import Line, hidden, parse

# The first is what the guest sees; a sandbox of systemd's gives the agent a table of its own.
TABLES = ("/proc/1/mountinfo", "/proc/self/mountinfo")

_TABLE_BYTES_MAX = 4 * 1024 * 1024  # twenty times that of a host with a thousand containers
_READ_BYTES = 64 * 1024
_MOUNTS_MAX = 512  # the oldest; a node of an orchestrator has some hundred on disks
_OPTIONS_MAX = 64  # of one mount; a dozen is usual
_TEXT_CHARS_MAX = 256  # of a device, an option, a label; paths are as long as they are

_ON_DISKS = frozenset({"bcachefs", "btrfs", "zfs"})  # although the number of their device is made up
# Whoever answers for these is another machine or a process, and may never do it.
_MAY_HANG = re.compile(r"nfs|cifs|smb|fuse|ceph|9p|afs|autofs|gluster|lustre|ocfs2|gfs2|virtiofs")


class Mountinfo(Source):
    """`filesystems`: `{path: filesystem}`, for each mount of one that lies on disks.

    A filesystem is `{type, device, options, readOnly, disks, size?, used?, available?, files?,
    filesUsed?, label?, uuid?}`. Sizes are bytes, and the same for all mounts of one
    filesystem. They are left out where to ask could hang (a network filesystem on the way
    to it), and where other mounts lie over all of its own. `disks` are the names of the
    whole disks behind it, through partitions, LVM, LUKS, md, bcache and images.
    """

    items: ClassVar[tuple[str, ...]] = ("filesystems",)
    needs: ClassVar[str] = "/proc/self/mountinfo"

    def __init__(self, tables: Sequence[str] = TABLES, sys: str = SYS, udev: str = UDEV) -> None:
        self._tables = tuple(tables)
        self._sys = sys
        self._udev = udev

    @classmethod
    def available(cls) -> bool:
        return os.path.exists(TABLES[-1])

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        table = self._table()
        lines = parse(table)
        hidden_ids = hidden(lines)
        on_disks = [line for line in lines if _is_on_disks(line)][:_MOUNTS_MAX]
        # What another mount lies over cannot be asked, and is not in anybody's way either.
        sizes = _sizes([line for line in lines if line.id not in hidden_ids])
        options = dict(options_of(table))
        devices: dict[str, Json] = {}  # what all mounts of one filesystem share
        found: dict[str, Json] = {}
        for line in on_disks:
            path = _clean(line.path)
            if path in found and line.id in hidden_ids:
                continue
            if line.device not in devices:
                disks = beneath(line, lines, hidden_ids, self._sys).disks
                devices[line.device] = {"disks": list(disks), **self._names(line)}
            found[path] = {
                "type": line.type,
                "device": _clean(line.source)[:_TEXT_CHARS_MAX],
                "options": options.get(line.id, []),
                "readOnly": line.read_only or "ro" in options.get(line.id, ()),
                **devices[line.device],
                **sizes.get(line.device, {}),
            }
        return found

    def watches(self) -> Sequence[Watch]:
        return (Mounts(self._open(), self.items),)

    def _open(self) -> int:
        why = "there is no table"
        for path in self._tables:
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:  # another process's table is not for everybody
                why = f"{path}: {error.strerror}"
        raise DriverError(f"cannot list mounts: {why}")

    def _table(self) -> str:
        table = bytearray()
        with open(self._open(), "rb", buffering=0) as file:
            try:
                while data := file.read(_READ_BYTES):
                    table += data
                    if len(table) > _TABLE_BYTES_MAX:
                        raise DriverError(f"cannot list mounts: their table is over {_TABLE_BYTES_MAX} bytes")
            except OSError as error:
                raise DriverError(f"cannot list mounts: {error.strerror}") from error
        return os.fsdecode(bytes(table))

    def _names(self, line: Line) -> dict[str, str]:
        """The label and UUID that udev found on the filesystem's first device."""
        devices = numbers(line, self._sys)
        known = properties(devices[0], self._udev) if devices else {}
        names = {"label": known.get("ID_FS_LABEL_ENC"), "uuid": known.get("ID_FS_UUID_ENC")}
        return {name: _clean(value)[:_TEXT_CHARS_MAX] for name, value in names.items() if value}


class Mounts:
    """A `Watch` on mountinfo, which shows a change as an exceptional condition; see proc(5)."""

    def __init__(self, table: int, items: tuple[str, ...]) -> None:
        """Takes over the descriptor."""
        # Late: the loop has it already, a mere reading of mounts need not.
        import select

        self.items = items
        self._table = table
        # A second poll of the same change says nothing, so epoll keeps it for the loop's own.
        self._epoll = select.epoll()
        self._epoll.register(table, select.EPOLLPRI)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def drain(self) -> bool:
        """Called when readable, which it is after a change only."""
        self._epoll.poll(0)
        return True

    def close(self) -> None:
        self._epoll.close()
        os.close(self._table)


def options_of(table: str) -> Iterator[tuple[int, list[str]]]:
    """The options of each mount by its id: its own and the filesystem's, in which `ro` outdoes `rw`."""
    for text in table.split("\n"):
        front, _, back = text.partition(" - ")
        fields = front.split(" ")
        if len(fields) < 6 or not fields[0].isdecimal():
            continue
        options = dict.fromkeys([*fields[5].split(","), *back.rpartition(" ")[2].split(",")])
        if "ro" in options:
            options.pop("rw", None)
        yield (
            int(fields[0]),
            [_clean(option)[:_TEXT_CHARS_MAX] for option in options if option][:_OPTIONS_MAX],
        )


def _is_on_disks(line: Line) -> bool:
    return not line.device.startswith("0:") or line.type in _ON_DISKS


def _sizes(visible: Sequence[Line]) -> dict[str, dict[str, int]]:
    """Of each filesystem by its device: asked once, whatever the number of its mounts."""
    slow = [line.path.rstrip("/") + "/" for line in visible if _MAY_HANG.search(line.type)]
    sizes: dict[str, dict[str, int]] = {}
    for line in filter(_is_on_disks, visible):
        on_the_way = any(f"{line.path}/".startswith(path) for path in slow)
        if line.device not in sizes and not on_the_way and (size := _size(line)):
            sizes[line.device] = size
    return sizes


def _size(line: Line) -> dict[str, int] | None:
    """None where the path leads us to another filesystem, or nowhere."""
    try:
        # Only a look at what is there now; the path may have another mount since we read the table.
        folder = os.open(line.path, os.O_PATH | os.O_CLOEXEC)
        try:
            seen, asked = os.fstat(folder), os.statvfs(folder)
        finally:
            os.close(folder)
    except (OSError, ValueError):
        return None
    # A subvolume has a number of its own, made up as the filesystem's is.
    made_up = line.type in _ON_DISKS and os.major(seen.st_dev) == 0
    if not made_up and line.device != f"{os.major(seen.st_dev)}:{os.minor(seen.st_dev)}":
        return None
    size = {
        "size": asked.f_blocks * asked.f_frsize,
        "used": (asked.f_blocks - asked.f_bfree) * asked.f_frsize,
        "available": asked.f_bavail * asked.f_frsize,
    }
    # btrfs and others make them as they need them, and count none.
    return size | (
        {"files": asked.f_files, "filesUsed": asked.f_files - asked.f_ffree} if asked.f_files else {}
    )


def _clean(text: str) -> str:
    """Fit for JSON: a path in bytes that are no text is shown with question marks."""
    return text.encode(errors="replace").decode()
