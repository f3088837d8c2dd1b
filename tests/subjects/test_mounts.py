"""Mountinfo read, hidden mounts found, filesystems chosen and put in order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Unsupported
from reconciler.subjects.mounts import Mount, choose, hidden, holder, one_of_each, parse, why_not

MOUNTINFO = r"""
22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 252:3 / /boot/efi rw - vfat /dev/vda3 rw,fmask=0077
30 22 252:2 / /srv/my\040files rw shared:9 master:2 - xfs /dev/vda2 rw,noquota
31 22 252:2 /sub /bind ro - xfs /dev/vda2 rw,noquota
32 22 11:0 / /media/backup ro - ext4 /dev/sdb1 ro
torn line
"""
LINES = parse(MOUNTINFO)


def test_mountinfo_is_read_and_what_makes_no_sense_left_out() -> None:
    assert [line.path for line in LINES] == [
        "/",
        "/proc",
        "/boot/efi",
        "/srv/my files",
        "/bind",
        "/media/backup",
    ]
    assert (LINES[3].device, LINES[3].type, LINES[3].source) == ("252:2", "xfs", "/dev/vda2")


@pytest.mark.parametrize("strange", ["\r", "\f", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line(strange: str) -> None:
    [line] = parse(f"30 22 252:2 / /srv/a{strange}b rw - xfs /dev/vda2 rw\n")
    assert line.path == f"/srv/a{strange}b"


def test_why_a_mount_cannot_freeze() -> None:
    assert [why_not(line, hidden(LINES)) for line in LINES] == [
        "",
        "proc cannot freeze",
        "vfat cannot freeze",
        "",
        "",  # only this mount is read-only; through the other one, files are written
        "it is read-only, so there is nothing to freeze",
    ]


@given(st.text(max_size=300))
def test_no_text_confuses_the_parser(text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        pytest.param([(1, 0, "/"), (2, 1, "/a")], set(), id="side by side"),
        pytest.param([(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a")], {2}, id="one on another"),
        pytest.param([(1, 0, "/"), (2, 1, "/a/b"), (3, 1, "/a")], {2}, id="one over the way to another"),
        pytest.param([(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b")], set(), id="one below another"),
        pytest.param(
            [(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 2, "/a")], {2, 3}, id="with all that is below it"
        ),
        pytest.param([(1, 0, "/"), (2, 1, "/ab"), (3, 1, "/a")], set(), id="a name is not a folder"),
        pytest.param([(1, 1, "/"), (2, 1, "/a")], set(), id="a root that is its own parent"),
        pytest.param([(1, 0, "/"), (2, 1, "/")], {1}, id="a root over the first one"),
    ],
)
def test_hidden(mounts: list[tuple[int, int, str]], expected: set[int]) -> None:
    text = "\n".join(
        f"{number} {parent} 8:{number} / {path} rw - ext4 /dev/x rw" for number, parent, path in mounts
    )
    assert hidden(parse(text)) == expected


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        pytest.param("/var/image", "/", id="root"),
        pytest.param("/bind/image", "/bind", id="the deepest"),
        pytest.param("/bindery/image", "/", id="a name is not a folder"),
    ],
)
def test_holder(path: str, mount: str) -> None:
    found = holder(path, LINES, frozenset())
    assert found is not None
    assert found.path == mount


ROOT = Mount(1, "/", "ext4", "8:1")
DATA = Mount(5, "/data", "xfs", "8:2")
AGAIN = Mount(9, "/bind", "xfs", "8:2")
EFI = Mount(3, "/efi", "vfat", "8:3", why_not="vfat cannot freeze")


@pytest.mark.parametrize(
    ("mounts", "paths", "chosen"),
    [
        pytest.param((ROOT, EFI, DATA, AGAIN), (), ["/data", "/"], id="each device once, newest first"),
        pytest.param((ROOT, DATA, AGAIN), ("/bind",), ["/bind"], id="by the name that was given"),
        pytest.param(
            (ROOT, replace(AGAIN, id=2, device="7:0", backed_by=("8:2",)), DATA),
            (),
            ["/bind", "/data", "/"],
            id="a loop mount that seems older than what backs it",
        ),
        pytest.param(
            (
                replace(ROOT, backed_by=("7:1",)),
                Mount(2, "/one", "ext4", "7:1", backed_by=("7:0",)),
                Mount(3, "/two", "ext4", "7:0", backed_by=("7:1",)),
            ),
            (),
            ["/", "/two", "/one"],
            id="images that seem to lie in each other",
        ),
    ],
)
def test_choose(mounts: tuple[Mount, ...], paths: tuple[str, ...], chosen: list[str]) -> None:
    assert [mount.path for mount in choose(mounts, paths)] == chosen


@pytest.mark.parametrize(
    ("mounts", "paths", "why"),
    [
        pytest.param((ROOT, EFI), ("/efi",), "cannot freeze /efi: vfat cannot freeze", id="cannot"),
        pytest.param((ROOT,), ("/x",), "no filesystem on a disk is mounted there", id="no mount"),
        pytest.param((EFI,), (), "no filesystem of this guest can", id="none can"),
        pytest.param(
            tuple(Mount(n, f"/{n}", "ext4", f"8:{n}") for n in range(257)),
            (),
            "the limit is 256",
            id="too many",
        ),
    ],
)
def test_choose_refuses(mounts: tuple[Mount, ...], paths: tuple[str, ...], why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        choose(mounts, paths)


def test_of_one_device_the_mount_is_taken_that_can_freeze() -> None:
    over = replace(DATA, why_not="another mount hides it")
    assert one_of_each([over, AGAIN]) == (AGAIN,)
