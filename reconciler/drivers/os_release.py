"""The operating system, its machine and what that runs on; see os-release(5), machine-id(5)."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_FILE_BYTES_MAX = 64 * 1024  # os-release has 0.3 KiB, the first processor of cpuinfo 1.5 KiB
_VALUE_CHARS_MAX = 256  # of a field of os-release; names and addresses of web pages are shorter

_FIELDS = {
    "id": "ID",
    "idLike": "ID_LIKE",
    "name": "NAME",
    "version": "VERSION",
    "versionId": "VERSION_ID",
    "codename": "VERSION_CODENAME",
    "prettyName": "PRETTY_NAME",
    "buildId": "BUILD_ID",
    "variant": "VARIANT_ID",
    "cpeName": "CPE_NAME",
}
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}")
_BOOT_ID = re.compile(r"[0-9a-f-]{36}")

# What the firmware's tables begin with, by hypervisor; the order decides, as Xen's guests
# and VirtualBox's may show more than one.
_FIRMWARE = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
)
_DMI = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")


class OsRelease(Source):
    """`os`: os-release's fields, `architecture`, `machineId?`, `bootId?`, `virtualization`.

    The fields: `{id, idLike?, name, version?, versionId?, codename?, prettyName, buildId?,
    variant?, cpeName?}`. `virtualization` is `{vm?, container?}`, in systemd-detect-virt(1)'s
    words, found in files: without the CPUID instruction some hypervisors stay `vm-other`.
    """

    items: ClassVar[tuple[str, ...]] = ("os",)
    needs: ClassVar[str] = "os-release"

    def __init__(self, root: str = "") -> None:
        self._root = root

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        folders = (f"{self._root}/etc", f"{self._root}/usr/lib")
        return (Folders(*folders, names=("os-release", "machine-id"), items=self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        told = os_release(self._text("/etc/os-release") or self._text("/usr/lib/os-release"))
        told["architecture"] = os.uname().machine
        machine_id = self._text("/etc/machine-id").strip()
        if _ID.fullmatch(machine_id):  # an image not yet booted says "uninitialized"
            told["machineId"] = machine_id
        boot_id = self._text("/proc/sys/kernel/random/boot_id").strip()
        if _BOOT_ID.fullmatch(boot_id):
            told["bootId"] = boot_id
        told["virtualization"] = self._virtualization()
        return told

    def _virtualization(self) -> dict[str, str]:
        firmware = {name: self._text(f"/sys/class/dmi/id/{name}").strip() for name in _DMI}
        vm = by_firmware(firmware)
        if vm in ("", "qemu"):  # which also stands there under KVM
            vm = self._paravirtual() or vm or self._by_processor()
        found = {"vm": vm}
        found["container"] = self._container()
        return {name: word for name, word in found.items() if word}

    def _paravirtual(self) -> str:
        """What the kernel itself calls it, where it knows."""
        if self._text("/sys/hypervisor/type").strip() == "xen":
            return "xen"
        # The clock is there with KVM's acceleration only: plain emulation shows the same firmware.
        clocks = self._text("/sys/devices/system/clocksource/clocksource0/available_clocksource").split()
        if "kvm-clock" in clocks:
            return "kvm"
        if any(clock.startswith("hyperv_clocksource") for clock in clocks):
            return "microsoft"
        tree = self._text("/proc/device-tree/hypervisor/compatible").strip("\0\n")
        return {"linux,kvm": "kvm", "vmware": "vmware"}.get(tree, "vm-other" if tree else "")

    def _by_processor(self) -> str:
        cpuinfo = self._text("/proc/cpuinfo")
        if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE):
            return "vm-other"
        if re.search(r"^VM00 Control Program:\s*KVM", self._text("/proc/sysinfo"), re.MULTILINE):
            return "kvm"  # s390
        return ""

    def _container(self) -> str:
        """As its runtime left word; see systemd's container interface."""
        name = (
            self._text("/run/systemd/container").strip() or self._text("/run/host/container-manager").strip()
        )
        if name:
            return name[:64]
        if os.path.exists(f"{self._root}/run/.containerenv"):
            return "podman"
        return "docker" if os.path.exists(f"{self._root}/.dockerenv") else ""

    def _text(self, path: str) -> str:
        """Empty where there is no such file, or where it is not for us."""
        try:
            with open(f"{self._root}{path}", "rb") as file:
                return file.read(_FILE_BYTES_MAX).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return ""
        except OSError as error:
            raise DriverError(f"cannot read {path}: {error.strerror}") from error


def os_release(text: str) -> dict[str, Json]:
    """Our names for os-release's fields, its defaults filled in."""
    found = {"ID": "linux", "NAME": "Linux", "PRETTY_NAME": "Linux"}
    for line in text.splitlines():
        if match := _ASSIGNMENT.fullmatch(line.strip()):
            found[match[1]] = unquoted(match[2])[:_VALUE_CHARS_MAX]
    return {name: found[field] for name, field in _FIELDS.items() if found.get(field)}


def unquoted(value: str) -> str:
    """A value as a shell would take it: quotes away, and in double ones or none the backslashes."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        if value[0] == "'":
            return value[1:-1]
        value = value[1:-1]
    return re.sub(r"\\(.)", r"\1", value)


def by_firmware(dmi: Mapping[str, str]) -> str:
    """The hypervisor whose name stands in the firmware's tables; empty for none."""
    if dmi.get("sys_vendor") == "Microsoft Corporation" and dmi.get("product_name") == "Virtual Machine":
        return "microsoft"
    texts = [dmi.get(name, "") for name in _DMI]
    return next((word for start, word in _FIRMWARE if any(text.startswith(start) for text in texts)), "")
