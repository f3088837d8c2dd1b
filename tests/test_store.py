"""What survives a crash, on a disk in memory and on a real one."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.deeds import ALIKE_MAX
from reconciler.errors import DriverError, Terminal
from reconciler.resource import Json
from reconciler.store import StateFile, Store
from tests.lamps import MemoryDisk, written

EMPTY: dict[str, Json] = {"format": 1, "spec": {}, "deeds": {}, "settled": {}, "since": {}}
WRONG: dict[str, dict[str, Json]] = {
    "unknown-field": {"spec": {"colour": 1}},
    "deeds-of-another-shape": {"deeds": {"bell": []}},
    "generation-as-text": {"spec": {"generation": "5"}},
    "generation-below-zero": {"spec": {"generation": -5}},
    "generation-beyond-json": {"spec": {"generation": 10**30}},
    "digest-as-number": {"spec": {"digest": 5}},
    "spec-as-list": {"spec": {"normal": []}},
    "kind-as-text": {"spec": {"normal": {"lamp": "lit"}}},
    "deed-in-no-state": {"deeds": {"bell": {"t": {"state": 5, "boot_id": "b", "generation": 1}}}},
    "settled-by-text": {"settled": {"lamp": "5"}},
    "since-a-text": {"since": {"lamp": "5"}},
    "began-without-a-boot": {"began": {"lamp": 5.0}},
    "began-at-a-word": {"began": {"lamp": ["boot-1", "noon"]}},
    "began-in-no-boot": {"began": {"lamp": [1, 5.0]}},
    "refused-for-a-number": {
        "deeds": {"bell": {"t": {"state": "refused", "boot_id": "b", "generation": 1, "reason": 5}}}
    },
}


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
        pytest.param(
            b'{"format":1,"spec":{"colour":1},"deeds":{},"settled":{},"since":{}}', id="unknown-field"
        ),
        pytest.param(
            b'{"format":1,"spec":{},"deeds":{"bell":[]},"settled":{},"since":{}}', id="deeds-of-another-shape"
        ),
        pytest.param(b"[" * 100_000, id="deep"),
        *(pytest.param(json.dumps({**EMPTY, **wrong}).encode(), id=id) for id, wrong in WRONG.items()),
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


def test_one_agent_at_a_time(tmp_path: Path) -> None:
    first, second = StateFile(str(tmp_path)), StateFile(str(tmp_path))
    first.lock()
    with pytest.raises(DriverError, match="another agent does"):
        second.lock()


def test_where_others_can_write_no_state_is_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(DriverError, match="others can write there"):
        StateFile(str(tmp_path))


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "state.json.new").symlink_to(tmp_path / "other")
    StateFile(str(tmp_path)).replace(b"new")
    assert (tmp_path / "state.json").read_bytes() == b"new"
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "state.json")
    with pytest.raises(DriverError, match=r"cannot read .*state\.json: "):
        Store(StateFile(str(tmp_path)), "boot-1")


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DriverError, match=r"cannot keep the state in .*/file: "):
        StateFile(str(tmp_path / "file"))


def test_a_token_is_begun_once() -> None:
    store = Store(MemoryDisk(), "boot-1")
    store.begin("bell", "t1")
    with pytest.raises(DriverError, match="begun before"):
        store.begin("bell", "t1")
    store.begin("door", "t1")  # another kind's token is another token


def test_a_refused_token_may_be_begun_again_and_says_why_it_was() -> None:
    disk = MemoryDisk()
    store = Store(disk, "boot-1")
    store.begin("bell", "t1")
    store.refuse("bell", "t1", Terminal("wet" * 1000))
    store.flush()
    deed = Store(disk, "boot-2").past("bell").deeds["t1"]
    assert (deed.spent, deed.reason, len(deed.message)) == (False, "Terminal", 1000)
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
    for number in range(ALIKE_MAX + 2):
        store.begin("bell", f"t{number}")
    assert list(store.past("bell").deeds) == [f"t{number}" for number in range(2, ALIKE_MAX + 2)]
    assert len(json.loads(disk.content or b"")["deeds"]["bell"]) == ALIKE_MAX


def test_what_the_document_names_is_not_forgotten_until_it_names_it_no_more() -> None:
    store = Store(MemoryDisk(), "boot-1")
    store.keep(written(1, bell={"db": {"ring": "v1"}, "web": {"ring": "build"}}))
    store.begin("bell", "ring:db:v1")
    for number in range(ALIKE_MAX + 1):
        store.begin("bell", f"ring:web:{number}")
    assert store.past("bell").spent("ring:db:v1")
    store.keep(written(2, bell={"web": {"ring": "build"}}))
    store.begin("bell", "ring:web:build")
    assert not store.past("bell").spent("ring:db:v1")


def test_more_than_can_be_remembered_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.deeds.KIND_MAX", 2)
    monkeypatch.setattr("reconciler.store.KIND_MAX", 2)
    store = Store(MemoryDisk(), "boot-1")
    store.keep(written(1, bell={"ring": ["1", "2", "3", "4"]}))
    for number in (1, 2, 3):
        store.begin("bell", f"ring:{number}")
    with pytest.raises(DriverError, match="cannot begin ring:4: more than 2 acts were done for tokens"):
        store.begin("bell", "ring:4")
    assert store.past("bell").spent("ring:1")
    store.keep(written(9, bell={"ring": ["5"]}))  # what it names no more is in nobody's way
    store.begin("bell", "ring:5")
    assert list(store.past("bell").deeds) == ["ring:3", "ring:5"]


def test_units_that_count_do_not_stand_in_each_others_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.deeds.KIND_MAX", 6)
    monkeypatch.setattr("reconciler.store.KIND_MAX", 6)
    store = Store(MemoryDisk(), "boot-1")
    for count in range(1, 9):
        counts = {name: {"ring": str(count + place)} for place, name in enumerate("abc")}
        store.keep(written(count, bell=counts))
        for name, said in counts.items():
            store.begin("bell", f"ring:{name}.bell:{said['ring']}")
    assert len(store.past("bell").deeds) == 6


LIT, DARK = {"lit": True}, {"lit": False}


@pytest.mark.parametrize(
    ("documents", "since"),
    [
        pytest.param([{"lamp": LIT}], 1, id="new"),
        pytest.param([{"lamp": LIT}, {"lamp": LIT, "bell": {}}], 1, id="another-kind-changed"),
        pytest.param([{"lamp": LIT}, {"lamp": LIT, "bell": {}}, {"lamp": LIT}], 1, id="and-changed-back"),
        pytest.param([{"lamp": LIT}, {"lamp": DARK}], 2, id="this-kind-changed"),
        pytest.param([{"lamp": LIT}, {}, {"lamp": LIT}], 3, id="gone-and-back"),
        pytest.param([{"lamp": LIT}, {"lamp": LIT}], 2, id="all-of-it-once-more"),
        pytest.param([{"lamp": LIT}, {"lamp": LIT}, {"lamp": LIT, "bell": {}}], 2, id="and-another-changed"),
    ],
)
def test_a_kind_is_settled_until_what_is_said_of_it_changes(
    documents: list[dict[str, Json]], since: int
) -> None:
    disk = MemoryDisk()
    for generation, document in enumerate(documents, start=1):
        store = Store(disk, "boot-1")  # also over a restart
        store.keep(written(generation, **document))
        settled, past = store.settled("lamp"), store.past("lamp")
        store.settle("lamp")
        store.flush()
    assert (past.generation, past.in_force) == (since, len(documents))
    assert settled is (since < len(documents))


def test_when_it_was_that_a_document_came_to_say_of_a_kind_what_it_says() -> None:
    disk, now_s = MemoryDisk(), 10.0
    store = Store(disk, "boot-1", lambda: now_s)
    store.keep(written(1, lamp=LIT))
    now_s = 20.0
    store.keep(written(2, lamp=LIT, bell={}))
    assert [store.past(kind).began_s for kind in ("lamp", "bell", "door")] == [10.0, 20.0, 0.0]
    now_s = 30.0
    preview = written(3, lamp=DARK, bell={})
    assert [store.past(kind, preview).began_s for kind in ("lamp", "bell")] == [30.0, 20.0]
    store.flush()
    again, later = Store(disk, "boot-1", lambda: 40.0), Store(disk, "boot-2", lambda: 5.0)
    assert (again.past("lamp").began_s, later.past("lamp").began_s) == (10.0, 0.0)
    later.keep(written(3, lamp=LIT, bell={}, door={}))
    assert (later.past("lamp").began_s, later.past("door").began_s) == (0.0, 5.0)


def test_a_state_of_before_anything_had_a_moment_or_a_reason_is_read() -> None:
    deed = {"state": "refused", "boot_id": "boot-1", "generation": 1, "message": "wet"}
    content = {**EMPTY, "deeds": {"bell": {"t1": deed}}, "since": {"bell": 1}}
    disk = MemoryDisk(json.dumps(content).encode())
    past = Store(disk, "boot-1").past("bell")
    assert not disk.broken()
    assert (past.began_s, past.deeds["t1"].reason, past.deeds["t1"].message) == (0.0, "", "wet")


def test_a_preview_is_of_its_own_generation_only_where_it_says_something_new() -> None:
    store = Store(MemoryDisk(), "boot-1")
    store.keep(written(4, lamp=LIT, bell={}))
    preview = written(5, lamp=LIT, bell={"loud": True})
    lamp, bell = store.past("lamp", preview), store.past("bell", preview)
    assert (lamp.generation, bell.generation) == (4, 5)
    assert lamp.preview
    assert bell.in_force == 5
    assert not store.past("lamp").preview


def test_nothing_new_is_not_written() -> None:
    disk = MemoryDisk()
    store = Store(disk, "boot-1")
    store.flush()
    store.keep(written(1))
    store.flush()
    store.flush()
    assert disk.writes == 1


def test_what_changes_during_a_write_is_still_to_be_written() -> None:
    disk = MemoryDisk()
    store = Store(disk, "boot-1")
    store.keep(written(1))
    disk.before = lambda: store.keep(written(2))
    store.flush()
    assert store.dirty
    disk.before = lambda: None
    store.flush()
    assert not store.dirty
    assert Store(disk, "boot-1").spec.generation == 2
