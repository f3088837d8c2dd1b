"""A sysfs made here with disks of every bus, this machine's own, and uevents of the kernel."""

import subprocess
from pathlib import Path

import pytest

from reconciler.drivers import block
from reconciler.drivers.block import Block
from reconciler.errors import Unsupported
from reconciler.facilities import uevents
from reconciler.resource import Json
from reconciler.resources.report import Source

SOURCE: Source = Block()  # holds the driver to its port, for the type checker

PCI = "pci0000:00/0000:00:1e.0/0000:01:05.0"


class Sys:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.udev = root / "udev"
        (root / "block").mkdir()
        (self.udev / "data").mkdir(parents=True)

    def disk(self, where: str, **files: str | bytes) -> Path:
        """A disk at `devices/WHERE`; files are attributes, with `__` for a slash."""
        folder = self.root / "devices" / where
        usual: dict[str, str | bytes] = {"size": "2048", "ro": "0", "removable": "0", "hidden": "0"}
        self.write(folder, **(usual | files))
        (self.root / "block" / folder.name).symlink_to(folder)
        return folder

    def write(self, folder: Path, **files: str | bytes) -> None:
        for name, content in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())

    def bus(self, folder: Path, name: str) -> None:
        (self.root / "bus" / name).mkdir(parents=True, exist_ok=True)
        (folder / "device").mkdir(exist_ok=True)
        (folder / "device" / "subsystem").symlink_to(self.root / "bus" / name)

    def read(self) -> Json:
        return Block(str(self.root), str(self.udev)).read("disks")


