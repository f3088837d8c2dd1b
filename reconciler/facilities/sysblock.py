"""What lies beneath a mounted filesystem, as /sys tells it: disks, and images in files.

The way down: a partition stands in its disk's folder; LVM, LUKS, md and bcache name what
they are made of in `slaves`; a loop device names its file, which lies in a filesystem of
its own; btrfs, whose device numbers are made up, lists its devices in /sys/fs/btrfs.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from reconciler.subjects.mounts import Line, holder

SYS = "/sys"
UDEV = "/run/udev"

_TEXT_BYTES_MAX = 4096  # what sysfs gives at once, a page
_UDEV_BYTES_MAX = 16 * 1024  # of what udev keeps of one device; 2 KiB are usual

_DEVICES_MAX = 1024  # looked at for one filesystem; a RAID of hundreds of disks is rare
_ANONYMOUS = "0:"  # how the numbers begin that belong to no block device


@dataclass(frozen=True)
class Beneath:
    """What one filesystem lies on."""

    disks: tuple[str, ...] = ()  # kernel names, sorted
    backed_by: tuple[str, ...] = ()  # MAJOR:MINOR of filesystems that hold images of it directly


def beneath(line: Line, lines: Sequence[Line], hidden_ids: frozenset[int], sys: str = SYS) -> Beneath:
    """Follow a mount down to disks, through images in other mounts. Opens no file but in /sys."""
    disks: set[str] = set()
    seen: set[str] = {line.device}
    backed_by: list[str] = []
    pending = [line]
    while pending and len(seen) <= _DEVICES_MAX:
        mount = pending.pop()
        for device in _walk(numbers(mount, sys), sys):
            image = text(f"{device}/loop/backing_file")
            if image is None:
                disks.add(os.path.basename(device))
                continue
            below = holder(image, lines, hidden_ids)
            if below is None:
                continue
            if mount is line and below.device not in backed_by:
                backed_by.append(below.device)
            if below.device not in seen:
                seen.add(below.device)
                pending.append(below)
    return Beneath(tuple(sorted(disks)), tuple(backed_by))


def numbers(line: Line, sys: str = SYS) -> tuple[str, ...]:
    """MAJOR:MINOR of the block devices that a filesystem says it is on; none for tmpfs and the like."""
    if not line.device.startswith(_ANONYMOUS):
        return (line.device,)
    # bcachefs joins its devices with colons; a by-path link to one device may contain colons too.
    sources = re.split(":(?=/dev/)", line.source) if line.type == "bcachefs" else [line.source]
    found = {number for source in sources if (number := _number(source))}
    for number in tuple(found):
        found |= set(_together(number, sys))
    return tuple(sorted(found))


def text(path: str) -> str | None:
    """What a file of sysfs says, without the line's end; None when there is no such file."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_TEXT_BYTES_MAX) or b""
    except OSError:
        return None
    return os.fsdecode(data).strip("\n\0 ")


def entries(path: str) -> list[str]:
    """The names in a folder of sysfs, sorted; none when there is no such folder."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def properties(number: str, udev: str = UDEV) -> dict[str, str]:
    """What udev found out about a block device: ID_FS_UUID_ENC and so on; empty without udev."""
    try:
        with open(f"{udev}/data/b{number}", "rb", buffering=0) as file:
            data = file.read(_UDEV_BYTES_MAX) or b""
    except (OSError, ValueError):
        return {}
    pairs = (
        line[2:].partition("=") for line in data.decode(errors="replace").split("\n") if line[:2] == "E:"
    )
    return {name: _decoded(value) for name, _, value in pairs}


def _decoded(value: str) -> str:
    """Undo the hexadecimal escapes of names that end in _ENC; others have none."""
    return re.sub(r"(?:\\x[0-9a-f]{2})+", _bytes, value)


def _bytes(escaped: re.Match[str]) -> str:
    return bytes.fromhex(escaped[0].replace("\\x", "")).decode(errors="replace")


def _number(source: str) -> str | None:
    """MAJOR:MINOR of a device file; None for what is none."""
    if not source.startswith("/dev/"):
        return None
    try:
        seen = os.stat(source)
    except OSError:
        return None
    if not stat.S_ISBLK(seen.st_mode):
        return None
    return f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}"


def _together(number: str, sys: str) -> Iterator[str]:
    """The devices of the btrfs that a device belongs to."""
    name = os.path.basename(os.path.realpath(f"{sys}/dev/block/{number}"))
    for filesystem in entries(f"{sys}/fs/btrfs"):
        devices = f"{sys}/fs/btrfs/{filesystem}/devices"
        names = entries(devices)
        if name in names:
            yield from (found for device in names if (found := text(f"{devices}/{device}/dev")))


def _walk(start: Collection[str], sys: str) -> Iterator[str]:
    """The folders of the devices at the bottom: whole disks, and loop devices."""
    pending = [os.path.realpath(f"{sys}/dev/block/{number}") for number in start]
    seen: set[str] = set()
    while pending and len(seen) < _DEVICES_MAX:
        device = pending.pop()
        if device in seen or not os.path.isdir(device):
            continue
        seen.add(device)
        if os.path.exists(f"{device}/partition"):
            pending.append(os.path.dirname(device))
            continue
        slaves = entries(f"{device}/slaves")
        pending += [os.path.realpath(f"{device}/slaves/{slave}") for slave in slaves]
        if not slaves:
            yield device
