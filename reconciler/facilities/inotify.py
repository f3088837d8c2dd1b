"""Wake-ups from inotify(7): which names in which folders have changed.

A folder need not exist yet. Until it does, its nearest existing ancestor is
watched for the name that is missing, and so on down; a folder that is removed
or renamed away is waited for in the same way. A full queue reads as a change.
A rename further up the path than that goes unnoticed, and so does all that happens in a
folder that we may not read, or to which no way leads.
"""

import errno
import os
import struct
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from select import EPOLLIN, epoll

from reconciler.errors import DriverError, Unsupported

# linux/inotify.h
ATTRIB = 0x0004
CLOSE_WRITE = 0x0008
MOVED_FROM = 0x0040
MOVED_TO = 0x0080
CREATE = 0x0100
DELETE = 0x0200
_DELETE_SELF = 0x0400
_MOVE_SELF = 0x0800
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLY_DIRECTORY = 0x0100_0000

# A file is worth a look when it is whole: closed after writing, or renamed into place.
SETTLED = CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE
_APPEARED = CREATE | MOVED_TO
_GONE = _DELETE_SELF | _MOVE_SELF

_HEADER = struct.Struct("iIII")  # wd, mask, cookie, length of the name with its padding
_READ_BYTES = 16 * 1024  # some 60 events of the longest name; the rest is read in the next round
_ROUNDS_MAX = 16  # a folder that changes faster than we read must not hold the loop
_LIMITS = (errno.ENOSPC, errno.ENOMEM)  # whatever the folder; all else that is refused is this one's own


@dataclass(frozen=True)
class Event:
    """One `struct inotify_event`."""

    watch: int
    mask: int
    name: str = ""  # within the folder; empty when the folder itself is meant


