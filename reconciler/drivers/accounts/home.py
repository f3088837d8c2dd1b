"""A home folder and the keys in it, opened so that its owner can lead us nowhere else.

1. The way to the home is walked folder by folder. A symbolic link on it counts only where
   nobody but root can write.
2. From the home on nothing is a link, and all is done with the owner's own rights
   (setfsuid(2)), in this thread alone. What he swaps meanwhile leads to nothing that was not his.
3. A new file takes the place of the old one. It is never written into: it may have other names.
4. A home that we make has its name when it is whole, on the disk, and its owner's; not before.

What sshd(8) takes is in StrictModes of sshd_config(5): nothing there may be written by others.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, ELOOP, ENOTDIR, EPERM

from reconciler.errors import DriverError
from reconciler.subjects.people import ssh_keys
from reconciler.subjects.people.changes import Keys

FILE_BYTES_MAX = 1 << 20  # some thousand keys; sshd reads it at each login
KEYS = ".ssh/authorized_keys"  # unless sshd_config(5) says otherwise
_SSH, _FILE, _SCRATCH = ".ssh", "authorized_keys", ".authorized_keys.new"
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_MAX = 40  # of path_resolution(7)
_TRIES = 3  # its owner may write keys just now; who does so all the time is told
_NUMBERS = 1 << 32
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Unsafe(Exception):
    """Why nothing may be done there."""


def owner(path: str) -> int | None:
    """The number of whom a home folder belongs to; None where there is none to be reached."""
    try:
        folder = _walk(path)
    except (OSError, Unsafe):
        return None
    try:
        return os.fstat(folder).st_uid
    finally:
        os.close(folder)


def unmounted(path: str, fstab: str = "/etc/fstab", mounts: str = "/proc/self/mountinfo") -> str:
    """A mount point of fstab(5) on the way to a folder where nothing is mounted, or nothing."""
    awaited = {line[1] for line in _words(fstab) if len(line) > 1 and not line[0].startswith("#")}
    there = {line[4] for line in _words(mounts) if len(line) > 4}
    lacking = (place for place in awaited - there if f"{path}/".startswith(f"{place.rstrip('/')}/"))
    return next((place for place in sorted(lacking) if place.startswith("/")), "")


def _words(path: str) -> list[list[str]]:
    try:
        with open(path, errors="surrogateescape") as file:
            return [line.split() for line in file]
    except FileNotFoundError:
        return []


def keys(path: str, uid: int, gid: int) -> Keys:
    """The keys in a home folder; why they are not to be touched, where that is so."""
    try:
        with _opened(path, uid, gid) as home, ExitStack() as stack:
            loose = _is_loose(home)
            try:
                ssh = _folder(home, uid, stack)
            except FileNotFoundError:
                return Keys(loose=loose)
            text, status = _text(ssh, uid)
            loose = loose or _is_loose(ssh) or bool(status and status.st_mode & _OTHERS_WRITE)
            return Keys(
                ours=ssh_keys.ours(text),
                others=ssh_keys.others(text),
                mentioned=ssh_keys.mentioned(text),
                loose=loose,
            )
    except FileNotFoundError:
        return Keys()
    except Unsafe as why:
        return Keys(fault=str(why))
    except OSError as error:
        return Keys(fault=f"{path}/{_SSH} cannot be read: {error.strerror}")


def write_keys(path: str, uid: int, gid: int, wanted: Sequence[str]) -> None:
    """Make these our keys and no others. Raises DriverError."""
    try:
        with _opened(path, uid, gid) as home, ExitStack() as stack:
            with suppress(FileExistsError):
                os.mkdir(_SSH, 0o700, dir_fd=home)
            ssh = _folder(home, uid, stack)
            for folder in (home, ssh):
                if _is_loose(folder):
                    os.fchmod(folder, stat.S_IMODE(os.fstat(folder).st_mode) & ~_OTHERS_WRITE)
            for _ in range(_TRIES):
                text, status = _text(ssh, uid)
                if _replace(ssh, ssh_keys.with_ours(text, wanted), status):
                    return
            raise Unsafe(f"{_FILE} is being changed by somebody else")
    except Unsafe as why:
        raise DriverError(f"cannot write keys: {why}") from None
    except OSError as error:
        raise DriverError(f"cannot write keys in {path}: {error.strerror}") from error


def make(
    path: str, uid: int, gid: int, skel: str = "/etc/skel", label: Callable[[str], None] = lambda _: None
) -> None:
    """Make a home folder as useradd(8) does, whole or not at all. Raises DriverError.

    `label` is called with the path that it has until it is whole.
    """
    above, name = os.path.split(path.rstrip("/"))
    scratch = f".{name}.new"
    try:
        folder = _walk(above, make=True)
        try:
            if not _is_roots(folder):
                raise Unsafe(f"others can write to {above}")
            _fill(folder, scratch, (uid, gid), skel)
            label(os.path.join(above, scratch))
            os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
            _sync(f"/proc/self/fd/{folder}/.")
        finally:
            os.close(folder)
    except Unsafe as why:
        raise DriverError(f"cannot make {path}: {why}") from None
    except OSError as error:
        # shutil's own errors list all files, and have no other words.
        raise DriverError(f"cannot make {path}: {error.strerror or f'{skel} cannot be copied'}") from error


def _walk(path: str, *, make: bool = False) -> int:
    """A descriptor (O_PATH) of a folder. Raises Unsafe, and OSError where there is none."""
    parts, links = path.split("/")[::-1], 0
    here = os.open("/", _STEP)
    try:
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if make and _is_roots(here):
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=here)
                    os.chmod(part, 0o755, dir_fd=here)  # whatever the agent's umask; only root can write here
            try:
                there = os.open(part, _STEP, dir_fd=here)
            except OSError as error:
                if error.errno not in (ELOOP, ENOTDIR) or links == _LINKS_MAX:
                    raise
                target, links = _link(here, part), links + 1
                parts += target.split("/")[::-1]
                there = os.open("/" if target.startswith("/") else ".", _STEP, dir_fd=here)
            os.close(here)
            here = there
    except BaseException:
        os.close(here)
        raise
    return here


def _link(folder: int, name: str) -> str:
    if not _is_roots(folder):
        raise Unsafe(f"{name} on the way to the home folder is a link that somebody may have planted")
    return os.readlink(name, dir_fd=folder)


def _is_roots(folder: int) -> bool:
    """Whether nobody else can put anything there."""
    status = os.fstat(folder)
    return status.st_uid == 0 and not status.st_mode & _OTHERS_WRITE


@contextmanager
def _opened(path: str, uid: int, gid: int) -> Iterator[int]:
    """A descriptor of somebody's home, and his rights as long as it is open."""
    found = _walk(path)
    try:
        if os.fstat(found).st_uid != uid or path.strip("/") == "":
            raise Unsafe(f"the home folder {path} belongs to somebody else")
        with _rights_of(uid, gid):
            home = os.open(".", _FOLDER, dir_fd=found)
            try:
                yield home
            finally:
                os.close(home)
    finally:
        os.close(found)


