"""Files whole or not at all, by openat(2) and its kin, which follow no symbolic link.

Safe in folders that belong to somebody else, who may swap names while we work:

1. A path is walked folder by folder, each opened below the one before and never through a link;
   from then on its descriptor is meant, whatever its name has become. (openat2(2) can do the same
   in one call; but systemd's RestrictSUIDSGID= forbids it, since no filter can see its mode.)
2. What is written is a new file, made in the folder and given its owner and mode through its
   descriptor. Whoever has the old one open, or linked it there from elsewhere, has no part in it.
3. Of the old file nothing is believed that its owner could use against the new one.

What was written is on the disk before it gets its name, and the name is before we return.
"""

import errno
import fcntl
import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from struct import Struct
from typing import TypeVar

from reconciler.drivers.files.digests import Digests
from reconciler.errors import DriverError, Forbidden
from reconciler.facilities.inotify import Following
from reconciler.resources.files import Paths, Terms
from reconciler.subjects.file_states import MODE_NEW, SCRATCH, Seen

T = TypeVar("T")

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# ioctl_iflags(2)
_GET_FLAGS = 0x8008_6601
_FLAGS = Struct("l")
_FIXED = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
_ACL = "system.posix_acl_access"
_LABELS = ("security.selinux", "security.SMACK64")  # security.capability goes, as with any write; write(2)
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)  # open(2): older kernels, NFS, FAT


class Openat(Paths):
    file_folders: tuple[str, ...] | None = None  # the policy's; None: everywhere
    own_paths: tuple[str, ...] = ()  # the agent's, with all below them: its policy, its state

    def __init__(self) -> None:
        self._changes = Following()
        self._digests = Digests()

    @classmethod
    def available(cls) -> bool:
        return True

    def watches(self) -> tuple[Following, ...]:
        return (self._changes,)

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def follow(self, paths: Iterable[str]) -> None:
        wanted = frozenset(paths)
        self._digests.keep(wanted)
        if not wanted:
            self._changes.follow((), ())
            return
        # With the names of users and groups, which files may have to wait for.
        names = {os.path.basename(path) for path in wanted} | {"passwd", "group"}
        self._changes.follow({os.path.dirname(path) for path in wanted} | {"/etc"}, names)

    def user(self, name: str) -> int | None:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
        return None

    def group(self, name: str) -> int | None:
        with suppress(KeyError):
            return grp.getgrnam(name).gr_gid
        return None

    def look(self, path: str, *, digest: bool) -> Seen:
        self._check(path)
        try:
            with _folder_of(path) as folder, _regular(folder) as file:
                if file is None:
                    return Seen(obstacle=_fixed(folder))
                return _seen(file, folder, self._digests.of(path, file) if digest else "")
        except _Nowhere as why:
            return Seen(obstacle=str(why))
        except _Obstacle as why:
            return Seen(state="other", obstacle=str(why))
        except OSError as error:  # of this file alone: the others can do without it
            return Seen(state="other", obstacle=f"it cannot be read: {error.strerror}")

    def write(self, path: str, content: bytes | bytearray, terms: Terms) -> None:
        with self._acting("write", path) as folder, _regular(folder) as old:
            with suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(SCRATCH, dir_fd=folder.fd)  # an earlier attempt was cut off
            with _fresh(folder) as (file, scratch):
                _fill(file, content)
                _dress(file, old, terms)
                os.fsync(file)
                if terms.backup and old is not None:
                    _keep(folder)
                _put(file, scratch, folder)
            os.fsync(folder.fd)

    def adjust(self, path: str, terms: Terms) -> None:
        with self._acting("change", path) as folder, _regular(folder) as file:
            if file is None:
                raise _Obstacle("there is no such file")
            status = os.fstat(file)
            if status.st_nlink > 1:
                raise _Obstacle(f"it has {status.st_nlink} names (hard links), and all would change")
            if loose := _loose(folder, status.st_uid):
                raise _Obstacle(f"{loose}, so it may be another file")
            os.fchown(file, -1 if terms.uid is None else terms.uid, -1 if terms.gid is None else terms.gid)
            os.fchmod(file, status.st_mode & 0o777 if terms.mode is None else terms.mode)
            os.fsync(file)

    def remove(self, path: str, *, backup: bool) -> None:
        with self._acting("remove", path) as folder, _regular(folder) as file:
            if file is None:
                return
            if backup:
                os.rename(folder.name, f"{folder.name}~", src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            else:
                os.unlink(folder.name, dir_fd=folder.fd)
            os.fsync(folder.fd)

    @contextmanager
    def _acting(self, verb: str, path: str) -> Iterator["_Folder"]:
        self._check(path)
        try:
            with _folder_of(path) as folder:
                yield folder
        except _Obstacle as why:
            raise DriverError(f"cannot {verb} {path}: {why}") from None
        except OSError as error:
            raise DriverError(f"cannot {verb} {path}: {error.strerror}") from None

    def _check(self, path: str) -> None:
        if any(f"{path}/".startswith(f"{own}/") for own in self.own_paths):
            raise Forbidden(f"cannot manage {path}: it is the agent's own")
        allowed = self.file_folders
        if allowed is not None and not any(path.startswith(f"{folder.rstrip('/')}/") for folder in allowed):
            raise Forbidden(
                f"cannot manage files of {path}: forbidden by the guest's policy (allow-files-in)"
            )


class _Obstacle(Exception):
    """Why nothing is done at a path."""


class _Nowhere(_Obstacle):
    """There is no folder for it, so it is not there either."""


@dataclass(frozen=True)
class _Folder:
    """The folder of a path, open, and the last name of the path."""

    fd: int
    name: str
    way: tuple[tuple[str, os.stat_result], ...] = ()  # each folder from the root on, the last one too


@contextmanager
def _folder_of(path: str) -> Iterator[_Folder]:
    """Raises _Obstacle where the way is not one of folders alone, OSError."""
    *parts, name = path.split("/")[1:]
    here = os.open("/", _STEP)
    way = [("/", os.fstat(here))]
    try:
        for depth, part in enumerate(parts, 1):
            path = "/" + "/".join(parts[:depth])
            here = _step(here, part, path)
            way.append((path, os.fstat(here)))
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)
    try:
        yield _Folder(fd, name, tuple(way))
    finally:
        os.close(fd)


