"""Processors of trees as machines have them; tests/vm switches and plugs real ones."""

import errno
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.drivers.cpus import sysfs
from reconciler.drivers.cpus.sysfs import SysfsCpus
from reconciler.errors import DriverError
from reconciler.facilities.uevents import Uevents
from reconciler.resource import Watching
from reconciler.resources.cpus import Cpu, Observed, Processors

PORT: Processors = SysfsCpus()  # holds the driver to its port, for the type checker
WATCHING: Watching = SysfsCpus()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two cores of two threads, the last thread offline, the first processor without a switch."""
    for cpu in range(4):
        (tmp_path / f"cpu{cpu}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}/topology/thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
        if cpu:
            (tmp_path / f"cpu{cpu}/online").write_text("1\n" if cpu < 3 else "0\n")
    (tmp_path / "smt").mkdir()
    texts = {"online": "0-2", "present": "0-3", "possible": "0-7", "isolated": "1", "smt/control": "on"}
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    return tmp_path


def test_a_machine(machine: Path) -> None:
    assert SysfsCpus(str(machine)).processors() == Observed(
        cpus=(
            Cpu(0, switchable=False),
            Cpu(1, isolated=True),
            Cpu(2, second=True),
            Cpu(3, online=False),
        ),
        possible=8,
        smt="on",
    )


def test_a_machine_that_tells_little(tmp_path: Path) -> None:
    (tmp_path / "online").write_text("0-1\n")
    seen = SysfsCpus(str(tmp_path)).processors()
    assert seen == Observed(cpus=(Cpu(0, switchable=False), Cpu(1, switchable=False)), possible=2)


def test_topology_of_very_many_is_left_out(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "_TOPOLOGY_CPUS_MAX", 2)
    assert not any(cpu.second for cpu in SysfsCpus(str(machine)).processors().cpus)


def test_no_such_tree(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="cannot count processors"):
        SysfsCpus(str(tmp_path)).processors()


def test_switches(machine: Path) -> None:
    driver = SysfsCpus(str(machine))
    driver.switch(3, online=True)
    driver.switch(1, online=False)
    # The first byte is all that the kernel looks at.
    assert [(machine / f"cpu{cpu}/online").read_text()[0] for cpu in (1, 2, 3)] == ["0", "1", "1"]


@pytest.mark.parametrize(
    ("cpu", "online", "message"),
    [
        pytest.param(
            0, False, "cannot take cpu0 offline: it was unplugged, or has no switch", id="no switch"
        ),
        pytest.param(1, False, "cannot take cpu1 offline: No space left on device", id="refused"),
        pytest.param(1, True, "cannot bring cpu1 online: No space left on device", id="refused to come"),
    ],
)
def test_says_why_not(machine: Path, cpu: int, online: bool, message: str) -> None:
    (machine / "cpu1/online").unlink()
    (machine / "cpu1/online").symlink_to("/dev/full")
    (machine / "cpu0/online").unlink(missing_ok=True)
    with pytest.raises(DriverError, match=message):
        SysfsCpus(str(machine)).switch(cpu, online=online)


@pytest.mark.parametrize(
    ("smt", "message"),
    [
        pytest.param("off", "Operation not permitted; threads of one core are switched off", id="off"),
        pytest.param("notsupported", "Operation not permitted", id="not supported"),
    ],
)
def test_a_thread_may_be_switched_off_with_all_others(machine: Path, smt: str, message: str) -> None:
    (machine / "smt/control").write_text(f"{smt}\n")
    error = OSError(errno.EPERM, "Operation not permitted")
    assert SysfsCpus(str(machine))._why(error, True) == message


def test_this_machine() -> None:
    assert SysfsCpus.available()
    seen = SysfsCpus().processors()
    assert seen.online
    (watch,) = SysfsCpus().watches()
    assert isinstance(watch, Uevents)
    with closing(watch):
        assert watch.fileno() >= 0