@contextmanager
def _rights_of(uid: int, gid: int) -> Iterator[None]:
    # Late: ctypes takes 0.4 MiB, and few documents write keys. It is our thread's alone; os.seteuid is not.
    import ctypes

    libc = ctypes.CDLL(None)
    before = libc.setfsuid(-1), libc.setfsgid(-1)
    try:
        libc.setfsgid(gid)
        libc.setfsuid(uid)
        # Both fail in silence; and they answer with a signed number.
        if (libc.setfsuid(-1) % _NUMBERS, libc.setfsgid(-1) % _NUMBERS) != (uid, gid):
            raise Unsafe("the agent cannot take its owner's rights")
        yield
    finally:
        libc.setfsuid(before[0])
        libc.setfsgid(before[1])


def _folder(home: int, uid: int, stack: ExitStack) -> int:
    try:
        ssh = os.open(_SSH, _FOLDER, dir_fd=home)
    except OSError as error:
        if error.errno in (ELOOP, ENOTDIR):
            raise Unsafe(f"{_SSH} is not a folder but a link or a file") from None
        raise
    stack.callback(os.close, ssh)
    if os.fstat(ssh).st_uid != uid:
        raise Unsafe(f"{_SSH} belongs to somebody else")
    return ssh


def _is_loose(folder: int) -> bool:
    return bool(os.fstat(folder).st_mode & _OTHERS_WRITE)