def _step(here: int, part: str, path: str) -> int:
    """The folder `part` below `here`, which is closed instead."""
    try:
        below = os.open(part, _STEP, dir_fd=here)
    except FileNotFoundError:
        raise _Nowhere(f"there is no folder {path}") from None
    except NotADirectoryError:
        raise _no_folder(here, part, path) from None
    os.dup2(below, here, inheritable=False)
    os.close(below)
    return here


def _no_folder(here: int, part: str, path: str) -> _Obstacle:
    try:
        return _Obstacle(f"{path} is a symbolic link to {os.readlink(part, dir_fd=here)}")
    except OSError:
        return _Nowhere(f"{path} is no folder")


@contextmanager
def _regular(folder: _Folder) -> Iterator[int | None]:
    """The file, open for reading; None where there is none. Raises _Obstacle for anything else there."""
    try:
        found = os.open(folder.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    except FileNotFoundError:
        yield None
        return
    try:
        # To open anything else could block, or make a device do something.
        mode = os.fstat(found).st_mode
        if stat.S_ISLNK(mode):
            raise _Obstacle(f"it is a symbolic link to {os.readlink('', dir_fd=found)}")
        if not stat.S_ISREG(mode):
            raise _Obstacle("it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")
        file = os.open(f"/proc/self/fd/{found}", _READ)
    finally:
        os.close(found)
    try:
        yield file
    finally:
        os.close(file)


def _loose(folder: _Folder, uid: int) -> str:
    """Why others than root and `uid` can have another file under this path; empty where they cannot.

    In place it is then not to be changed: they might move somebody else's file there, and have it.
    """
    for path, status in folder.way:
        if status.st_uid not in (0, uid):
            return f"{path} belongs to {_name_of(status.st_uid)}"
        # Where it is sticky nobody moves another's folder; but anybody's file can be moved into it.
        sticky = status.st_mode & stat.S_ISVTX and path != folder.way[-1][0]
        if status.st_mode & 0o022 and not sticky:
            return f"others can write in {path}"
    return ""


def _seen(file: int, folder: _Folder, digest: str) -> Seen:
    status = os.fstat(file)
    return Seen(
        state="file",
        digest=digest,
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        owner=_name_of(status.st_uid),
        group=_group_of(status.st_gid),
        names=status.st_nlink,
        loose=_loose(folder, status.st_uid),
        obstacle="it is immutable (chattr +i)" if _flags(file) & _FIXED else _fixed(folder),
    )


def _fixed(folder: _Folder) -> str:
    """Why nothing in a folder can be changed; empty where it can."""
    if os.fstatvfs(folder.fd).f_flag & os.ST_RDONLY:
        return "its filesystem is read-only"
    return "its folder is immutable (chattr +i)" if _flags(folder.fd) & _FIXED else ""


def _flags(fd: int) -> int:
    """What chattr(1) has set; 0 where the filesystem has no such flags."""
    try:
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GET_FLAGS, _FLAGS.pack(0)))
    except OSError:
        return 0
    return int(flags)


