"""Watches on real folders, each awaited through its descriptor."""

import errno
import os
import select
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import DriverError
from reconciler.facilities import inotify
from reconciler.facilities.inotify import Event, Folders, Following, parse
from reconciler.resource import Watch


def ready(watch: Watch) -> bool:
    """Whether the descriptor turns readable; inotify queues before the writer's call returns."""
    return bool(select.select([watch], [], [], 0)[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def watch(folder: Path) -> Iterator[Folders]:
    with closing(Folders(str(folder), names=["status"])) as watch:
        yield watch


def test_a_quiet_folder_wakes_nobody(watch: Folders) -> None:
    assert not ready(watch)
    assert not watch.drain()


def test_a_file_renamed_into_place_is_a_change(watch: Folders, folder: Path) -> None:
    (folder / "status-new").write_text("x")
    assert not watch.drain()
    (folder / "status-new").rename(folder / "status")
    assert ready(watch)
    assert watch.drain()
    assert not ready(watch)


def test_a_file_is_looked_at_once_it_is_closed(watch: Folders, folder: Path) -> None:
    with (folder / "status").open("w") as file:
        file.write("half")
        file.flush()
        assert not watch.drain()
    assert watch.drain()


def test_a_removed_file_is_a_change(watch: Folders, folder: Path) -> None:
    (folder / "status").touch()
    watch.drain()
    (folder / "status").unlink()
    assert watch.drain()


def test_other_names_are_not_our_business(watch: Folders, folder: Path) -> None:
    (folder / "lock").touch()
    assert ready(watch)
    assert not watch.drain()


def test_without_names_every_entry_counts(folder: Path) -> None:
    with closing(Folders(str(folder))) as watch:
        (folder / "anything").touch()
        assert watch.drain()


def test_a_suffix_says_which_entries_count(folder: Path) -> None:
    with closing(Folders(str(folder), suffix=".prom")) as watch:
        (folder / "a.prom.new").touch()
        assert not watch.drain()
        (folder / "a.prom.new").rename(folder / "a.prom")
        assert watch.drain()


def test_the_mask_says_what_counts(folder: Path) -> None:
    with closing(Folders(str(folder), mask=inotify.DELETE)) as watch:
        (folder / "file").touch()
        assert not watch.drain()
        (folder / "file").unlink()
        assert watch.drain()


def test_a_missing_folder_is_waited_for(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    with closing(Folders(str(deep), names=["x"])) as watch:
        (tmp_path / "other").mkdir()
        (tmp_path / "x").touch()
        assert not watch.drain()
        (tmp_path / "a").mkdir()
        assert watch.drain()
        (tmp_path / "a" / "b").mkdir()
        assert watch.drain()
        deep.mkdir()
        assert watch.drain()
        (deep / "y").touch()
        assert not watch.drain()
        (deep / "x").touch()
        assert watch.drain()


def test_a_folder_made_all_at_once_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    with closing(Folders(str(deep))) as watch:
        deep.mkdir(parents=True)
        assert watch.drain()
        (deep / "x").touch()
        assert watch.drain()


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_folder_that_goes_is_waited_for_again(watch: Folders, folder: Path, how: str) -> None:
    if how == "removed":
        folder.rmdir()
    else:
        folder.rename(folder.with_name("elsewhere"))
    assert watch.drain()
    folder.mkdir()
    assert watch.drain()
    (folder / "status").touch()
    assert watch.drain()


def test_a_renamed_folder_is_no_longer_ours(watch: Folders, folder: Path) -> None:
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    watch.drain()
    (elsewhere / "status").touch()
    assert not watch.drain()


def test_a_folder_and_one_missing_inside_it_share_a_watch(folder: Path) -> None:
    with closing(Folders(str(folder), str(folder / "inner"))) as watch:
        (folder / "file").touch()
        assert watch.drain()
        (folder / "inner").mkdir()
        assert watch.drain()
        (folder / "inner" / "file").touch()
        assert watch.drain()


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with closing(Folders(str(tmp_path / "file" / "inner"))) as watch:
        assert not watch.drain()
        (tmp_path / "file").unlink()
        (tmp_path / "file").mkdir()
        assert watch.drain()


def test_an_overflow_reads_as_a_change(watch: Folders, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overflow = struct.pack("iIII", -1, 0x4000, 0, 0)
    chunks = iter([overflow])

    def read(fd: int, size: int) -> bytes:
        for chunk in chunks:
            return chunk
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        assert watch.drain()
    (folder / "status").touch()
    assert watch.drain()


def test_a_limit_of_the_kernels_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(inotify._Kernel):
        def __init__(self) -> None:
            super().__init__()
            self._add = lambda fd, folder, mask: -1
            self._errno = lambda: errno.ENOSPC

    monkeypatch.setattr(inotify, "_Kernel", Full)
    with pytest.raises(DriverError, match=r"cannot watch .*: No space left on device"):
        Folders(str(tmp_path))
    with closing(Following()) as watch:
        watch.follow([str(tmp_path)], ["x"])  # it is tried again later
        assert not watch.drain()


@pytest.fixture
def unwatched(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A way that leads nowhere, and that no waiting mends."""
    if request.param == "long":
        return str(tmp_path / ("n" * 300) / "inner")
    (tmp_path / "loop").symlink_to("loop")
    return str(tmp_path / "loop")


@pytest.mark.parametrize("unwatched", ["long", "loop"], indirect=True)
def test_one_folder_that_cannot_be_watched_costs_no_other(folder: Path, unwatched: str) -> None:
    with closing(Folders(unwatched, str(folder), f"{unwatched}/x")) as watch:
        (folder / "status").touch()
        assert watch.drain()


def test_what_is_followed_comes_and_goes(folder: Path, tmp_path: Path) -> None:
    with closing(Following()) as watch:
        assert not ready(watch)
        watch.follow([str(folder)], ["status"])
        assert ready(watch)
        assert not watch.drain()
        (folder / "status").touch()
        (folder / "other").touch()
        assert watch.drain()
        (folder / "status").chmod(0o600)
        assert watch.drain()
        watch.follow([str(tmp_path)], ["status"])
        (folder / "status").chmod(0o644)  # before the other one took over
        assert watch.drain()
        (folder / "status").chmod(0o600)
        (tmp_path / "status").touch()
        assert watch.drain()
        watch.follow([], [])
        watch.drain()
        (tmp_path / "status").chmod(0o600)
        assert not watch.drain()


def test_what_is_followed_is_watched_anew_by_the_look_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the kernel's limit, and never in `drain`, where a dead filesystem would hold up everything."""

    def full(self: object, folder: str, mask: int) -> int:
        raise DriverError("cannot watch: No space left on device")

    with closing(Following()) as watch:
        watch.follow([str(folder)], ["status"])
        assert not watch.drain()
        folder.rmdir()
        with monkeypatch.context() as limited:
            limited.setattr(inotify._Kernel, "add", full)
            assert watch.drain()
            watch.follow([str(folder)], ["status"])
            assert not watch.drain()
        folder.mkdir()
        watch.follow([str(folder)], ["status"])
        assert watch.drain()  # for what nobody saw meanwhile
        assert not watch.drain()
        (folder / "status").touch()
        assert watch.drain()


def test_the_same_again_is_no_work(folder: Path) -> None:
    with closing(Following()) as watch:
        watch.follow([str(folder)], ["status"])
        watch.drain()
        watch.follow({str(folder)}, ("status",))
        assert not ready(watch)


def test_no_descriptor_is_left_however_often_others_are_followed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with closing(Following()) as watch:
        for number in range(9):
            watch.follow([str(tmp_path / str(number))], ["status"])
            assert ready(watch)
            watch.drain()
        assert len(os.listdir("/proc/self/fd")) == before + 3
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
def test_a_folder_that_we_may_not_read_goes_unwatched(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    nobody = 65534
    os.seteuid(nobody)
    try:
        with closing(Folders("/", str(tmp_path / "closed"), str(tmp_path / "closed" / "inner"))) as watch:
            assert not watch.drain()
    finally:
        os.seteuid(0)


def test_closing_twice_is_no_harm(folder: Path) -> None:
    watch = Folders(str(folder))
    watch.close()
    watch.close()
    assert watch.fileno() == -1


EVENTS = st.builds(
    Event,
    st.integers(1, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=60),
)


@given(st.lists(EVENTS, max_size=5), st.integers(1, 32))
def test_events_come_back_whole(events: list[Event], padding: int) -> None:
    data = b""
    for event in events:
        name = os.fsencode(event.name)
        length = len(name) + padding if name else 0
        data += struct.pack("iIII", event.watch, event.mask, 0, length) + name.ljust(length, b"\0")
    assert list(parse(data)) == events


@given(st.binary(max_size=80))
def test_garbage_from_the_kernel_does_not_raise(data: bytes) -> None:
    list(parse(data))