def _text(ssh: int, uid: int) -> tuple[str, os.stat_result | None]:
    """What is in the file, and which one it was; nothing where there is none."""
    try:
        fd = os.open(_FILE, _READ, dir_fd=ssh)
    except FileNotFoundError:
        return "", None
    except OSError as error:
        if error.errno == ELOOP:
            raise Unsafe(f"{_FILE} is a symbolic link") from None
        if error.errno in (EACCES, EPERM):
            raise Unsafe(f"{_FILE} cannot be read with its owner's rights") from None
        raise
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Unsafe(f"{_FILE} is no regular file")
        if status.st_uid != uid:
            raise Unsafe(f"{_FILE} belongs to somebody else")
        if status.st_nlink != 1:
            raise Unsafe(f"{_FILE} has other names too (hard links)")
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise Unsafe(f"{_FILE} is longer than {FILE_BYTES_MAX} bytes")
    return data.decode(errors="surrogateescape"), status


def _is_still(ssh: int, seen: os.stat_result | None) -> bool:
    """Whether the file is the one that was read, with what it held then."""
    try:
        now = os.stat(_FILE, dir_fd=ssh, follow_symlinks=False)
    except FileNotFoundError:
        return seen is None
    return seen is not None and _version(now) == _version(seen)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _replace(ssh: int, text: str, seen: os.stat_result | None) -> bool:
    """Put a new file in the place of the one that was seen; False where that is another one by now."""
    mode = 0o600 if seen is None else seen.st_mode & 0o777 & ~_OTHERS_WRITE
    with suppress(FileNotFoundError):  # an earlier attempt was cut off
        os.unlink(_SCRATCH, dir_fd=ssh)
    try:
        with open(os.open(_SCRATCH, _NEW, 0o600, dir_fd=ssh), "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        # Between these two calls somebody may still come; without it, there is as long as a disk takes.
        if not _is_still(ssh, seen):
            os.unlink(_SCRATCH, dir_fd=ssh)
            return False
        os.rename(_SCRATCH, _FILE, src_dir_fd=ssh, dst_dir_fd=ssh)
    except OSError:
        with suppress(OSError):
            os.unlink(_SCRATCH, dir_fd=ssh)
        raise
    os.fsync(ssh)
    return True


def _fill(above: int, name: str, owner: tuple[int, int], skel: str) -> None:
    """A folder of root's with a copy of /etc/skel, on the disk, given away as the last thing."""
    # Late: a home is made once in the life of an account.
    import shutil

    shutil.rmtree(name, ignore_errors=True, dir_fd=above)  # an earlier attempt was cut off
    os.mkdir(name, 0o700, dir_fd=above)
    folder = os.open(name, _FOLDER, dir_fd=above)
    try:
        place = f"/proc/self/fd/{folder}"
        if os.path.isdir(skel):
            shutil.copytree(skel, place, symlinks=True, dirs_exist_ok=True)
        for here, folders, files in os.walk(place):
            for each in (*folders, *files):
                os.chown(f"{here}/{each}", *owner, follow_symlinks=False)
                _sync(f"{here}/{each}")
        os.chmod(place, 0o700)  # useradd's HOME_MODE may be wider; a person can open it
        os.fchown(folder, *owner)
        os.fsync(folder)
    finally:
        os.close(folder)


def _sync(path: str) -> None:
    """Have a file or folder on the disk, of those where only root can write; a link comes with its folder."""
    if os.path.islink(path):
        return
    fd = os.open(path, _READ)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
