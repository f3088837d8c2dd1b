"""Tables of mounts written here, this machine's own, and real mounts in a namespace of their own."""

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import mountinfo
from reconciler.drivers.mountinfo import Mountinfo, Mounts, options_of
from reconciler.errors import DriverError
from reconciler.resource import Json
from reconciler.resources.report import Source

ROOT = Path(__file__).parents[2]

SOURCE: Source = Mountinfo()  # holds the driver to its port, for the type checker

TABLE = r"""
22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 252:3 / /boot/efi ro,relatime - vfat /dev/vda3 rw,fmask=0077
30 22 252:2 / /srv/my\040files rw shared:9 master:2 - xfs /dev/vda2 rw,noquota
31 22 252:2 /sub /bind rw,nodev - xfs /dev/vda2 rw,noquota
32 22 0:50 / /data rw - btrfs /dev/sda1 rw,subvol=/
33 22 0:51 / /net rw - nfs4 server:/export rw
34 33 252:4 / /net/local rw - ext4 /dev/vda4 rw
35 22 252:5 / /mnt rw - ext4 /dev/vda5 rw
36 35 252:6 / /mnt rw - ext4 /dev/vda6 rw
37 22 0:60 / /tmp rw - tmpfs tmpfs rw
38 22 0:61 / /auto rw - autofs systemd-1 rw
39 38 252:7 / /auto rw - ext4 /dev/vda7 rw
40 22 252:8 / /ntfs rw - fuseblk /dev/vda8 rw
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Json]:
    """Reads a table written here; asking for a size brings the number of the device's minor."""
    (tmp_path / "udev" / "data").mkdir(parents=True)
    (tmp_path / "udev" / "data" / "b252:2").write_text(
        r"E:ID_FS_LABEL_ENC=my\x20files" "\nE:ID_FS_UUID_ENC=1-2\n"
    )
    monkeypatch.setattr(mountinfo, "_size", lambda line: {"size": int(line.device.partition(":")[2])})

    def read(table: str) -> Json:
        (tmp_path / "table").write_text(table)
        driver = Mountinfo([str(tmp_path / "table")], str(tmp_path / "sys"), str(tmp_path / "udev"))
        return driver.read("filesystems")

    return read


def test_what_lies_on_disks_is_told(written: Callable[[str], Json]) -> None:
    found = written(TABLE.strip())
    assert found["/"] == {
        "type": "ext4",
        "device": "/dev/vda1",
        "options": ["rw", "relatime", "errors=remount-ro"],
        "readOnly": False,
        "disks": [],
        "size": 1,
    }
    assert list(found) == [
        "/",
        "/boot/efi",
        "/srv/my files",
        "/bind",
        "/data",
        "/net/local",
        "/mnt",
        "/auto",
        "/ntfs",
    ]


def test_a_read_only_mount_says_so(written: Callable[[str], Json]) -> None:
    efi = written(TABLE.strip())["/boot/efi"]
    assert efi["readOnly"] is True
    assert efi["options"] == ["ro", "relatime", "fmask=0077"]


def test_two_mounts_of_one_filesystem_agree(written: Callable[[str], Json]) -> None:
    found = written(TABLE.strip())
    files, bind = found["/srv/my files"], found["/bind"]
    assert bind.pop("options") == ["rw", "nodev", "noquota"]
    assert files.pop("options") == ["rw", "noquota"]
    assert bind == files
    assert (files["label"], files["uuid"]) == ("my files", "1-2")


def test_what_could_hang_is_not_asked(written: Callable[[str], Json]) -> None:
    found = written(TABLE.strip())
    assert {path for path in found if "size" not in found[path]} == {"/net/local", "/ntfs"}


def test_the_upper_of_two_mounts_is_told(written: Callable[[str], Json]) -> None:
    assert written(TABLE.strip())["/mnt"]["device"] == "/dev/vda6"


def test_no_more_than_the_limit(written: Callable[[str], Json], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "_MOUNTS_MAX", 2)
    assert list(written(TABLE.strip())) == ["/", "/boot/efi"]


def test_too_long_a_table_is_refused(written: Callable[[str], Json], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "_TABLE_BYTES_MAX", 100)
    with pytest.raises(DriverError, match="their table is over 100 bytes"):
        written(TABLE)


def test_a_path_that_is_no_text_is_fit_for_json(written: Callable[[str], Json], tmp_path: Path) -> None:
    written(TABLE)
    (tmp_path / "table").write_bytes(b"22 1 252:1 / /\xff rw - ext4 /dev/\xfe rw\n")
    found = Mountinfo([str(tmp_path / "table")]).read("filesystems")
    assert {path: mount["device"] for path, mount in found.items()} == {"/?": "/dev/?"}


