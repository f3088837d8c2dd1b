"""Files whole or not at all, whatever fails, whoever dies and whoever meddles."""

import ctypes
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.files import openat
from reconciler.drivers.files.openat import Openat
from reconciler.errors import DriverError
from reconciler.resources.files import Terms
from reconciler.subjects.file_states import SCRATCH, Seen
from tests.loop_mounts import loop_mount, private_mounts, run

OLD, NEW = b"old\n", b"new, and longer\n"
PLAIN = Terms()


@pytest.fixture
def driver() -> Openat:
    return Openat()


@pytest.fixture
def motd(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return old_file(tmp_path / "etc/motd")


def old_file(path: Path) -> Path:
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def look(driver: Openat, path: Path) -> Seen:
    return driver.look(str(path), digest=True)


_CALLS = ("open", "write", "fchmod", "fchown", "fsync", "link", "rename", "unlink", "listxattr", "setxattr")


class Os:
    """The module os, of which one call that counts does what `instead` does."""

    def __init__(self, number: int, instead: Callable[[], Any], *, without_tmpfile: bool = False) -> None:
        self._left = number
        self._instead = instead
        self._without_tmpfile = without_tmpfile

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in _CALLS else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if name == "open" and self._without_tmpfile and args[1] & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            self._left -= 1
            if self._left == 0:
                self._instead()
            return real(*args, **more)

        return call

    @property
    def ended(self) -> bool:
        """Whether so many calls were not made at all."""
        return self._left > 0


WRITES = [
    pytest.param(False, False, id="nameless"),
    pytest.param(True, False, id="named"),
    pytest.param(False, True, id="with-backup"),
    pytest.param(True, True, id="named-with-backup"),
]


@pytest.mark.parametrize(("without_tmpfile", "backup"), WRITES)
def test_a_full_disk_at_any_step_leaves_one_or_the_other_and_no_litter(
    driver: Openat, motd: Path, monkeypatch: pytest.MonkeyPatch, without_tmpfile: bool, backup: bool
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    terms, names = Terms(mode=0o600, backup=backup), ["motd", "motd~"]
    for number in range(1, 99):
        motd.write_bytes(OLD)
        faulty = Os(number, full, without_tmpfile=without_tmpfile)
        with monkeypatch.context() as patch, suppress(DriverError):
            patch.setattr(openat, "os", faulty)
            driver.write(str(motd), NEW, terms)
        assert motd.read_bytes() in (OLD, NEW)
        assert set(os.listdir(motd.parent)) <= set(names)
        if faulty.ended:
            break
    assert faulty.ended
    assert number > 8
    assert motd.read_bytes() == NEW


@pytest.mark.parametrize(
    "without_tmpfile", [pytest.param(False, id="nameless"), pytest.param(True, id="named")]
)
def test_whoever_keeps_our_scratch_for_himself_gains_nothing(
    driver: Openat, motd: Path, monkeypatch: pytest.MonkeyPatch, without_tmpfile: bool
) -> None:
    """In a folder of all he makes it anew each time that we have removed it."""
    scratch = motd.with_name(SCRATCH)

    class Kept(Os):
        def __getattr__(self, name: str) -> Any:
            if name in ("link", "open"):
                scratch.touch()
            return super().__getattr__(name)

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for number in range(1, 99):
        faulty = Kept(number, full, without_tmpfile=without_tmpfile)
        with monkeypatch.context() as patch, suppress(DriverError):
            patch.setattr(openat, "os", faulty)
            driver.write(str(motd), NEW, PLAIN)
        assert set(os.listdir(motd.parent)) <= {"motd", SCRATCH}, "no litter of ours"
        if faulty.ended:
            break
    assert motd.read_bytes() == NEW


@pytest.mark.parametrize(("without_tmpfile", "backup"), WRITES)
def test_death_at_any_step_leaves_one_or_the_other_and_the_next_write_tidies(
    driver: Openat, motd: Path, without_tmpfile: bool, backup: bool
) -> None:
    terms = Terms(mode=0o600, backup=backup)
    for number in range(1, 99):
        motd.write_bytes(OLD)
        child = os.fork()
        if child == 0:
            dying = Os(number, lambda: os._exit(1), without_tmpfile=without_tmpfile)
            openat.os = dying  # type: ignore[assignment, attr-defined]
            with suppress(BaseException):
                driver.write(str(motd), NEW, terms)
                os._exit(0)
            os._exit(2)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 1)
        assert motd.read_bytes() in (OLD, NEW)
        assert set(os.listdir(motd.parent)) <= {"motd", "motd~", SCRATCH}
        if code == 0:
            break
        driver.write(str(motd), NEW, terms)
        assert set(os.listdir(motd.parent)) <= {"motd", "motd~"}
    assert code == 0
    assert number > 8


def test_it_is_on_the_disk_before_it_has_its_name(
    driver: Openat, motd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **more: Any) -> Any:
            done.append(name)
            return real(*args, **more)

        return call

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return (
                noted(name) if name in ("write", "fchmod", "fsync", "link", "rename") else getattr(os, name)
            )

    monkeypatch.setattr(openat, "os", Noting())
    driver.write(str(motd), NEW, PLAIN)
    assert done == ["write", "fchmod", "fsync", "link", "rename", "fsync"]


def test_whoever_swaps_names_reaches_nothing_outside(driver: Openat, tmp_path: Path) -> None:
    """The owner of the folder turns it and the file into links to elsewhere, as fast as possible."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(OLD)
    home = tmp_path / "home"
    (home / "d").mkdir(parents=True)
    (home / "l").symlink_to(outside)
    over = threading.Event()
    folder = os.open(home / "d", os.O_RDONLY)  # his own, whatever its name is just now

    def swap() -> None:
        while not over.is_set():
            exchange(home / "d", home / "l")
            with suppress(OSError):
                os.unlink("x", dir_fd=folder)
                os.symlink(outside / "x", "x", dir_fd=folder)
            with suppress(OSError):
                os.unlink(SCRATCH, dir_fd=folder)
                os.link(outside / "x", SCRATCH, dst_dir_fd=folder)

    attacker = threading.Thread(target=swap)
    attacker.start()
    wrote = 0
    try:
        for number in range(600):
            with suppress(DriverError):
                driver.write(f"{home}/d/x", NEW, Terms(mode=0o666, backup=bool(number % 2)))
                wrote += 1
            with suppress(DriverError):
                driver.adjust(f"{home}/d/x", Terms(mode=0o666))
            with suppress(DriverError):
                driver.remove(f"{home}/d/x", backup=False)
            driver.look(f"{home}/d/x", digest=True)
    finally:
        over.set()
        attacker.join()
        os.close(folder)
    assert (outside / "x").read_bytes() == OLD
    assert stat.S_IMODE((outside / "x").stat().st_mode) == 0o644
    assert os.listdir(outside) == ["x"]
    assert wrote


def exchange(one: Path, other: Path) -> None:
    """Two names for each other, in one step: renameat2(2) with RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), "cannot exchange")


