"""The operating system, from trees of files as guests have them."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.os_release import OsRelease, os_release, unquoted
from reconciler.resource import Json, Watching
from reconciler.resources.report import Source

SOURCE: Source = OsRelease()  # holds the driver to its port, for the type checker
WATCHING: Watching = OsRelease()

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""
ROCKY = """\
NAME="Rocky Linux"
VERSION="9.4 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"
CPE_NAME="cpe:/o:rocky:rocky:9::baseos"
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            DEBIAN,
            {
                "id": "debian",
                "name": "Debian GNU/Linux",
                "version": "12 (bookworm)",
                "versionId": "12",
                "codename": "bookworm",
                "prettyName": "Debian GNU/Linux 12 (bookworm)",
            },
            id="debian",
        ),
        pytest.param(
            ROCKY,
            {
                "id": "rocky",
                "idLike": "rhel centos fedora",
                "name": "Rocky Linux",
                "version": "9.4 (Blue Onyx)",
                "versionId": "9.4",
                "prettyName": "Rocky Linux 9.4 (Blue Onyx)",
                "cpeName": "cpe:/o:rocky:rocky:9::baseos",
            },
            id="rocky",
        ),
        pytest.param("", {"id": "linux", "name": "Linux", "prettyName": "Linux"}, id="nothing said"),
        pytest.param(
            "# ID=no\nID='arch'\nNAME=\n  BUILD_ID=rolling\nnot a line\n",
            {"id": "arch", "prettyName": "Linux", "buildId": "rolling"},
            id="comments, blanks and empty values",
        ),
    ],
)
def test_fields(text: str, told: Json) -> None:
    assert os_release(text) == told


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("bookworm", "bookworm", id="plain"),
        pytest.param('"a b"', "a b", id="double"),
        pytest.param("'a \\b'", "a \\b", id="single keeps backslashes"),
        pytest.param(r'"\"q\" \$5"', '"q" $5', id="escapes"),
        pytest.param('"', '"', id="half a quote"),
    ],
)
def test_quotes(written: str, meant: str) -> None:
    assert unquoted(written) == meant


Tree = Callable[[Mapping[str, str]], OsRelease]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def plant(files: Mapping[str, str]) -> OsRelease:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return OsRelease(str(tmp_path))

    return plant


DMI = "sys/class/dmi/id"
CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param({}, {}, id="bare metal"),
        pytest.param({f"{DMI}/sys_vendor": "Dell Inc.\n"}, {}, id="bare metal with firmware"),
        pytest.param({f"{DMI}/sys_vendor": "QEMU\n"}, {"vm": "qemu"}, id="qemu, emulated"),
        pytest.param(
            {f"{DMI}/sys_vendor": "QEMU\n", CLOCKS: "kvm-clock tsc\n"}, {"vm": "kvm"}, id="qemu with kvm"
        ),
        pytest.param({CLOCKS: "kvm-clock tsc\n"}, {"vm": "kvm"}, id="kvm without firmware"),
        pytest.param(
            {f"{DMI}/sys_vendor": "Amazon EC2\n", CLOCKS: "kvm-clock\n"}, {"vm": "amazon"}, id="amazon"
        ),
        pytest.param(
            {
                f"{DMI}/sys_vendor": "Microsoft Corporation\n",
                f"{DMI}/product_name": "Virtual Machine\n",
            },
            {"vm": "microsoft"},
            id="hyper-v",
        ),
        pytest.param(
            {f"{DMI}/sys_vendor": "Microsoft Corporation\n", f"{DMI}/product_name": "Surface\n"},
            {},
            id="not hyper-v",
        ),
        pytest.param({f"{DMI}/product_name": "VMware7,1\n"}, {"vm": "vmware"}, id="vmware"),
        pytest.param({"sys/hypervisor/type": "xen\n"}, {"vm": "xen"}, id="xen"),
        pytest.param({"proc/cpuinfo": "flags\t\t: fpu hypervisor lm\n"}, {"vm": "vm-other"}, id="some other"),
        pytest.param({"proc/cpuinfo": "flags\t\t: fpu lm\n"}, {}, id="processor of bare metal"),
        pytest.param({"proc/sysinfo": "VM00 Control Program: KVM/Linux\n"}, {"vm": "kvm"}, id="kvm on s390"),
        pytest.param(
            {"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, {"vm": "kvm"}, id="kvm by devicetree"
        ),
        pytest.param({"run/systemd/container": "lxc\n"}, {"container": "lxc"}, id="container"),
        pytest.param({"run/.containerenv": ""}, {"container": "podman"}, id="podman"),
        pytest.param(
            {".dockerenv": "", CLOCKS: "kvm-clock"}, {"vm": "kvm", "container": "docker"}, id="docker in a vm"
        ),
    ],
)
def test_virtualization(tree: Tree, files: Mapping[str, str], found: Json) -> None:
    assert tree(files).read("os")["virtualization"] == found


@pytest.mark.parametrize(
    ("files", "id"),
    [
        pytest.param({"etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n"}, True, id="of its own"),
        pytest.param({"etc/machine-id": "uninitialized\n"}, False, id="not booted yet"),
        pytest.param({}, False, id="none"),
    ],
)
def test_machine_id(tree: Tree, files: Mapping[str, str], id: bool) -> None:
    assert ("machineId" in tree(files).read("os")) is id


def test_distribution_below_usr(tree: Tree) -> None:
    assert tree({"usr/lib/os-release": ROCKY}).read("os")["id"] == "rocky"


def test_an_upgrade_wakes(tree: Tree, tmp_path: Path) -> None:
    driver = tree({"etc/os-release": DEBIAN, "usr/lib/os-release": DEBIAN})
    watch: Any = driver.watches()[0]
    with closing(watch):
        (tmp_path / "etc/issue").write_text("not it\n")
        assert not watch.drain()
        (tmp_path / "usr/lib/os-release").write_text(ROCKY)
        assert watch.drain()


def test_this_machine() -> None:
    told = OsRelease().read("os")
    assert told["prettyName"]
    assert len(told["bootId"]) == 36
    assert told["architecture"]


@given(st.text() | st.text("ID=NAME_\"'\\\n# "))
def test_any_text_is_survived(text: str) -> None:
    assert all(value and len(value) <= 256 for value in os_release(text).values())