@pytest.fixture
def sys(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


def test_a_virtio_disk_with_partitions(sys: Sys) -> None:
    folder = sys.disk(
        f"{PCI}/virtio1/block/vda",
        size="2097152",
        serial="my-disk",
        queue__rotational="1",
        queue__logical_block_size="512",
        queue__physical_block_size="4096",
        device__vendor="0x1af4",
    )
    sys.bus(folder, "virtio")
    sys.write(folder, vda1__partition="1", vda1__start="2048", vda1__size="4096", vda1__dev="252:1")
    sys.write(folder, vda2__partition="2", vda2__start="6144", vda2__size="100", vda2__dev="252:2")
    sys.write(folder, vda2__holders__dm_0__dm__name="vg-data")
    sys.write(sys.udev / "data", **{"b252:1": "E:ID_PART_ENTRY_UUID=a-b\nE:ID_PART_ENTRY_NAME=root"})
    assert sys.read() == {
        "vda": {
            "size": 2**30,
            "rotational": True,
            "readOnly": False,
            "removable": False,
            "logicalBlockSize": 512,
            "physicalBlockSize": 4096,
            "bus": "virtio",
            "address": "0000:01:05.0",
            "serial": "my-disk",
            "partitions": {
                "vda1": {"number": 1, "start": 2**20, "size": 2**21, "label": "root", "uuid": "a-b"},
                "vda2": {"number": 2, "start": 3 * 2**20, "size": 51200, "holders": ["mapper/vg-data"]},
            },
        }
    }


def test_a_scsi_disk(sys: Sys) -> None:
    folder = sys.disk(
        "pci0000:00/0000:00:05.0/virtio2/host2/target2:0:0/2:0:0:0/block/sda",
        removable="1",
        ro="1",
        device__model="QEMU HARDDISK   ",
        device__vpd_pg80=b"\0\x80\0\x05S-123padding",
        device__wwid="naa.5000c500a1b2c3d4",
    )
    sys.bus(folder, "scsi")
    sys.write(folder, holders__md0__size="1", holders__md1__size="1")
    found = sys.read()["sda"]
    assert (
        found.items()
        >= {
            "bus": "scsi",
            "address": "0000:00:05.0",
            "model": "QEMU HARDDISK",
            "serial": "S-123",
            "wwn": "naa.5000c500a1b2c3d4",
            "removable": True,
            "readOnly": True,
            "holders": ["md0", "md1"],
        }.items()
    )


def test_an_nvme_disk(sys: Sys) -> None:
    folder = sys.disk(
        "pci0000:00/0000:00:06.0/nvme/nvme0/nvme0n1",
        device__model="QEMU NVMe Ctrl",
        device__serial="deadbeef",
        wwid="eui.00000001",
    )
    sys.bus(folder, "nvme")
    found = sys.read()["nvme0n1"]
    assert (found["model"], found["serial"], found["wwn"]) == ("QEMU NVMe Ctrl", "deadbeef", "eui.00000001")


def test_a_disk_of_which_nothing_is_known(sys: Sys) -> None:
    sys.disk("virtual/block/nbd0", device__wwid="t10.ATA     QEMU HARDDISK     QM00001")
    assert sys.read() == {
        "nbd0": {
            "size": 2**20,
            "rotational": False,
            "readOnly": False,
            "removable": False,
            "logicalBlockSize": 0,
            "physicalBlockSize": 0,
        }
    }


@pytest.mark.parametrize("name", ["loop0", "ram0", "zram0", "dm-0", "md127", "bcache0", "drbd1", "zd16"])
def test_what_is_made_of_other_things_is_no_disk(sys: Sys, name: str) -> None:
    sys.disk(f"virtual/block/{name}")
    sys.disk("virtual/block/mmcblk0")
    assert list(sys.read()) == ["mmcblk0"]


@pytest.mark.parametrize("file", [{"size": "0"}, {"size": ""}, {"size": "-5"}, {"hidden": "1"}], ids=str)
def test_what_is_empty_or_hidden_is_no_disk(sys: Sys, file: dict[str, str]) -> None:
    sys.disk("x/block/nvme0c0n1", **file)
    assert sys.read() == {}


def test_text_is_fit_for_json(sys: Sys) -> None:
    sys.disk("x/block/vda", serial=b"\xff" + b"x" * 3000, device__serial="")
    assert sys.read()["vda"]["serial"] == "?" + "x" * 255


@pytest.mark.parametrize("page", [b"", b"\0\x80\0", b"\0\x80\0\0", b"\0\x80\0\x04    "], ids=str)
def test_a_serial_number_that_is_none(sys: Sys, page: bytes) -> None:
    sys.disk("x/block/sda", device__vpd_pg80=page)
    assert "serial" not in sys.read()["sda"]


def test_no_more_than_the_limits(sys: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vda", "vdb", "vdc"):
        folder = sys.disk(f"x/block/{name}")
        for number in "123":
            sys.write(folder / f"{name}{number}", partition=number)
    monkeypatch.setattr(block, "_DISKS_MAX", 2)
    monkeypatch.setattr(block, "_PARTITIONS_MAX", 1)
    assert {name: list(disk["partitions"]) for name, disk in sys.read().items()} == {
        "vda": ["vda1"],
        "vdb": ["vdb1"],
    }


def test_without_sysfs_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="cannot list disks"):
        Block(str(tmp_path)).read("disks")


def test_this_machine_as_lsblk_tells_it() -> None:
    command = ["lsblk", "--nodeps", "--bytes", "--noheadings", "--output", "NAME,SIZE,RO,LOG-SEC"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    devices = [tuple(line.split()) for line in shown.splitlines()]
    views = ("loop", "zram", "ram", "dm-", "md")
    told = {device for device in devices if device[1] != "0" and not device[0].startswith(views)}
    found = Block().read("disks")
    assert Block.available()
    assert {
        (name, str(disk["size"]), str(int(disk["readOnly"])), str(disk["logicalBlockSize"]))
        for name, disk in found.items()
    } == told


def test_without_uevents_there_is_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uevents, "_NETLINK_KOBJECT_UEVENT", 31)
    assert Block().watches() == ()


def test_udev_is_waited_for_where_there_is_one(sys: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(block, "Uevents", lambda subsystem, items, udev: asked.append(udev))
    driver = Block(str(sys.root), str(sys.udev))
    driver.watches()
    (sys.udev / "control").touch()
    driver.watches()
    assert asked == [False, True]
