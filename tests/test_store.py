"""What survives a crash, on a disk in memory and on a real one."""

import json
import stat
from pathlib import Path

import pytest

from reconciler.errors import DriverError
from reconciler.store import DEEDS_MAX, StateFile, Store
from tests.lamps import MemoryDisk, written


def test_all_that_was_flushed_is_read_again(tmp_path: Path) -> None:
    store = Store(StateFile(str(tmp_path / "state")), "boot-1")
    store.keep(written(3, lamp={"lit": True}))
    store.settle("lamp")
    store.begin("bell", "t1")
    store.finish("bell", "t1")
    store.flush()

    again = Store(StateFile(str(tmp_path / "state")), "boot-2")
    assert again.spec == store.spec
    assert again.settled("lamp")
    assert again.past("bell").spent("t1")
    assert again.past("bell").deeds["t1"].boot_id == "boot-1"
    assert not again.dirty


def test_the_file_is_replaced_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path))
    file.replace(b"old")
    with (tmp_path / "state.json").open("rb") as opened:
        file.replace(b"new")
        assert opened.read() == b"old"  # another file took its name
    assert file.read() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_a_write_that_was_cut_short_leaves_the_old_state(tmp_path: Path) -> None:
    StateFile(str(tmp_path)).replace(b"old")
    (tmp_path / "state.json.new").write_bytes(b"ne")
    assert StateFile(str(tmp_path)).read() == b"old"
    StateFile(str(tmp_path)).replace(b"n")
    assert StateFile(str(tmp_path)).read() == b"n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b'{"format":2}', id="newer-format"),
        pytest.param(b'{"format":1,"spec":{"colour":1},"deeds":{},"settled":{}}', id="unknown-field"),
        pytest.param(b'{"format":1,"spec":{},"deeds":{"bell":[]},"settled":{}}', id="deeds-of-another-shape"),
    ],
)
def test_what_makes_no_sense_is_kept_and_no_token_is_begun_on_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(content)
    store = Store(StateFile(str(tmp_path)), "boot-1")
    assert store.spec.generation == 0
    assert (tmp_path / "state.json.broken").read_bytes() == content
    with pytest.raises(DriverError, match=r"look at state\.json\.broken and remove it"):
        store.begin("bell", "t1")

    (tmp_path / "state.json.broken").unlink()
    store.begin("bell", "t1")
    assert store.past("bell").spent("t1")


def test_a_token_is_begun_once() -> None:
    store = Store(MemoryDisk(), "boot-1")
    store.begin("bell", "t1")
    with pytest.raises(DriverError, match="begun before"):
        store.begin("bell", "t1")
    store.begin("door", "t1")  # another kind's token is another token


def test_a_refused_token_may_be_begun_again() -> None:
    store = Store(MemoryDisk(), "boot-1")
    store.begin("bell", "t1")
    store.refuse("bell", "t1", "wet" * 1000)
    assert not store.past("bell").spent("t1")
    assert len(store.past("bell").deeds["t1"].message) == 1000
    store.begin("bell", "t1")
    assert store.past("bell").spent("t1")


def test_a_full_disk_refuses_the_token() -> None:
    disk = MemoryDisk()
    disk.full = True
    store = Store(disk, "boot-1")
    with pytest.raises(DriverError, match="cannot remember t1: No space left on device"):
        store.begin("bell", "t1")
    assert not store.past("bell").spent("t1")
    assert store.dirty


def test_deeds_are_bounded_and_the_oldest_go_first() -> None:
    disk = MemoryDisk()
    store = Store(disk, "boot-1")
    for number in range(DEEDS_MAX + 2):
        store.begin("bell", f"t{number}")
    assert list(store.past("bell").deeds) == [f"t{number}" for number in range(2, DEEDS_MAX + 2)]
    assert len(json.loads(disk.content or b"")["deeds"]["bell"]) == DEEDS_MAX


def test_settling_counts_for_one_generation() -> None:
    store = Store(MemoryDisk(), "boot-1")
    store.settle("lamp")
    store.keep(written(1))
    assert not store.settled("lamp")


def test_nothing_new_is_not_written() -> None:
    disk = MemoryDisk()
    store = Store(disk, "boot-1")
    store.flush()
    store.keep(written(1))
    store.flush()
    store.flush()
    assert disk.writes == 1