def parse(data: bytes) -> Iterator[Event]:
    """The events in what one read(2) of an inotify descriptor returned."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        watch, mask, _, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        name = data[offset : offset + length].split(b"\0", 1)[0]
        yield Event(watch, mask, os.fsdecode(name))
        offset += length


class Folders:
    """A `Watch` on folders: all names in them, or only those in `names` or with a `suffix`.

    `mask` says what counts as a change of an entry, in the constants above; `items` is
    for whoever asks what the watch is about. Raises Unsupported where the kernel has no
    inotify, DriverError when its limits are spent.
    """

    def __init__(
        self,
        *folders: str,
        names: Collection[str] = (),
        suffix: str = "",
        mask: int = SETTLED,
        items: tuple[str, ...] = (),
    ) -> None:
        self.items = items
        self._folders = tuple(os.path.abspath(folder) for folder in folders)
        self._names = frozenset(names)
        self._suffix = suffix
        self._mask = mask
        self._reached: set[int] = set()  # watches on the folders themselves
        self._awaited: dict[int, set[str]] = {}  # names that are missing on the way to one
        self._kernel = _Kernel()
        try:
            self._arm()
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        return self._kernel.fd

    def drain(self) -> bool:
        """Take in what has come, without blocking; whether anything watched has changed."""
        changed = False
        for _ in range(_ROUNDS_MAX):
            try:
                data = os.read(self._kernel.fd, _READ_BYTES)
            except BlockingIOError:
                break
            for event in parse(data):
                changed = self._take(event) or changed
        return changed

    def close(self) -> None:
        self._kernel.close()

    def _take(self, event: Event) -> bool:
        ours = event.watch in self._reached or event.watch in self._awaited
        lost = ours and event.mask & (_IGNORED | _GONE)
        found = event.mask & _APPEARED and event.name in self._awaited.get(event.watch, ())
        if lost or found or event.mask & _OVERFLOW:
            self._begin_anew()
            return True
        wanted = (not self._names or event.name in self._names) and event.name.endswith(self._suffix)
        return wanted and event.watch in self._reached and bool(event.mask & self._mask)

    def _begin_anew(self) -> None:
        self._arm()

    def _arm(self) -> None:
        """Watch every folder, or what exists of the way to it, from nothing."""
        for watch in {*self._reached, *self._awaited}:
            self._kernel.remove(watch)
        self._reached.clear()
        self._awaited.clear()
        for folder in self._folders:
            # Not reached: a part of the way appeared between our look and our watch.
            with suppress(_Unwatched):
                while not self._reach(folder):
                    pass

    def _reach(self, folder: str) -> bool:
        here, missing = folder, ""
        while (watch := self._kernel.add(here, self._mask | _APPEARED | _GONE)) is None:
            here, missing = os.path.split(here)
        if not missing:
            self._reached.add(watch)
            return True
        self._awaited.setdefault(watch, set()).add(missing)
        return not os.path.isdir(os.path.join(here, missing))


class _Passing(Folders):
    """Folders that are watched until it would have to begin anew: others are made then."""

    over = False

    def _begin_anew(self) -> None:
        self.over = True


class Following:
    """A `Watch` on folders that come and go with the document, under one descriptor.

    `follow` is called in a job's thread, where a dead network filesystem may keep it; `drain`
    is not, so it only takes over what is ready, and is rung for when there is something. Where folders
    come or go it reads as a change, and the `follow` of the look that comes of it watches them anew.
    """

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = epoll()
        self._poll.register(self._bell, EPOLLIN)
        self._wanted: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._folders: _Passing | None = None
        self._coming: deque[_Passing | None] = deque()
        self._blind = False  # nothing is watched since some folder came or went

    def fileno(self) -> int:
        return self._poll.fileno()

    def follow(self, folders: Collection[str], names: Collection[str]) -> None:
        """Watch these names in these folders, and what is done to their modes, and nothing else."""
        wanted = frozenset(folders), frozenset(names)
        if wanted == self._wanted:
            return
        coming = None
        if folders:
            try:
                coming = _Passing(*sorted(folders), names=names, mask=SETTLED | ATTRIB)
            except (DriverError, Unsupported):
                return  # the slow pass sees it; and the next look tries again
            self._poll.register(coming.fileno(), EPOLLIN)
        self._wanted = wanted
        self._coming.append(coming)
        os.eventfd_write(self._bell, 1)

    def drain(self) -> bool:
        changed = False
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._coming:
            old, self._folders = self._folders, self._coming.popleft()
            if old is not None:
                changed = old.drain() or changed
                old.close()
            changed, self._blind = changed or self._blind, False  # what happened meanwhile was not seen
        if self._folders is not None:
            changed = self._folders.drain() or changed
            if self._folders.over:
                self._drop()
                self._blind = True
        return changed

    def close(self) -> None:
        self.drain()
        self._drop()
        self._poll.close()
        os.close(self._bell)

    def _drop(self) -> None:
        if self._folders is not None:
            self._folders.close()
        self._folders, self._wanted = None, (frozenset(), frozenset())


class _Unwatched(Exception):
    """The kernel will not have this folder watched."""


class _Kernel:
    """The three calls of inotify(7), through libc: the standard library has none."""

    def __init__(self) -> None:
        # Late: ctypes takes 0.4 MiB, and a guest may watch nothing.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._errno = ctypes.get_errno
        try:
            create: Callable[[int], int] = libc.inotify_init1
            self._add: Callable[[int, bytes, int], int] = libc.inotify_add_watch
            self._remove: Callable[[int, int], int] = libc.inotify_rm_watch
        except AttributeError:
            raise Unsupported("cannot watch folders: this system has no inotify") from None
        self.fd = create(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise DriverError(f"cannot watch folders: {os.strerror(self._errno())}")

    def add(self, folder: str, mask: int) -> int | None:
        """The number of the watch; None when there is no such folder. Raises _Unwatched, DriverError."""
        # One inode has one watch, and a second call replaces its mask: callers always give the same.
        watch = self._add(self.fd, os.fsencode(folder), mask | _ONLY_DIRECTORY)
        if watch >= 0:
            return watch
        error = self._errno()
        if error in (errno.ENOENT, errno.ENOTDIR) and folder != "/":
            return None
        if error in _LIMITS:
            raise DriverError(f"cannot watch {folder}: {os.strerror(error)}")
        raise _Unwatched

    def remove(self, watch: int) -> None:
        self._remove(self.fd, watch)  # fails when its folder is gone, and the watch with it

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
