"""Homes of made-up users, some of whom mean no good."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.accounts import home
from reconciler.errors import DriverError
from reconciler.subjects.people.changes import Keys
from reconciler.subjects.people.ssh_keys import MARK, identity
from tests.subjects.people.test_ssh_keys import ECDSA, ED25519, OTHER

UID, GID = 12_345, 12_346
pytestmark = pytest.mark.root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def own(*paths: Path) -> None:
    for path in paths:
        os.chown(path, UID, GID, follow_symlinks=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "homes" / "carol"
    folder.mkdir(parents=True, mode=0o755)
    own(folder)
    return folder


def with_file(place: Path, text: str = f"{OTHER} hers\n", mode: int = 0o600) -> Path:
    (place / ".ssh").mkdir(mode=0o700)
    file = place / ".ssh/authorized_keys"
    file.write_text(text)
    file.chmod(mode)
    own(place / ".ssh", file)
    return file


def look(place: Path) -> Keys:
    return home.keys(str(place), UID, GID)


def write(place: Path, *keys: str) -> None:
    home.write_keys(str(place), UID, GID, keys)


def test_writes_the_first_keys_as_sshd_wants_them(place: Path) -> None:
    assert look(place) == Keys()
    write(place, ED25519, ECDSA)
    file = place / ".ssh/authorized_keys"
    assert file.read_text() == f"{ED25519} {MARK}\n{ECDSA} {MARK}\n"
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert {path.stat().st_uid for path in (file, file.parent)} == {UID}
    assert {path.stat().st_gid for path in (file, file.parent)} == {GID}
    assert os.listdir(file.parent) == ["authorized_keys"]
    assert look(place) == Keys(ours=(ED25519, ECDSA))
    (place.parent / "ours").touch()  # with our own rights again
    assert (place.parent / "ours").stat().st_uid == 0


def test_what_is_hers_stays(place: Path) -> None:
    file = with_file(place, f"# mine\r\n{OTHER} caf\u00e9\n", 0o640)
    file.write_bytes(file.read_bytes() + b"\xff\n")
    before = file.read_bytes()
    write(place, ED25519)
    assert look(place).others == {identity(OTHER)}
    write(place)
    assert file.read_bytes() == before
    assert mode(file) == 0o640


@pytest.mark.parametrize(
    "loosen",
    [
        pytest.param(lambda place: place.chmod(0o777), id="home"),
        pytest.param(lambda place: (place / ".ssh").chmod(0o770), id="folder"),
        pytest.param(lambda place: (place / ".ssh/authorized_keys").chmod(0o666), id="file"),
    ],
)
def test_what_others_can_write_is_tightened(place: Path, loosen: Callable[[Path], None]) -> None:
    file = with_file(place)
    loosen(place)
    assert look(place).loose
    write(place, ED25519)
    assert not look(place).loose
    assert [mode(path) & 0o022 for path in (place, file.parent, file)] == [0, 0, 0]


def planted(place: Path, target: Path, *, link: str) -> None:
    """`authorized_keys` or the whole folder is another name for something of root's."""
    if link == "folder":
        (place / ".ssh").symlink_to(target.parent)
        own(place / ".ssh")
        return
    (place / ".ssh").mkdir(mode=0o700)
    file = place / ".ssh/authorized_keys"
    if link == "hard":
        os.link(target, file)
    elif link == "pipe":
        os.mkfifo(file)
        own(file)
    else:
        file.symlink_to(target)
        own(file)
    own(place / ".ssh")


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        pytest.param("folder", "not a folder but a link", id="link for the folder"),
        pytest.param("soft", "symbolic link", id="link for the file"),
        pytest.param("hard", "cannot be read with its owner's rights", id="hard link to a file of root's"),
        pytest.param("pipe", "no regular file", id="pipe"),
    ],
)
def test_links_lead_nowhere(place: Path, link: str, fault: str) -> None:
    target = place.parent / "etc" / "authorized_keys"
    target.parent.mkdir(mode=0o777)
    target.write_text("root's\n")
    target.chmod(0o600)
    planted(place, target, link=link)
    assert fault in look(place).fault
    with pytest.raises(DriverError, match="cannot write keys"):
        write(place, ED25519)
    assert target.read_text() == "root's\n"
    assert os.listdir(target.parent) == ["authorized_keys"]