@contextmanager
def _fresh(folder: _Folder) -> Iterator[tuple[int, str]]:
    """A new file of this folder, and its name for the time being; empty where it needs none yet."""
    try:
        file, scratch = os.open(".", os.O_TMPFILE | _WRITE, 0o600, dir_fd=folder.fd), ""
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        new = os.O_CREAT | os.O_EXCL | _WRITE
        file, scratch = _free_name(lambda name: os.open(name, new, 0o600, dir_fd=folder.fd))
    try:
        yield file, scratch
    except BaseException:
        with suppress(OSError):
            os.unlink(scratch or SCRATCH, dir_fd=folder.fd)
        raise
    finally:
        os.close(file)


def _put(file: int, scratch: str, folder: _Folder) -> None:
    """Give a new file its name in one step, for which it needs another one before."""
    if not scratch:
        ours = f"/proc/self/fd/{file}"
        _, scratch = _free_name(lambda name: os.link(ours, name, dst_dir_fd=folder.fd))
    try:
        os.rename(scratch, folder.name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except OSError:
        with suppress(OSError):
            os.unlink(scratch, dir_fd=folder.fd)
        raise


def _free_name(take: Callable[[str], T]) -> tuple[T, str]:
    """Take SCRATCH, or where somebody else keeps it, as in a folder of all, a name that nobody can guess."""
    try:
        return take(SCRATCH), SCRATCH
    except FileExistsError:
        name = f"{SCRATCH.rstrip('~')}-{os.urandom(8).hex()}~"
        return take(name), name


def _fill(file: int, content: bytes | bytearray) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _dress(file: int, old: int | None, terms: Terms) -> None:
    """Owners, attributes and mode: as the terms say, else as the old file's, else as usual."""
    now = os.fstat(file)
    before = os.fstat(old) if old is not None else now
    uid = before.st_uid if terms.uid is None else terms.uid
    kept = old if before.st_uid in (0, uid) else None
    gid = (before.st_gid if kept is not None else now.st_gid) if terms.gid is None else terms.gid
    if (uid, gid) != (now.st_uid, now.st_gid):
        os.fchown(file, uid, gid)
    with suppress(OSError):  # a folder's default would let in others than the mode says
        os.removexattr(file, _ACL)
    if kept is not None:
        _copy_attributes(kept, file, labels_only=terms.secret)
    usual = before.st_mode & 0o777 if kept is not None else MODE_NEW
    os.fchmod(file, usual if terms.mode is None else terms.mode)


def _copy_attributes(old: int, file: int, *, labels_only: bool) -> None:
    try:
        names = os.listxattr(old)
    except OSError:
        return  # a filesystem without any
    for name in names:
        if name in _LABELS or (not labels_only and (name == _ACL or name.startswith("user."))):
            os.setxattr(file, name, os.getxattr(old, name))


def _keep(folder: _Folder) -> None:
    """Give the old file a second name, NAME~, which it keeps when it loses the first."""
    kept = f"{folder.name}~"
    with suppress(FileNotFoundError):
        os.unlink(kept, dir_fd=folder.fd)
    os.link(folder.name, kept, src_dir_fd=folder.fd, dst_dir_fd=folder.fd, follow_symlinks=False)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
