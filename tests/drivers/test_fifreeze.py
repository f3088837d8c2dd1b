"""The driver's own part: what it sees, whom it lets run, and what wakes it."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.drivers.fifreeze import FiFreeze
from reconciler.errors import DriverError, Forbidden
from reconciler.guarding.ledger import Ledger
from reconciler.resources.filesystems import Freeze, Freezer, PastFreeze
from reconciler.subjects.mounts import Mount, choose
from tests.loop_mounts import PATIENCE_S, Writer, loop_mount, private_mounts, run

FREEZER: type[Freezer] = FiFreeze  # holds the driver to its port, for the type checker


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[FiFreeze]:
    """One that sees nothing outside the test's folder. Ask for `disk` before, to be in its namespace."""
    (tmp_path / "freeze.d").mkdir(mode=0o755)
    memory = Path(f"/dev/shm/fifreeze-test-{os.getpid()}")
    driver = FiFreeze(f"{memory}/freeze.json", str(tmp_path / "freeze.d"), str(tmp_path))
    yield driver
    driver.close()
    if memory.exists():
        for left in memory.iterdir():
            left.unlink()
        memory.rmdir()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with private_mounts():
        mounted = loop_mount(tmp_path / "image", tmp_path / "disk", "ext4", 32)
        yield mounted
        run("umount", "--lazy", str(mounted))


def is_ringing(driver: FiFreeze, wait_s: float) -> bool:
    """Whether it wakes whoever watches it, and takes that in."""
    (watch,) = driver.watches()
    poll = select.poll()
    poll.register(watch.fileno(), select.POLLIN)
    return bool(poll.poll(wait_s * 1000)) and watch.drain()


def hook(driver: FiFreeze, name: str, mode: int = 0o755) -> Path:
    path = Path(driver._hooks_folder) / name
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(mode)
    return path


def test_it_looks_without_rights_and_without_a_guardian(driver: FiFreeze) -> None:
    seen = driver.look()
    assert (seen.mounts, seen.epoch, seen.freeze, seen.last) == ((), 0, None, None)
    assert all(mount.size > 0 for mount in FiFreeze().look().mounts if not mount.why_not)


def test_what_the_ledger_says_is_seen(driver: FiFreeze) -> None:
    ledger = Ledger(driver._ledger.path)
    mounts = [{"path": "/data", "device": "8:1"}]
    assert ledger.begin(7, 160.0, mounts, "a lack") == 1
    expected = Freeze(1, 7, 160.0, ("8:1",), ("/data",), guarded=False, note="a lack")
    assert driver.look().freeze == expected
    ledger.end("LeaseEnded")
    ledger.complain(["a hook failed"])
    assert driver.look().last == PastFreeze(1, 7, "LeaseEnded", "a hook failed")
    assert ledger.begin(8, 160.0, mounts, "") == 2


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="torn"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b'{"bootId": "another", "epoch": 9, "held": {}}', id="of another boot"),
    ],
)
def test_a_ledger_that_says_nothing_of_this_boot_is_none(driver: FiFreeze, content: bytes) -> None:
    path = Path(driver._ledger.path)
    path.parent.mkdir()
    path.write_bytes(content)
    assert driver.look().freeze is None
    assert driver.look().epoch == 0


def test_without_a_freeze_there_is_nothing_to_thaw_or_renew(driver: FiFreeze) -> None:
    driver.thaw()
    driver.cancel()
    with pytest.raises(DriverError, match="no freeze of generation 7 holds"):
        driver.renew(7, 60.0)


@pytest.mark.root
def test_a_mount_that_is_gone_is_refused(driver: FiFreeze, tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"cannot freeze .*/gone: No such file or directory"):
        driver.freeze(7, 60.0, [Mount(1, str(tmp_path / "gone"), "ext4", "8:1")])


@pytest.mark.root
def test_a_path_that_leads_to_another_mount_is_refused(driver: FiFreeze, tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="something else was mounted there meanwhile"):
        driver.freeze(7, 60.0, [Mount(-1, str(tmp_path), "ext4", "8:1")])


@pytest.mark.root
@pytest.mark.parametrize("mode", [pytest.param(0o775, id="group"), pytest.param(0o757, id="others")])
def test_a_hook_that_others_may_write_is_refused(driver: FiFreeze, mode: int) -> None:
    hook(driver, "10-db", mode)
    with pytest.raises(
        DriverError, match=r"cannot freeze: .*/10-db belongs to another user, or others may write"
    ):
        driver.freeze(7, 60.0, [])


@pytest.mark.root
def test_a_hook_that_the_policy_forbids_refuses_the_freeze(driver: FiFreeze, tmp_path: Path) -> None:
    hook(driver, "10-db")
    driver.forbidden_commands = (f"{tmp_path}/*",)
    with pytest.raises(Forbidden, match=r"10-db is forbidden by the guest's policy"):
        driver.freeze(7, 60.0, [])


def test_a_mount_that_the_policy_forbids_refuses_the_freeze_of_all(driver: FiFreeze) -> None:
    driver.forbidden_paths = ("/srv",)
    data = Mount(id=1, path="/srv/data", type="ext4", device="9:9")
    with pytest.raises(Forbidden, match=r"/srv/data.*forbid\.paths"):
        driver.freeze(1, 5, [data])
    driver.trim("t", 0, [data])
    assert "forbid.paths" in driver.look().trimmed["refused"]["/srv/data"]


