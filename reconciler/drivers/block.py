"""Disks and their partitions, from /sys/block; see the kernel's ABI/stable/sysfs-block."""

import os
import re
import time
from collections.abc import Sequence
from typing import ClassVar

from reconciler.errors import Unsupported
from reconciler.facilities.sysblock import SYS, UDEV, entries, properties, text
from reconciler.facilities.uevents import Uevents
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_DISKS_MAX = 256  # the first by name; as many as virtio-scsi shows of one target
_PARTITIONS_MAX = 128  # the first by name; what a GPT usually has room for
_HOLDERS_MAX = 64  # logical volumes of one disk
_TEXT_CHARS_MAX = 256  # of a model or a serial number; the standards allow far less
_SECTOR_BYTES = 512  # the kernel's unit for sizes in sysfs, whatever the device's own is

_NO_DISK = re.compile(r"(loop|ram|zram|dm-|md|bcache|drbd|zd)\d")  # views of other devices, and memory
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_WWN = re.compile(r"(naa|eui|uuid)\.\S+")  # what else is in wwid repeats model and serial number


class Block(Source):
    """`disks`: `{name: disk}`, with sizes in bytes and `holders` by their names under /dev.

    A disk is `{size, rotational, readOnly, removable, logicalBlockSize, physicalBlockSize, bus?,
    address?, model?, serial?, wwn?, holders?, partitions?}`: `address` is its PCI device's, and
    `partitions` is `{name: {number, start, size, label?, uuid?, holders?}}`. What is made of
    disks (LVM, LUKS, md, bcache) or of files or memory is none.
    """

    items: ClassVar[tuple[str, ...]] = ("disks",)
    needs: ClassVar[str] = "/sys/block"

    def __init__(self, sys: str = SYS, udev: str = UDEV) -> None:
        self._sys = sys
        self._udev = udev

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir(f"{SYS}/block")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        if not os.path.isdir(f"{self._sys}/block"):
            raise Unsupported(f"cannot list disks: there is no {self._sys}/block")
        names = [name for name in entries(f"{self._sys}/block") if not _NO_DISK.match(name)]
        folders = [os.path.realpath(f"{self._sys}/block/{name}") for name in names]
        disks = [folder for folder in folders if _is_disk(folder)]
        return {os.path.basename(folder): self._disk(folder) for folder in disks[:_DISKS_MAX]}

    def watches(self) -> Sequence[Watch]:
        """Disks that come, go and grow; where uevents are not to be had, the period finds them."""
        try:
            return (Uevents("block", self.items, udev=os.path.exists(f"{self._udev}/control")),)
        except OSError:
            return ()

    def _disk(self, folder: str) -> Json:
        names = [name for name in entries(folder) if os.path.exists(f"{folder}/{name}/partition")]
        partitions = {name: self._partition(f"{folder}/{name}") for name in names[:_PARTITIONS_MAX]}
        return {
            "size": _figure(f"{folder}/size") * _SECTOR_BYTES,
            "rotational": text(f"{folder}/queue/rotational") == "1",
            "readOnly": text(f"{folder}/ro") == "1",
            "removable": text(f"{folder}/removable") == "1",
            "logicalBlockSize": _figure(f"{folder}/queue/logical_block_size"),
            "physicalBlockSize": _figure(f"{folder}/queue/physical_block_size"),
            **_identity(folder),
            **_holders(folder),
            **({"partitions": partitions} if partitions else {}),
        }

    def _partition(self, folder: str) -> Json:
        known = properties(text(f"{folder}/dev") or "", self._udev)
        return {
            "number": _figure(f"{folder}/partition"),
            "start": _figure(f"{folder}/start") * _SECTOR_BYTES,
            "size": _figure(f"{folder}/size") * _SECTOR_BYTES,
            **_present(label=known.get("ID_PART_ENTRY_NAME"), uuid=known.get("ID_PART_ENTRY_UUID")),
            **_holders(folder),
        }


def _is_disk(folder: str) -> bool:
    """Hidden is one path of several to an NVMe; empty, a network device that nobody has connected."""
    return text(f"{folder}/hidden") != "1" and _figure(f"{folder}/size") > 0


def _identity(folder: str) -> dict[str, str]:
    """By what a disk is recognized, each as far as its bus has it."""
    bus = os.path.basename(os.path.realpath(f"{folder}/device/subsystem"))
    wwn = text(f"{folder}/wwid") or text(f"{folder}/device/wwid") or ""
    pci = [part for part in folder.split("/") if _PCI.fullmatch(part)]
    return _present(
        bus=bus if os.path.exists(f"{folder}/device/subsystem") else None,
        address=pci[-1] if pci else None,
        model=text(f"{folder}/device/model"),
        serial=text(f"{folder}/serial") or text(f"{folder}/device/serial") or _scsi_serial(folder),
        wwn=wwn if _WWN.fullmatch(wwn) else None,
    )


def _scsi_serial(folder: str) -> str | None:
    """The unit serial number page of SPC: four bytes, of which the last is the length, then text."""
    try:
        with open(f"{folder}/device/vpd_pg80", "rb", buffering=0) as file:
            page = file.read(4 + 255) or b""
    except OSError:
        return None
    return page[4 : 4 + page[3]].decode(errors="replace") if len(page) > 4 else None


def _holders(folder: str) -> dict[str, list[str]]:
    names = entries(f"{folder}/holders")[:_HOLDERS_MAX]
    mapped = [text(f"{folder}/holders/{name}/dm/name") for name in names]
    paths = [f"mapper/{to}" if to else name for name, to in zip(names, mapped, strict=True)]
    return {"holders": sorted(paths)} if paths else {}


def _figure(path: str) -> int:
    found = text(path) or ""
    return int(found) if found.isascii() and found.isdigit() else 0


def _present(**known: str | None) -> dict[str, str]:
    """What is known, fit for JSON."""
    clean = {
        name: value.encode(errors="replace").decode().strip(" \0")[:_TEXT_CHARS_MAX]
        for name, value in known.items()
        if value
    }
    return {name: value for name, value in clean.items() if value}
