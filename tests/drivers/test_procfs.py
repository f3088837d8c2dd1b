"""Memory, swap and load: real files of some kernels, and text that is none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.procfs import Procfs, areas, load, memory, numbers, pressure, swap
from reconciler.errors import DriverError, Unsupported
from reconciler.resource import Json, Watching
from reconciler.resources.report import Source

SOURCE: Source = Procfs()  # holds the driver to its port, for the type checker
WATCHING: Watching = Procfs()

MEMINFO = """\
MemTotal:        2014540 kB
MemFree:          162924 kB
MemAvailable:    1287156 kB
Buffers:           82464 kB
Cached:          1120152 kB
SwapCached:           12 kB
Active(anon):     318780 kB
SwapTotal:        998396 kB
SwapFree:         997624 kB
Dirty:               296 kB
Shmem:             11492 kB
Slab:             167252 kB
SReclaimable:     116164 kB
HugePages_Total:       4
HugePages_Free:        3
HugePages_Rsvd:        0
Hugepagesize:       2048 kB
DirectMap2M:     1945600 kB
"""
OLD = "MemTotal:  100 kB\nMemFree: 40 kB\nHugePages_Total: 0\n"
VMSTAT = "nr_free_pages 40731\npswpin 3\npswpout 197\npgalloc_dma 512\n"
SWAPS = """\
Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/dm-1                               partition\t998396\t\t772\t\t-2
/var/my\\040swap                         file\t\t1024\t\t0\t\t5
"""
PRESSURE = """\
some avg10=5.90 avg60=2.87 avg300=1.93 total=4785543239
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
LOADAVG = "0.52 0.58 0.59 2/345 12345\n"
KI = 1024


def test_memory() -> None:
    assert memory(MEMINFO) == {
        "total": 2014540 * KI,
        "available": 1287156 * KI,
        "free": 162924 * KI,
        "buffers": 82464 * KI,
        "cached": 1120152 * KI,
        "shared": 11492 * KI,
        "slab": 167252 * KI,
        "dirty": 296 * KI,
        "hugePages": {"size": 2048 * KI, "total": 4, "free": 3},
    }


def test_memory_of_an_old_kernel() -> None:
    assert memory(OLD) == {"total": 100 * KI, "free": 40 * KI}


def test_swap_of_a_guest() -> None:
    assert swap(MEMINFO) == {"total": 998396 * KI, "free": 997624 * KI, "used": 772 * KI}


def test_swap_of_a_guest_without() -> None:
    assert swap(OLD) == {"total": 0, "free": 0, "used": 0}


def test_areas() -> None:
    assert areas(SWAPS) == {
        "/dev/dm-1": {"type": "partition", "size": 998396 * KI, "priority": -2},
        "/var/my swap": {"type": "file", "size": 1024 * KI, "priority": 5},
    }


def test_load() -> None:
    assert load(LOADAVG) == {"one": 0.52, "five": 0.58, "fifteen": 0.59}


def test_pressure() -> None:
    assert pressure(PRESSURE) == {
        "some": {"avg10": 5.9, "avg60": 2.87, "avg300": 1.93, "stalledS": 4785.5},
        "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "stalledS": 0.0},
    }
    assert pressure("some avg10=x total=1\nsome total=\nother total=1\n\n") == {}


def test_pressure_of_what_the_kernel_tells(proc: Path) -> None:
    with pytest.raises(Unsupported, match="psi=1"):
        Procfs(str(proc)).read("pressure")
    (proc / "pressure").mkdir()
    for resource in ("cpu", "memory"):
        (proc / f"pressure/{resource}").write_text(PRESSURE)
    assert Procfs(str(proc)).read("pressure").keys() == {"cpu", "memory"}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name, text in {"meminfo": MEMINFO, "vmstat": VMSTAT, "swaps": SWAPS, "loadavg": LOADAVG}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_swap_counts_bytes_since_boot(proc: Path) -> None:
    told = Procfs(str(proc)).read("swap")
    assert (told["in"] // 3, told["out"] // 197) == (4096, 4096)
    assert list(told["areas"]) == ["/dev/dm-1", "/var/my swap"]


def test_a_kernel_without_swap_has_none(proc: Path) -> None:
    (proc / "swaps").unlink()
    driver = Procfs(str(proc))
    assert driver.read("swap")["areas"] == {}
    assert driver.watches() == ()


@pytest.mark.parametrize(
    ("item", "text", "error"),
    [
        pytest.param("load", None, Unsupported, id="no file"),
        pytest.param("load", "none\n", DriverError, id="no numbers"),
        pytest.param("load", "", DriverError, id="empty"),
    ],
)
def test_says_why_not(proc: Path, item: str, text: str | None, error: type[Exception]) -> None:
    (proc / "loadavg").unlink()
    if text is not None:
        (proc / "loadavg").write_text(text)
    with pytest.raises(error):
        Procfs(str(proc)).read(item)


def test_memory_without_a_total_is_an_error() -> None:
    with pytest.raises(DriverError):
        memory("MemFree: 1 kB\n")


@pytest.mark.parametrize("item", Procfs.items)
def test_this_machine(item: str) -> None:
    told = Procfs().read(item)
    assert told
    if item == "memory":
        assert 0 < told["available"] <= told["total"]


@given(st.text() | st.text("MemTotal: 19kB\n\t-²"))
def test_any_text_is_survived(text: str) -> None:
    assert all(isinstance(value, int) for value in numbers(text).values())
    assert len(areas(text)) <= 32
    assert pressure(text).keys() <= {"some", "full"}
    for parse in (memory, load):
        told: Json = {}
        try:
            told = parse(text)
        except DriverError:
            continue
        assert told