def test_the_next_table_is_read_where_one_is_not_to_be_had(tmp_path: Path) -> None:
    assert "/" in Mountinfo([str(tmp_path / "missing"), "/proc/self/mountinfo"]).read("filesystems")
    with pytest.raises(DriverError, match=r"cannot list mounts: .*missing: No such file"):
        Mountinfo([str(tmp_path / "missing")]).read("filesystems")


@given(st.text(st.sampled_from("1 0:/-,\\\n\udc80rwo"), max_size=80))
def test_any_table_has_options(table: str) -> None:
    assert all(options == [o.encode().decode() for o in options] for _, options in options_of(table))


def test_this_machine_as_df_tells_it() -> None:
    shown = subprocess.run(
        ["df", "-B1", "--output=size,itotal", "/"], capture_output=True, text=True, check=True
    )
    size, files = (int(word) for word in shown.stdout.splitlines()[1].split())
    root = Mountinfo(["/proc/self/mountinfo"]).read("filesystems")["/"]
    assert Mountinfo.available()
    assert (root["size"], root["files"]) == (size, files)
    assert 0 < root["used"] <= size
    assert root["disks"]


class Namespace:
    """A shell in a mount namespace of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.table = f"/proc/{process.pid}/mountinfo"

    def do(self, command: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"({command}) >&2; echo $?\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "0\n", command

    def filesystem(self, path: Path) -> Json:
        return Mountinfo([self.table]).read("filesystems")[str(path)]


@contextmanager
def _namespace() -> Iterator[Namespace]:
    command = ["unshare", "--mount", "--propagation", "private", "/bin/sh"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        space = Namespace(process)
        space.do("true")
        yield space


@pytest.mark.root
def test_a_mount_wakes_the_loop() -> None:
    with _namespace() as space:
        (watch,) = Mountinfo([space.table]).watches()
        assert isinstance(watch, Mounts)
        assert watch.items == ("filesystems",)
        with closing(watch), closing(select.epoll()) as loop:
            loop.register(watch, select.EPOLLIN)
            assert not loop.poll(0)
            for command in ("mount -t tmpfs none /mnt", "umount /mnt"):
                space.do(command)
                assert loop.poll(30)
                assert watch.drain()
                assert not loop.poll(0)


IMAGES = [
    pytest.param("ext4", "mkfs.ext4 -q -L label", id="ext4"),
    pytest.param("xfs", "mkfs.xfs -q -L label", id="xfs"),
    pytest.param("btrfs", "mkfs.btrfs -q -L label", id="btrfs"),
]


@pytest.mark.root
@pytest.mark.parametrize(("type", "make"), IMAGES)
def test_a_real_image(tmp_path: Path, type: str, make: str) -> None:
    """Its disk is the one that the file lies on, and sizes are not to be had from outside."""
    with _namespace() as space:
        (tmp_path / "mnt").mkdir()
        space.do(f"truncate -s 320M {tmp_path}/image && {make} {tmp_path}/image")
        space.do(f"mount -o loop,noatime {tmp_path}/image {tmp_path}/mnt")
        found = space.filesystem(tmp_path / "mnt")
        root = space.filesystem(Path("/"))
        space.do(f"umount {tmp_path}/mnt")
    assert found["type"] == type
    assert found["device"].startswith("/dev/loop")
    assert {"rw", "noatime"} <= set(found["options"])
    assert found["disks"] == root["disks"] != []
    assert "size" not in found


@pytest.mark.root
@pytest.mark.parametrize(("type", "make"), IMAGES)
def test_the_size_of_a_real_image(tmp_path: Path, type: str, make: str) -> None:
    """From inside its namespace, as the agent looks, and as df tells it."""
    script = (
        "import json; from reconciler.drivers.mountinfo import Mountinfo;"
        f"print(json.dumps(Mountinfo(['/proc/self/mountinfo']).read('filesystems')['{tmp_path}/mnt']))"
    )
    with _namespace() as space:
        (tmp_path / "mnt").mkdir()
        (tmp_path / "script").write_text(script)
        space.do(f"truncate -s 320M {tmp_path}/image && {make} {tmp_path}/image")
        space.do(f"mount -o loop {tmp_path}/image {tmp_path}/mnt")
        space.do(f"head -c 9000000 /dev/zero > {tmp_path}/mnt/file && sync -f {tmp_path}/mnt")
        space.do(f"PYTHONPATH={ROOT} {sys.executable} {tmp_path}/script > {tmp_path}/found")
        space.do(f"df -B1 --output=size,used,avail,itotal,iused {tmp_path}/mnt | tail -1 > {tmp_path}/df")
        space.do(f"umount {tmp_path}/mnt")
    found = json.loads((tmp_path / "found").read_text())
    size, used, available, *files = (tmp_path / "df").read_text().split()
    assert (found["size"], found["used"], found["available"]) == (int(size), int(used), int(available))
    assert found["used"] >= 9_000_000
    assert [str(found.get("files", 0)), str(found.get("filesUsed", 0))] == [
        word.replace("-", "0") for word in files
    ]
