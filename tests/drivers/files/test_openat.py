"""Files in a folder of our own; what fails and who meddles is in test_openat_faults."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.drivers.files import openat
from reconciler.drivers.files.openat import Openat
from reconciler.errors import DriverError, Forbidden
from reconciler.resource import Past, Watch, Watching
from reconciler.resources.files import Desired, Files, Paths, Terms
from reconciler.subjects.file_states import CONTENT_BYTES_MAX, SCRATCH, File, Seen, digest_of
from tests.bus import readable

PORT: Paths = Openat()  # holds the driver to its port, for the type checker
WATCHING: Watching = Openat()
WATCH: Watch = Openat().watches()[0]
OLD, NEW = b"old\n", b"new, and longer\n"
PLAIN = Terms()


@pytest.fixture
def driver() -> Iterator[Openat]:
    driver = Openat()
    yield driver
    for watch in driver.watches():
        watch.close()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def motd(etc: Path) -> Path:
    path = etc / "motd"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def look(driver: Openat, path: Path) -> Seen:
    return driver.look(str(path), digest=True)


def test_sees_a_file(driver: Openat, motd: Path) -> None:
    seen = look(driver, motd)
    assert (seen.state, seen.size, seen.mode, seen.names, seen.obstacle) == ("file", 4, 0o640, 1, "")
    assert seen.digest == digest_of([OLD])
    assert (seen.uid, seen.gid) == (os.getuid(), os.getgid())
    assert driver.user(seen.owner) == os.getuid()
    assert driver.group(seen.group) == os.getgid()


def test_does_not_read_what_is_not_asked_for_or_too_long(driver: Openat, motd: Path) -> None:
    assert driver.look(str(motd), digest=False).digest == ""
    os.truncate(motd, CONTENT_BYTES_MAX)
    assert look(driver, motd).digest.startswith("sha256:")
    os.truncate(motd, CONTENT_BYTES_MAX + 1)
    assert look(driver, motd).digest == ""


def test_owners_without_a_name_are_their_numbers(driver: Openat) -> None:
    assert driver.user("no-such-user") is None
    assert driver.group("no-such-group") is None
    assert (openat._name_of(4_000_000_000), openat._group_of(4_000_000_000)) == ("4000000000", "4000000000")


@pytest.mark.parametrize(
    ("make", "state", "obstacle"),
    [
        pytest.param(lambda _: None, "absent", "", id="nothing"),
        pytest.param(lambda path: path.mkdir(), "other", "it is a folder", id="folder"),
        pytest.param(os.mkfifo, "other", "it is no regular file", id="pipe"),
        pytest.param(
            lambda path: path.symlink_to("/etc/passwd"),
            "other",
            "it is a symbolic link to /etc/passwd",
            id="link",
        ),
        pytest.param(
            lambda path: path.symlink_to("nowhere"),
            "other",
            "it is a symbolic link to nowhere",
            id="dangling",
        ),
    ],
)
def test_says_what_is_in_the_way_and_leaves_it(
    driver: Openat, etc: Path, make: Callable[[Path], Any], state: str, obstacle: str
) -> None:
    path = etc / "x"
    make(path)
    seen = look(driver, path)
    assert (seen.state, seen.obstacle) == (state, obstacle)
    if obstacle:
        before = os.lstat(path)
        for act in acts(driver, path):
            with pytest.raises(DriverError, match=f"cannot .*/x: {obstacle}"):
                act()
        assert os.lstat(path) == before


def acts(driver: Openat, path: Path) -> list[Callable[[], None]]:
    return [
        lambda: driver.write(str(path), NEW, PLAIN),
        lambda: driver.adjust(str(path), Terms(mode=0o600)),
        lambda: driver.remove(str(path), backup=False),
    ]


def test_no_folder_of_the_way_may_be_a_link(driver: Openat, etc: Path, motd: Path) -> None:
    (etc.parent / "link").symlink_to("etc")
    path = etc.parent / "link" / "motd"
    seen = look(driver, path)
    assert (seen.state, seen.obstacle) == ("other", f"{etc.parent}/link is a symbolic link to etc")
    for act in acts(driver, path):
        with pytest.raises(DriverError, match="is a symbolic link to etc"):
            act()
    assert motd.read_bytes() == OLD


@pytest.mark.parametrize(
    ("path", "obstacle"),
    [
        pytest.param("missing/deep/x", "there is no folder .*/etc/missing", id="missing"),
        pytest.param("motd/x", ".*/etc/motd is no folder", id="a file"),
    ],
)
def test_without_a_folder_there_is_no_file(
    driver: Openat, etc: Path, motd: Path, path: str, obstacle: str
) -> None:
    seen = look(driver, etc / path)
    assert seen.state == "absent"
    with pytest.raises(DriverError, match=f"cannot write .*: {obstacle}"):
        driver.write(f"{etc}/{path}", NEW, PLAIN)


def test_writes_a_new_file_for_everybody_to_read(driver: Openat, etc: Path) -> None:
    umask = os.umask(0o077)
    try:
        driver.write(f"{etc}/new", NEW, PLAIN)
    finally:
        os.umask(umask)
    seen = look(driver, etc / "new")
    assert (seen.digest, seen.mode, seen.uid) == (digest_of([NEW]), 0o644, os.getuid())
    assert os.listdir(etc) == ["new"]


def test_what_is_not_said_stays_and_whoever_reads_goes_on(driver: Openat, motd: Path) -> None:
    with motd.open("rb") as reader:
        inode = motd.stat().st_ino
        driver.write(str(motd), NEW, PLAIN)
        assert reader.read() == OLD
    assert (motd.read_bytes(), stat.S_IMODE(motd.stat().st_mode)) == (NEW, 0o640)
    assert motd.stat().st_ino != inode


def test_never_gives_a_file_the_powers_of_its_owner(driver: Openat, motd: Path) -> None:
    motd.chmod(0o4755)
    driver.write(str(motd), NEW, PLAIN)
    assert stat.S_IMODE(motd.stat().st_mode) == 0o755


def test_changes_only_the_mode(driver: Openat, motd: Path) -> None:
    inode = motd.stat().st_ino
    driver.adjust(str(motd), Terms(mode=0o600))
    assert (motd.read_bytes(), stat.S_IMODE(motd.stat().st_mode)) == (OLD, 0o600)
    assert motd.stat().st_ino == inode


def test_a_file_of_two_names_is_not_changed_in_place(driver: Openat, etc: Path, motd: Path) -> None:
    os.link(motd, etc / "other")
    assert look(driver, motd).names == 2
    with pytest.raises(DriverError, match="2 names"):
        driver.adjust(str(motd), Terms(mode=0o600))
    driver.write(str(motd), NEW, Terms(mode=0o600))
    assert (etc / "other").read_bytes() == OLD
    assert stat.S_IMODE((etc / "other").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [pytest.param(0o777, id="others"), pytest.param(0o1777, id="sticky")])
def test_where_others_can_put_a_file_none_is_changed_in_place(
    driver: Openat, etc: Path, motd: Path, mode: int
) -> None:
    etc.chmod(mode)
    assert look(driver, motd).loose == f"others can write in {etc}"
    with pytest.raises(DriverError, match=r"others can write in .*, so it may be another file"):
        driver.adjust(str(motd), Terms(mode=0o644))
    assert stat.S_IMODE(motd.stat().st_mode) == 0o640
    driver.write(str(motd), NEW, Terms(mode=0o600))
    assert stat.S_IMODE(motd.stat().st_mode) == 0o600


def test_a_sticky_folder_may_be_on_the_way(driver: Openat, etc: Path, motd: Path) -> None:
    etc.parent.chmod(0o1777)
    assert look(driver, motd).loose == ""
    driver.adjust(str(motd), Terms(mode=0o644))


def test_removes(driver: Openat, etc: Path, motd: Path) -> None:
    driver.remove(str(motd), backup=False)
    driver.remove(str(motd), backup=False)  # nothing is left to do
    assert os.listdir(etc) == []


def test_nobody_is_in_the_way_of_its_scratch(driver: Openat, motd: Path, etc: Path) -> None:
    (etc / SCRATCH).mkdir()
    driver.write(str(motd), NEW, PLAIN)
    assert motd.read_bytes() == NEW
    assert sorted(os.listdir(etc)) == [SCRATCH, "motd"]


def test_keeps_the_last_one_on_request(driver: Openat, etc: Path, motd: Path) -> None:
    driver.write(f"{etc}/new", NEW, Terms(backup=True))  # there was none
    assert sorted(os.listdir(etc)) == ["motd", "new"]
    driver.write(str(motd), NEW, Terms(backup=True, mode=0o600))
    assert ((etc / "motd~").read_bytes(), stat.S_IMODE((etc / "motd~").stat().st_mode)) == (OLD, 0o640)
    driver.write(str(motd), b"newer", Terms(backup=True))
    assert (etc / "motd~").read_bytes() == NEW
    driver.remove(str(motd), backup=True)
    assert (etc / "motd~").read_bytes() == b"newer"
    assert sorted(os.listdir(etc)) == ["motd~", "new"]


def test_only_where_the_policy_allows(driver: Openat, etc: Path, motd: Path) -> None:
    driver.file_folders = (f"{etc}/motd.d", "/srv")
    for path in (str(motd), f"{etc}/motd.dx/y", f"{etc}/motd.d"):
        with pytest.raises(Forbidden, match="allow-files-in"):
            driver.look(path, digest=True)
        with pytest.raises(Forbidden, match="allow-files-in"):
            driver.write(path, NEW, PLAIN)
    assert motd.read_bytes() == OLD
    for folders in ((str(etc),), ("/",)):
        driver.file_folders = folders
        assert look(driver, motd).state == "file"


contents = st.sampled_from([b"", OLD, NEW, bytes(range(256)) * 999])
modes = st.sampled_from([0o600, 0o640, 0o777])
there = st.none() | st.tuples(contents, modes)
written = st.none() | contents
wanted = st.tuples(st.booleans(), written, st.none() | modes, st.booleans())


def file_of(path: Path, absent: bool, content: bytes | None, mode: int | None, backup: bool) -> File:
    if absent:
        return File(path=str(path), absent=True, backup=backup)
    digest = "" if content is None else digest_of([content])
    return File(path=str(path), content=content, digest=digest, mode=mode, backup=backup)


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(there, wanted), min_size=1))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_planned_and_done_is_what_is_seen(
    tmp_path_factory: pytest.TempPathFactory,
    driver: Openat,
    cases: dict[str, tuple[tuple[bytes, int] | None, tuple[Any, ...]]],
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name, (before, _) in cases.items():
        if before is not None:
            (folder / name).write_bytes(before[0])
            (folder / name).chmod(before[1])
    kind = Files(driver)
    desired = Desired(tuple(file_of(folder / name, *wish) for name, (_, wish) in cases.items()))
    foreseen = kind.observe(desired, Past())
    plan = kind.plan(desired, kind.diff(desired, foreseen))
    for action in plan:
        kind.act(action)
        foreseen = kind.foresee(foreseen, action)
    seen = kind.observe(desired, Past())
    assert kind.diff(desired, seen) == ()
    for file in desired.files:
        ours, theirs = foreseen.files[file.path], seen.files[file.path]
        assert (ours.state, ours.mode, ours.digest) == (theirs.state, theirs.mode, theirs.digest)
        kept = file.backup and cases[file.path[-1]][0] is not None and file.path in {a.target for a in plan}
        assert not os.path.exists(f"{file.path}~") or kept
    assert set(os.listdir(folder)) <= {*"abc", "a~", "b~", "c~"}
    for watch in driver.watches():
        watch.drain()


# Changes


def test_wakes_for_what_is_followed_and_for_nothing_else(driver: Openat, motd: Path) -> None:
    (watch,) = driver.watches()
    assert not watch.drain()
    driver.follow([str(motd)])
    assert readable(watch.fileno())  # to take over what is followed now
    assert not watch.drain()
    assert not readable(watch.fileno(), 0)
    (motd.parent / "other").write_text("x")
    assert not watch.drain()
    for change in (lambda: motd.write_text("x"), lambda: motd.chmod(0o600), motd.unlink):
        change()
        assert readable(watch.fileno())
        assert watch.drain()
        assert not readable(watch.fileno(), 0)
    driver.follow([f"{motd.parent}/other"])
    watch.drain()
    motd.write_text("x")
    assert not watch.drain()
    driver.follow([])
    watch.drain()
    (motd.parent / "other").write_text("y")
    assert not watch.drain()


def test_waits_for_a_folder(driver: Openat, etc: Path) -> None:
    (watch,) = driver.watches()
    driver.follow([f"{etc}/deep/x"])
    watch.drain()
    (etc / "deep").mkdir()
    assert readable(watch.fileno())
    assert watch.drain()
    driver.follow([f"{etc}/deep/x"])  # as the look does that comes of it
    watch.drain()
    (etc / "deep" / "x").touch()
    assert watch.drain()


def test_the_driver_notices_what_it_follows(driver: Openat, motd: Path) -> None:
    (watch,) = driver.watches()
    driver.follow([str(motd)])
    motd.write_text("x")
    assert watch.drain()
