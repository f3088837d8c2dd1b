"""Processors, from trees as machines have them."""

import os
from pathlib import Path

import pytest

from reconciler.drivers import sysfs_cpu
from reconciler.drivers.sysfs_cpu import SysfsCpu, model
from reconciler.errors import Unsupported
from reconciler.resource import Json, Watching
from reconciler.resources.report import Source

SOURCE: Source = SysfsCpu()  # holds the driver to its port, for the type checker
WATCHING: Watching = SysfsCpu()

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 79
model name\t: Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz
cpu MHz\t\t: 2299.998

processor\t: 1
vendor_id\t: Other
model name\t: Other
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 50.00
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


@pytest.mark.parametrize(
    ("cpuinfo", "told"),
    [
        pytest.param(
            X86, {"model": "Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "vendor": "GenuineIntel"}, id="x86"
        ),
        pytest.param(ARM, {"vendor": "0x41"}, id="arm"),
        pytest.param("cpu\t\t: POWER9 (raw)\n", {"model": "POWER9 (raw)"}, id="power"),
        pytest.param("", {}, id="empty"),
    ],
)
def test_model(cpuinfo: str, told: Json) -> None:
    assert model(cpuinfo) == told


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two sockets of two cores of two threads each; one thread is offline."""
    cpus = tmp_path / "sys/devices/system/cpu"
    for cpu in range(8):
        topology = cpus / f"cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{cpu % 4 // 2}\n")
        siblings = str(cpu % 4) if cpu in (3, 7) else f"{cpu % 4},{cpu % 4 + 4}"
        (topology / "thread_siblings_list").write_text(f"{siblings}\n")
    for name, listed in {"online": "0-6", "present": "0-7", "possible": "0-15"}.items():
        (cpus / name).write_text(f"{listed}\n")
    (cpus / "cpu0/cpufreq").mkdir()
    (cpus / "cpu0/cpufreq/cpuinfo_max_freq").write_text("3000000\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(X86)
    return tmp_path


def test_a_machine(machine: Path) -> None:
    assert SysfsCpu(str(machine)).read("cpus") == {
        "logical": 7,
        "present": 8,
        "possible": 16,
        "onlineList": "0-6",
        "cores": 4,
        "sockets": 2,
        "model": "Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz",
        "vendor": "GenuineIntel",
        "maxHz": 3_000_000_000,
    }


def test_a_machine_that_tells_little(tmp_path: Path) -> None:
    cpus = tmp_path / "sys/devices/system/cpu"
    cpus.mkdir(parents=True)
    (cpus / "online").write_text("0-1\n")
    told = SysfsCpu(str(tmp_path)).read("cpus")
    assert told == {"logical": 2, "present": 2, "possible": 2, "onlineList": "0-1"}


def test_topology_of_very_many_is_left_out(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs_cpu, "_TOPOLOGY_CPUS_MAX", 4)
    told = SysfsCpu(str(machine)).read("cpus")
    assert told["logical"] == 7
    assert "cores" not in told


def test_no_such_tree(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="online"):
        SysfsCpu(str(tmp_path)).read("cpus")


def test_this_machine() -> None:
    assert SysfsCpu().read("cpus")["logical"] == os.cpu_count()
