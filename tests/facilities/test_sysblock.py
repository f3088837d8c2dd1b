"""Trees of sysfs made here, of every sort of device; this machine's own; and real loop devices."""

import os
from pathlib import Path

import pytest

from reconciler.facilities import sysblock
from reconciler.facilities.sysblock import Beneath, beneath, entries, numbers, properties, text
from reconciler.subjects.mounts import Line, hidden, parse
from tests.loop_mounts import loop_mount, private_mounts, run


class Sys:
    """A sysfs on disk, laid out as the kernel does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("dev/block", "block", "fs/btrfs", "devices"):
            (root / folder).mkdir(parents=True)

    def disk(self, name: str, number: str, *slaves: str) -> Path:
        folder = self.root / "devices" / name
        (folder / "slaves").mkdir(parents=True)
        (self.root / "block" / name).symlink_to(folder)
        for slave in slaves:
            (folder / "slaves" / slave).symlink_to(self.find(slave))
        return self._number(folder, number)

    def partition(self, disk: str, name: str, number: str) -> Path:
        folder = self.root / "devices" / disk / name
        folder.mkdir()
        (folder / "partition").write_text("1\n")
        return self._number(folder, number)

    def loop(self, name: str, number: str, image: str) -> Path:
        folder = self.disk(name, number)
        (folder / "loop").mkdir()
        (folder / "loop" / "backing_file").write_text(f"{image}\n")
        return folder

    def find(self, name: str) -> Path:
        return next(path for path in (self.root / "devices").rglob(name) if path.parent.name != "slaves")

    def _number(self, folder: Path, number: str) -> Path:
        (folder / "dev").write_text(f"{number}\n")
        (self.root / "dev" / "block" / number).symlink_to(folder)
        return folder


@pytest.fixture
def sys(tmp_path: Path) -> Sys:
    """vda with two partitions, sda and sdb with one each."""
    sys = Sys(tmp_path / "sys")
    sys.disk("vda", "252:0")
    sys.partition("vda", "vda1", "252:1")
    sys.partition("vda", "vda2", "252:2")
    for disk, major in (("sda", "8:0"), ("sdb", "8:16")):
        sys.disk(disk, major)
    sys.partition("sda", "sda1", "8:1")
    sys.partition("sdb", "sdb1", "8:17")
    return sys


def mount(device: str, path: str = "/mnt", type: str = "ext4", source: str = "/dev/x") -> Line:
    return Line(30, 20, device, path, type, source, False)


def disks(sys: Sys, *lines: Line) -> tuple[str, ...]:
    return beneath(lines[0], lines, hidden(lines), str(sys.root)).disks


def test_a_whole_disk(sys: Sys) -> None:
    assert disks(sys, mount("252:0")) == ("vda",)


def test_a_partition(sys: Sys) -> None:
    assert disks(sys, mount("252:2")) == ("vda",)


def test_a_volume_over_two_disks(sys: Sys) -> None:
    sys.disk("dm-0", "253:0", "sda1", "sdb1")
    assert disks(sys, mount("253:0")) == ("sda", "sdb")


def test_a_volume_in_luks_on_md(sys: Sys) -> None:
    sys.disk("md0", "9:0", "sda1", "sdb1")
    sys.disk("dm-0", "253:0", "md0")
    sys.disk("dm-1", "253:1", "dm-0")
    assert disks(sys, mount("253:1")) == ("sda", "sdb")


def test_a_partition_of_md(sys: Sys) -> None:
    sys.disk("md0", "9:0", "sda1", "sdb1")
    sys.partition("md0", "md0p1", "259:0")
    assert disks(sys, mount("259:0")) == ("sda", "sdb")


def test_bcache(sys: Sys) -> None:
    sys.disk("bcache0", "251:0", "sdb")
    assert disks(sys, mount("251:0")) == ("sdb",)


def test_an_image_in_another_filesystem(sys: Sys) -> None:
    sys.loop("loop0", "7:0", "/srv/images/a.img")
    sys.partition("loop0", "loop0p1", "259:0")
    lines = [mount("259:0"), mount("252:1", "/"), mount("8:1", "/srv")]
    assert beneath(lines[0], lines, frozenset(), str(sys.root)) == Beneath(("sda",), ("8:1",))


def test_an_image_in_an_image(sys: Sys) -> None:
    sys.loop("loop0", "7:0", "/outer/a.img")
    sys.loop("loop1", "7:1", "/inner/b.img")
    lines = [mount("7:1"), mount("7:0", "/inner"), mount("252:1", "/outer")]
    assert beneath(lines[0], lines, frozenset(), str(sys.root)) == Beneath(("vda",), ("7:0",))


@pytest.mark.parametrize(
    "holder", [("0:30", "tmpfs"), ("0:31", "nfs"), ("0:32", "overlay")], ids=lambda h: h[1]
)
def test_an_image_that_lies_on_no_disk(sys: Sys, holder: tuple[str, str]) -> None:
    sys.loop("loop0", "7:0", "/images/a.img")
    assert disks(sys, mount("7:0"), mount(holder[0], "/", holder[1], "none")) == ()


def test_images_in_a_circle_end(sys: Sys) -> None:
    """A backing file is a name, and another file may have it by now."""
    sys.loop("loop0", "7:0", "/b/a.img")
    sys.loop("loop1", "7:1", "/a/b.img")
    assert disks(sys, mount("7:0", "/a"), mount("7:1", "/b")) == ()


def test_a_circle_of_slaves_ends(sys: Sys) -> None:
    sys.disk("dm-0", "253:0", "sda")
    (sys.root / "devices" / "sda" / "slaves" / "dm-0").symlink_to(sys.root / "devices" / "dm-0")
    assert disks(sys, mount("253:0")) == ()


def test_more_devices_than_the_limit_end(sys: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysblock, "_DEVICES_MAX", 2)
    sys.disk("dm-0", "253:0", "sda", "sdb", "vda")
    assert len(disks(sys, mount("253:0"))) == 1


def test_what_is_not_in_sysfs_is_nothing(sys: Sys) -> None:
    assert disks(sys, mount("99:9")) == ()
    assert disks(sys, mount("0:30", type="tmpfs", source="tmpfs")) == ()


def test_all_devices_of_a_btrfs(sys: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = sys.root / "fs" / "btrfs" / "uuid" / "devices"
    devices.mkdir(parents=True)
    (sys.root / "fs" / "btrfs" / "features").mkdir()
    for name in ("sda1", "sdb1"):
        (devices / name).symlink_to(sys.find(name))
    monkeypatch.setattr(sysblock, "_number", {"/dev/sdb1": "8:17"}.get)
    assert disks(sys, mount("0:40", type="btrfs", source="/dev/sdb1")) == ("sda", "sdb")
    monkeypatch.setattr(sysblock, "_number", {"/dev/vda1": "252:1"}.get)
    assert disks(sys, mount("0:41", type="btrfs", source="/dev/vda1")) == ("vda",)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param(mount("0:5", type="bcachefs", source="/dev/a:/dev/b"), ("1:1", "1:2"), id="joined"),
        pytest.param(mount("0:5", type="bcachefs", source="/dev/a"), ("1:1",), id="one"),
        pytest.param(
            mount("0:5", type="btrfs", source="/dev/by-path/0:/dev/b"), ("1:3",), id="colons in a name"
        ),
        pytest.param(mount("0:5", type="zfs", source="pool/data"), (), id="no device"),
        pytest.param(mount("8:1", source="/dev/a"), ("8:1",), id="its own number"),
    ],
)
def test_numbers(line: Line, found: tuple[str, ...], sys: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"/dev/a": "1:1", "/dev/b": "1:2", "/dev/by-path/0:/dev/b": "1:3"}
    monkeypatch.setattr(sysblock, "_number", known.get)
    assert numbers(line, str(sys.root)) == found


@pytest.mark.parametrize("source", ["tmpfs", "/dev/null", "/dev/missing", "/dev", "/etc/passwd"])
def test_what_is_no_block_device_has_no_number(source: str) -> None:
    assert numbers(mount("0:5", type="btrfs", source=source)) == ()


def test_text_and_entries(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b" words \xff\n")
    assert text(str(tmp_path / "file")) == "words \udcff"
    assert text(str(tmp_path)) is None
    assert text(str(tmp_path / "missing")) is None
    assert entries(str(tmp_path)) == ["file"]
    assert entries(str(tmp_path / "file")) == []


def test_what_udev_knows(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    known = (
        "S:disk/by-uuid/1\nI:12\nE:ID_FS_LABEL_ENC=a\\x20b\\xc3\\xa4\\xff\nE:ID_FS_UUID=1\nG:systemd\nE:odd\n"
    )
    (tmp_path / "data" / "b8:1").write_text(known)
    found = properties("8:1", str(tmp_path))
    assert found == {"ID_FS_LABEL_ENC": "a b\u00e4\ufffd", "ID_FS_UUID": "1", "odd": ""}
    assert properties("8:2", str(tmp_path)) == {}


def test_every_filesystem_on_a_disk_of_this_machine_has_a_disk() -> None:
    lines = parse(Path("/proc/self/mountinfo").read_text())
    on_disk = [line for line in lines if not line.device.startswith("0:") and line.type != "squashfs"]
    for line in on_disk:
        for disk in beneath(line, lines, hidden(lines)).disks:
            assert os.path.isdir(f"/sys/block/{disk}")


@pytest.mark.root
def test_real_images_one_in_another(tmp_path: Path) -> None:
    with private_mounts():
        outside = loop_mount(tmp_path / "outer.img", tmp_path / "outer", "ext4", 64)
        inside = loop_mount(outside / "inner.img", tmp_path / "inner", "ext4", 16)
        lines = parse(Path("/proc/thread-self/mountinfo").read_text())
        by_path = {line.path: line for line in lines}
        inner, outer = by_path[str(inside)], by_path[str(outside)]
        found = beneath(inner, lines, hidden(lines))
        assert found.backed_by == (outer.device,)
        assert found.disks == beneath(outer, lines, hidden(lines)).disks
        for path in (inside, outside):
            run("umount", str(path))