def test_a_hard_link_to_a_file_that_is_his_own_elsewhere(place: Path) -> None:
    file = with_file(place)
    os.link(file, place / "twin")
    assert "hard links" in look(place).fault


def test_the_home_of_somebody_else_is_left_alone(place: Path) -> None:
    os.chown(place, 0, 0)
    assert "belongs to somebody else" in look(place).fault
    os.chown(place, UID + 1, GID)
    with pytest.raises(DriverError, match="belongs to somebody else"):
        write(place, ED25519)
    assert os.listdir(place) == []


def test_the_root_folder_is_nobodys_home() -> None:
    assert "belongs to somebody else" in home.keys("/", 0, 0).fault


def test_a_link_on_the_way_counts_where_only_root_can_write(place: Path) -> None:
    linked = place.parent / "linked"
    linked.symlink_to("./carol")
    write(linked, ED25519)
    assert look(place).ours == (ED25519,)
    place.parent.chmod(0o777)
    assert "planted" in look(linked).fault


def test_a_link_to_itself_ends(place: Path) -> None:
    loop = place.parent / "loop"
    loop.symlink_to("loop")
    assert "cannot be read" in look(loop).fault
    assert home.owner(str(loop)) is None


def test_no_home_has_no_keys_and_gets_none(place: Path) -> None:
    missing = place.parent / "nobody"
    assert look(missing) == Keys()
    with pytest.raises(DriverError, match="No such file"):
        write(missing, ED25519)


def test_a_file_without_end_is_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_file(place)
    monkeypatch.setattr(home, "FILE_BYTES_MAX", 10)
    assert "longer than 10 bytes" in look(place).fault


def test_a_folder_that_its_owner_has_closed_stays_closed(place: Path) -> None:
    file = with_file(place)
    file.parent.chmod(0o500)
    with pytest.raises(DriverError, match="Permission denied"):
        write(place, ED25519)
    assert file.read_text() == f"{OTHER} hers\n"


def test_half_of_an_earlier_attempt_is_cleared_away(place: Path) -> None:
    file = with_file(place)
    half = file.parent / ".authorized_keys.new"
    half.write_text("half")
    own(half)
    write(place, ED25519)
    assert os.listdir(file.parent) == ["authorized_keys"]


@pytest.fixture
def skel(tmp_path: Path) -> Path:
    skel = tmp_path / "skel"
    (skel / ".config").mkdir(parents=True)
    (skel / ".profile").write_text("hello\n")
    (skel / ".config/link").symlink_to("/etc/passwd")
    return skel