@pytest.mark.root
def test_a_thaw_does_not_wait_for_a_freeze_under_way(disk: Path, driver: FiFreeze) -> None:
    begun, over = disk.parent / "begun", disk.parent / "over"
    os.mkfifo(begun)
    os.mkfifo(over)
    hook(driver, "10-slow").write_text(f"#!/bin/sh\n[ $1 = thaw ] || {{ echo >{begun}; read _ <{over}; }}\n")
    errors: list[DriverError] = []

    def freeze() -> None:
        with pytest.raises(DriverError) as caught:
            driver.freeze(1, 5, choose(driver.look().mounts, []))
        errors.append(caught.value)

    freezing = threading.Thread(target=freeze, daemon=True)
    freezing.start()
    begun.read_text()
    assert driver._link is not None
    guardian = driver._link.pid
    driver.thaw()
    freezing.join(PATIENCE_S)
    assert "given up" in str(errors[0])
    assert driver._link.lives()
    assert driver._link.pid == guardian, "nobody had to be killed for it"
    over.write_text("\n")


@pytest.mark.root
def test_a_mount_point_of_any_name_is_seen(disk: Path, driver: FiFreeze) -> None:
    strange = disk.parent / "a\rb\u2028c"
    strange.mkdir()
    run("mount", "--bind", str(disk), str(strange))
    assert {mount.path for mount in driver.look().mounts} == {str(disk), str(strange)}
    run("umount", str(strange))


@pytest.mark.root
def test_it_sees_mounts_and_what_backs_them(disk: Path, driver: FiFreeze) -> None:
    (mount,) = driver.look().mounts
    assert (mount.path, mount.type, mount.why_not) == (str(disk), "ext4", "")
    assert 0 < mount.used < mount.size < 32 << 20
    number = disk.stat().st_dev
    assert mount.device == f"{os.major(number)}:{os.minor(number)}"


@pytest.mark.root
def test_a_mount_that_another_hides_cannot_freeze(disk: Path, driver: FiFreeze) -> None:
    run("mount", "-t", "tmpfs", "none", str(disk))
    (mount,) = driver.look().mounts
    assert mount.why_not == "another mount hides it"
    run("umount", str(disk))
    (mount,) = driver.look().mounts
    assert mount.why_not == ""


@pytest.mark.root
def test_changes_of_mounts_wake_it(disk: Path, driver: FiFreeze) -> None:
    is_ringing(driver, 0)
    assert not is_ringing(driver, 0)
    run("mount", "-o", "remount,ro", str(disk))
    assert is_ringing(driver, PATIENCE_S)
    assert not is_ringing(driver, 0)


@pytest.mark.root
def test_the_end_of_a_lease_wakes_it_and_a_renewal_does_not(disk: Path, driver: FiFreeze) -> None:
    driver.freeze(7, 1.0, choose(driver.look().mounts, ()))
    is_ringing(driver, 0)
    driver.renew(7, 1.0)
    assert not is_ringing(driver, 0)
    assert is_ringing(driver, PATIENCE_S)
    assert driver.look().last == PastFreeze(1, 7, "LeaseEnded")
    assert not is_ringing(driver, 0)


@pytest.mark.root
def test_the_death_of_the_guardian_wakes_it_once(disk: Path, driver: FiFreeze) -> None:
    driver.freeze(7, 60.0, choose(driver.look().mounts, ()))
    writer = Writer(disk)
    assert writer.is_blocked()
    is_ringing(driver, 0)
    assert driver._link is not None
    os.kill(driver._link.pid, signal.SIGKILL)
    assert is_ringing(driver, PATIENCE_S)
    freeze = driver.look().freeze
    assert freeze is not None
    assert not freeze.guarded
    assert not is_ringing(driver, 0)
    driver.thaw()
    writer.done_s()
    assert driver.look().last == PastFreeze(1, 7, "GuardianDied")


@pytest.mark.root
def test_a_lazily_unmounted_filesystem_is_thawed_too(disk: Path, driver: FiFreeze) -> None:
    driver.freeze(7, 60.0, choose(driver.look().mounts, ()))
    folder = os.open(disk, os.O_RDONLY)
    run("umount", "--lazy", str(disk))
    driver.thaw()
    os.mkdir("written", dir_fd=folder)  # or this sleeps for ever
    os.close(folder)
    run("mount", "-o", "loop", str(disk.parent / "image"), str(disk))


@pytest.mark.root
def test_trim_tells_what_it_did(disk: Path, driver: FiFreeze) -> None:
    mounts = driver.look().mounts
    gone = Mount(1, str(disk / "gone"), "ext4", "8:1")
    driver.trim("t1", 4096, (*mounts, gone))
    trimmed = driver.look().trimmed
    assert trimmed["token"] == "t1"
    assert 1 << 20 < trimmed["trimmed"][str(disk)] < 32 << 20
    assert trimmed["refused"] == {str(disk / "gone"): "No such file or directory"}