# On a filesystem of its own


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("disk")
    with private_mounts():
        mount = loop_mount(root / "image", root / "mnt", "ext4", 8)
        yield mount
        run("umount", str(mount))


@pytest.fixture
def shelf(disk: Path, request: pytest.FixtureRequest) -> Path:
    """A folder on it."""
    folder: Path = disk / request.node.name
    folder.mkdir()
    return folder


# linux/posix_acl_xattr.h: user::rw-, user:65534:rw-, group::r--, mask::rw-, other::---
ACL_OF_NOBODY = bytes.fromhex(
    "0200000001000600ffffffff02000600feff000004000400ffffffff10000600ffffffff20000000ffffffff"
)
CAPABILITY = bytes.fromhex("0000000200200000000000000000000000000000")  # linux/capability.h: revision 2


@pytest.mark.root
def test_keeps_attributes_and_takes_no_acl_from_the_folder(driver: Openat, shelf: Path) -> None:
    motd = old_file(shelf / "motd")
    os.setxattr(motd, "user.note", b"by hand")
    os.setxattr(motd, "security.selinux", b"system_u:object_r:etc_t:s0")
    os.setxattr(motd, "security.capability", CAPABILITY)
    os.setxattr(motd, "system.posix_acl_access", ACL_OF_NOBODY)
    os.setxattr(shelf, "system.posix_acl_default", ACL_OF_NOBODY)
    driver.write(str(motd), NEW, PLAIN)
    kept = {name: os.getxattr(motd, name) for name in os.listxattr(motd)}
    assert kept == {
        "user.note": b"by hand",
        "security.selinux": b"system_u:object_r:etc_t:s0",
        "system.posix_acl_access": ACL_OF_NOBODY,
    }
    driver.write(f"{shelf}/new", NEW, Terms(mode=0o660))
    assert os.listxattr(shelf / "new") == []
    driver.write(str(motd), NEW, Terms(uid=0, gid=0, mode=0o640, secret=True))
    assert os.listxattr(motd) == ["security.selinux"]  # and nobody reads it by the ACL of what was there