def test_makes_a_home(skel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "srv/homes/dave"
    before = os.umask(0o077)  # the unit's
    try:
        home.make(str(fresh), UID, GID, str(skel))
    finally:
        os.umask(before)
    assert home.owner(str(fresh)) == UID
    assert [mode(folder) for folder in (fresh.parent, fresh.parent.parent)] == [0o755, 0o755]
    assert mode(fresh) == 0o700
    assert (fresh / ".profile").read_text() == "hello\n"
    assert (fresh / ".config/link").readlink() == Path("/etc/passwd")
    for path in (fresh, fresh / ".profile", fresh / ".config", fresh / ".config/link"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (UID, GID)
    assert os.listdir(fresh.parent) == ["dave"]
    assert Path("/etc/passwd").stat().st_uid == 0


class Killed(BaseException):
    """In place of a signal that nobody can catch."""


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("mkdir", id="the folder is made and nothing is in it"),
        pytest.param("chown", id="the first file is given away and no other is"),
        pytest.param("fchown", id="the folder is given away and has no name yet"),
        pytest.param("fsync", id="what is in it is written and not all is on the disk"),
    ],
)
def test_a_home_is_there_whole_or_not_at_all(
    skel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fresh = tmp_path / "dave"
    real = getattr(os, moment)

    def last(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, last)
        with pytest.raises(Killed):
            home.make(str(fresh), UID, GID, str(skel))
    assert home.owner(str(fresh)) is None
    home.make(str(fresh), UID, GID, str(skel))
    assert {path.lstat().st_uid for path in (fresh, *fresh.rglob("*"))} == {UID}
    assert (fresh / ".profile").read_text() == "hello\n"
    assert sorted(os.listdir(tmp_path)) == ["dave", "skel"]


def test_a_model_that_cannot_be_copied_is_said(skel: Path, tmp_path: Path) -> None:
    os.mkfifo(skel / "pipe")
    with pytest.raises(DriverError, match="skel cannot be copied"):
        home.make(str(tmp_path / "dave"), UID, GID, str(skel))
    assert home.owner(str(tmp_path / "dave")) is None


def test_what_a_home_holds_is_on_the_disk_before_it_has_its_name(
    skel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    real = os.fsync

    def sync(fd: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    home.make(str(tmp_path / "dave"), UID, GID, str(skel))
    scratch = f"{tmp_path}/.dave.new"
    assert synced == {scratch, f"{scratch}/.profile", f"{scratch}/.config", str(tmp_path)}


FSTAB = """# /home is on a disk of its own
UUID=1 / ext4 defaults 0 1
server:/people\t/home/people nfs _netdev 0 0
UUID=2 none swap sw 0 0

"""


@pytest.mark.parametrize(
    ("path", "mounted", "lacking"),
    [
        pytest.param("/home/people/carol", "/", "/home/people", id="not yet"),
        pytest.param("/home/people", "/", "/home/people", id="the home itself"),
        pytest.param("/home/people/carol", "/ /home/people", "", id="by now"),
        pytest.param("/home/peoples/carol", "/", "", id="another folder"),
        pytest.param("/home/carol", "/", "", id="not on its way"),
    ],
)
def test_where_something_is_to_be_mounted(tmp_path: Path, path: str, mounted: str, lacking: str) -> None:
    (tmp_path / "fstab").write_text(FSTAB)
    mounts = "".join(f"29 1 8:1 / {place} rw - ext4 /dev/vda rw\n" for place in mounted.split())
    (tmp_path / "mountinfo").write_text(mounts)
    assert home.unmounted(path, f"{tmp_path}/fstab", f"{tmp_path}/mountinfo") == lacking
    assert home.unmounted(path, f"{tmp_path}/missing") == ""


def during_the_write(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What its owner does each time when the new file is written, and has no name yet."""
    real = os.fsync

    def sync(fd: int) -> None:
        real(fd)
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".new"):
            # A program has root's rights, which this thread has laid down.
            subprocess.run(["/bin/sh", "-c", script], check=True)

    monkeypatch.setattr(os, "fsync", sync)


@pytest.mark.parametrize("there", [True, False])
def test_what_its_owner_adds_meanwhile_is_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    file = with_file(place)
    if not there:
        file.unlink()

    chown = f"chown {UID}:{GID} {file}"
    script = f"grep -qs added {file} || {{ echo {ECDSA} added >>{file}; {chown}; }}"
    during_the_write(monkeypatch, script)
    write(place, ED25519)
    before = f"{OTHER} hers\n" if there else ""
    assert file.read_text() == f"{before}{ECDSA} added\n{ED25519} {MARK}\n"
    assert os.listdir(file.parent) == ["authorized_keys"]


def test_a_file_that_is_changed_all_the_time_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = with_file(place)
    during_the_write(monkeypatch, f"echo '# more' >>{file}")
    with pytest.raises(DriverError, match="is being changed"):
        write(place, ED25519)
    assert file.read_text() == f"{OTHER} hers\n" + 3 * "# more\n"
    assert os.listdir(file.parent) == ["authorized_keys"]


def test_makes_no_home_by_a_way_that_somebody_may_have_planted(place: Path) -> None:
    (place / "etc").symlink_to("../etc")
    (place.parent / "etc").mkdir()
    with pytest.raises(DriverError, match="planted"):
        home.make(str(place / "etc/deep/dave"), UID, GID)
    assert os.listdir(place.parent / "etc") == []


def test_makes_no_home_where_others_write(place: Path) -> None:
    with pytest.raises(DriverError, match="others can write"):
        home.make(str(place / "inner"), UID, GID)
    assert os.listdir(place) == []
