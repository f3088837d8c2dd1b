"""Mounted filesystems: what mountinfo says of them, which can freeze, and in what order."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.errors import Unsupported

USED_STEP_PERCENT = 5  # what a host is told of; finer steps would make a quiet guest talk
FROZEN_MAX = 256  # of filesystems frozen at once; a desktop full of snaps has 40 mounts

# Those whose super_operations have freeze_fs or freeze_super (linux/fs.h); any other says EOPNOTSUPP.
FREEZABLE = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "gfs2", "jfs", "nilfs2", "reiserfs", "xfs"}
)


@dataclass(frozen=True)
class Line:
    """One line of mountinfo, see proc_pid_mountinfo(5)."""

    id: int  # grows with time
    parent: int
    device: str  # MAJOR:MINOR of the superblock
    path: str
    type: str
    source: str
    read_only: bool  # the filesystem, not only this mount of it


@dataclass(frozen=True)
class Mount:
    """A mounted filesystem that lies on a disk."""

    id: int
    path: str
    type: str
    device: str  # MAJOR:MINOR of the superblock; two mounts of one filesystem share it
    disks: tuple[str, ...] = ()  # kernel names of the whole disks behind it
    size: int = 0  # bytes
    used: int = 0
    why_not: str = ""  # why it cannot freeze; empty: it can
    backed_by: tuple[str, ...] = ()  # devices of the filesystems that hold the images of its loop devices


def parse(mountinfo: str) -> tuple[Line, ...]:
    """The lines that make sense, in their order."""
    return tuple(line for text in mountinfo.split("\n") if (line := _parse_line(text)))


def hidden(lines: Sequence[Line]) -> frozenset[int]:
    """Ids of mounts that no path leads to, because another lies over them or over the way to them."""
    by_id = {line.id: line for line in lines}
    newest: dict[tuple[int, str], int] = {}  # by parent and path; a guest with containers has 1,000 mounts
    for line in lines:
        if line.parent != line.id:
            newest[line.parent, line.path] = max(line.id, newest.get((line.parent, line.path), 0))

    def shadowed(line: Line) -> bool:
        """Whether another mount on the same parent lies over this one, or over the way to it."""
        if newest.get((line.parent, line.path), line.id) != line.id:
            return True
        return any((line.parent, folder) in newest for folder in _above(line.path))

    def unreachable(line: Line) -> bool:
        return (line.id, line.path) in newest or any(shadowed(step) for step in _ancestry(line, by_id))

    return frozenset(line.id for line in lines if unreachable(line))


def why_not(line: Line, hidden_ids: frozenset[int]) -> str:
    """Why this mount cannot freeze; empty where it can."""
    if line.type not in FREEZABLE:
        return f"{line.type} cannot freeze"
    if line.read_only:
        return "it is read-only, so there is nothing to freeze"
    return "another mount hides it" if line.id in hidden_ids else ""


def holder(path: str, lines: Sequence[Line], hidden_ids: frozenset[int]) -> Line | None:
    """The mount in which a path lies, found without touching it."""
    fitting = [line for line in lines if line.id not in hidden_ids and _is_below(path, line.path)]
    return max(fitting, key=lambda line: len(line.path), default=None)


def one_of_each(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """The oldest mount of each filesystem, one that can freeze where there is one."""
    oldest: dict[str, Mount] = {}
    for mount in sorted(mounts, key=lambda m: (bool(m.why_not), m.id)):
        oldest.setdefault(mount.device, mount)
    return tuple(oldest.values())


def fitting(mounts: Sequence[Mount], paths: Sequence[str]) -> tuple[Mount, ...]:
    """Those at `paths`, or without paths all that can freeze."""
    if not paths:
        return tuple(mount for mount in mounts if not mount.why_not)
    return tuple(mount for mount in mounts if mount.path in paths)


def choose(mounts: Sequence[Mount], paths: Sequence[str]) -> tuple[Mount, ...]:
    """What to freeze, in order. Raises Unsupported for a path that cannot freeze, or if nothing can."""
    for path in paths:
        here = [mount for mount in mounts if mount.path == path]
        if not here:
            raise Unsupported(f"cannot freeze {path}: no filesystem on a disk is mounted there")
        if all(mount.why_not for mount in here):
            raise Unsupported(f"cannot freeze {path}: {here[-1].why_not}")
    chosen = one_of_each([mount for mount in fitting(mounts, paths) if not mount.why_not])
    if not chosen:
        raise Unsupported("cannot freeze: no filesystem of this guest can")
    if len(chosen) > FROZEN_MAX:
        raise Unsupported(f"cannot freeze {len(chosen)} filesystems: the limit is {FROZEN_MAX}")
    backed_by = {mount.device: mount.backed_by for mount in mounts}
    return tuple(sorted(chosen, key=lambda m: (-_depth(m.device, backed_by), -m.id)))


def show(mount: Mount, frozen: bool) -> dict[str, object]:
    """What a host is told of it: the same as long as nothing worth telling changed."""
    shown: dict[str, object] = {
        "path": mount.path,
        "type": mount.type,
        "device": mount.device,
        "frozen": frozen,
        "canFreeze": not mount.why_not,
        "size": mount.size,
    }
    if mount.size:
        percent = 100 * mount.used // mount.size
        shown["usedPercent"] = percent - percent % USED_STEP_PERCENT
    return shown | ({"disks": list(mount.disks)} if mount.disks else {})


def _parse_line(text: str) -> Line | None:
    front, _, back = text.partition(" - ")
    try:
        number, parent, device, _, path, *_ = front.split(" ")
        kind, source, options = back.split(" ")
        ids = int(number), int(parent)
    except ValueError:
        return None
    return Line(*ids, device, _plain(path), kind, _plain(source), "ro" in options.split(","))


def _plain(escaped: str) -> str:
    """Undo the octal escapes of space, tab, line feed and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)


def _ancestry(line: Line, by_id: Mapping[int, Line]) -> Iterator[Line]:
    """A mount, the one it is mounted in, and so on up to the root."""
    for _ in by_id:  # a chain is no longer than that
        yield line
        if line.parent == line.id or line.parent not in by_id:
            return
        line = by_id[line.parent]


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in, the root last."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _depth(device: str, backed_by: Mapping[str, tuple[str, ...]], above: tuple[str, ...] = ()) -> int:
    """How many filesystems lie one in another below this one."""
    if device in above:
        return 0  # backing_file of a loop device may name a path that means another file by now
    below = [_depth(lower, backed_by, (*above, device)) for lower in backed_by.get(device, ())]
    return 1 + max(below) if below else 0