@pytest.mark.root
def test_of_somebody_elses_file_nothing_is_kept_that_lets_him_in(driver: Openat, shelf: Path) -> None:
    path = shelf / "key"
    path.write_bytes(OLD)
    path.chmod(0o666)
    os.chown(path, 1000, 1000)
    os.setxattr(path, "user.note", b"his")
    driver.write(str(path), NEW, Terms(uid=0))
    seen = look(driver, path)
    assert (seen.uid, seen.gid, seen.mode) == (0, 0, 0o644)
    assert os.listxattr(path) == []
    os.chown(path, 1000, 1000)
    driver.write(str(path), NEW, PLAIN)
    assert (look(driver, path).uid, look(driver, path).gid) == (1000, 1000)
    driver.adjust(str(path), Terms(uid=0, gid=0))
    assert (look(driver, path).uid, look(driver, path).gid) == (0, 0)


@pytest.mark.root
def test_a_file_that_she_may_have_moved_there_is_not_given_to_her(driver: Openat, shelf: Path) -> None:
    os.chown(shelf, 1000, 1000)
    key = old_file(shelf / "key")
    key.chmod(0o600)
    loose = look(driver, key).loose
    assert loose.startswith(f"{shelf} belongs to ")
    with pytest.raises(DriverError, match=f"cannot change {key}: {loose}, so it may be another file"):
        driver.adjust(str(key), Terms(uid=1000))
    assert (look(driver, key).uid, look(driver, key).mode) == (0, 0o600)
    os.chown(key, 1000, 1000)
    driver.adjust(str(key), Terms(mode=0o640))  # her own, in her own
    assert look(driver, key).mode == 0o640


@pytest.mark.root
def test_what_an_administrator_has_fixed_is_said(driver: Openat, shelf: Path) -> None:
    motd = old_file(shelf / "motd")
    for path, words in ((motd, "it is immutable"), (shelf, "its folder is immutable")):
        immutable(path, on=True)
        try:
            assert look(driver, motd).obstacle == f"{words} (chattr +i)"
            with pytest.raises(DriverError, match=r"cannot write .*: Operation not permitted"):
                driver.write(str(motd), NEW, PLAIN)
        finally:
            immutable(path, on=False)
    assert motd.read_bytes() == OLD
    assert os.listdir(shelf) == ["motd"]


@pytest.mark.root
def test_a_filesystem_that_is_read_only_is_said(driver: Openat, disk: Path, shelf: Path) -> None:
    motd = old_file(shelf / "motd")
    run("mount", "-o", "remount,ro", str(disk))
    try:
        for path in (motd, shelf / "new"):
            assert look(driver, path).obstacle == "its filesystem is read-only"
            with pytest.raises(DriverError, match=r"cannot write .*: Read-only file system"):
                driver.write(str(path), NEW, PLAIN)
    finally:
        run("mount", "-o", "remount,rw", str(disk))


@pytest.mark.root
def test_a_disk_that_is_really_full_keeps_the_old_one(driver: Openat, shelf: Path) -> None:
    motd = old_file(shelf / "motd")
    with (shelf / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))
    with pytest.raises(DriverError, match="No space left on device"):
        driver.write(str(motd), bytes(400_000), Terms(backup=True))
    assert sorted(os.listdir(shelf)) == ["filler", "motd"]
    (shelf / "filler").unlink()
    driver.write(str(motd), NEW, PLAIN)
    assert motd.read_bytes() == NEW


def immutable(path: Path, *, on: bool) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x4008_6602, (0x10 if on else 0).to_bytes(8, "little"))  # FS_IOC_SETFLAGS
    finally:
        os.close(fd)
