"""Databases in a folder: whole ones, torn ones, and what nobody should have written there."""

from pathlib import Path

import pytest

from reconciler.drivers.accounts import databases
from reconciler.drivers.accounts.databases import Torn
from reconciler.errors import DriverError
from reconciler.subjects.people.changes import Account
from reconciler.subjects.people.rules import NEVER

PASSWD = "root:x:0:0:root:/root:/bin/bash\ncarol:x:1001:1001:Carol,2:/home/carol:/bin/sh\n"
SHADOW = "root:*:19000:0:99999:7:::\ncarol:!$6$x:19001:0:99999:7::1:\n"
GROUP = "root:x:0:\nadm:x:4:syslog,carol\ncarol:x:1001:\nsudo:x:27:carol\n"


def etc(folder: Path, *, passwd: str = PASSWD, shadow: str = SHADOW, group: str = GROUP) -> str:
    for name, text in {"passwd": passwd, "shadow": shadow, "group": group}.items():
        (folder / name).write_text(text)
    return str(folder)


CAROL = Account(
    uid=1001,
    gid=1001,
    comment="Carol,2",
    home="/home/carol",
    shell="/bin/sh",
    groups=("adm", "sudo"),
    hash="!$6$x",
    expires=1,
    changed=19_001,
)


def test_reads_accounts_and_groups(tmp_path: Path) -> None:
    known = databases.read(etc(tmp_path))
    assert known.accounts["carol"] == CAROL
    assert (known.accounts["root"].expires, known.accounts["root"].hash) == (NEVER, "*")
    assert known.groups == {"root": 0, "adm": 4, "carol": 1001, "sudo": 27}


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"shadow": "root:*:19000:0:99999:7:::\n"}, id="no line in shadow"),
        pytest.param({"group": "root:x:0:\n"}, id="no group of its own"),
    ],
)
def test_what_a_crash_has_left_is_not_whole(tmp_path: Path, files: dict[str, str]) -> None:
    known = databases.read(etc(tmp_path, **files))
    assert not known.accounts["carol"].whole
    assert known.accounts["root"].whole


@pytest.mark.parametrize(
    ("sealed", "whole"),
    [
        pytest.param("adm:*::syslog,carol\ncarol:!::\nroot:*::\nsudo:*::carol\n", True, id="as group has it"),
        pytest.param("adm:*::syslog,carol\nroot:*::\nsudo:*::carol\n", False, id="no primary group"),
        pytest.param("adm:*::syslog\ncarol:!::\nroot:*::\nsudo:*::carol\n", False, id="fewer members"),
    ],
)
def test_gshadow_is_part_of_it_where_there_is_one(tmp_path: Path, sealed: str, whole: bool) -> None:
    folder = etc(tmp_path)
    (tmp_path / "gshadow").write_text(sealed)
    assert databases.read(folder).accounts["carol"].whole is whole
    lacking, group = databases.torn(folder, "carol", 1001)
    assert ((lacking == Torn()), group) == (whole, "carol")


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param("+::::::\n", id="NIS"),
        pytest.param("#carol:x:5:5::/:\n", id="comment"),
        pytest.param("torn:x:5\n", id="torn line"),
        pytest.param("\n\n", id="empty lines"),
    ],
)
def test_lines_that_are_no_account(tmp_path: Path, junk: str) -> None:
    known = databases.read(etc(tmp_path, passwd=junk + PASSWD, group=junk + GROUP, shadow=junk + SHADOW))
    assert set(known.accounts) == {"root", "carol"}


def test_the_first_of_a_name_counts(tmp_path: Path) -> None:
    twice = PASSWD + "carol:x:0:0::/root:/bin/bash\n"
    assert databases.read(etc(tmp_path, passwd=twice)).accounts["carol"] == CAROL


def test_numbers_that_are_none(tmp_path: Path) -> None:
    known = databases.read(etc(tmp_path, passwd="odd:x:-5:x:²:/:\n"))
    assert (known.accounts["odd"].uid, known.accounts["odd"].gid) == (-1, -1)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    folder = etc(tmp_path)
    (tmp_path / "passwd").write_bytes(b"old:x:7:7:Ren\xe9:/:/bin/sh\n")
    assert databases.read(folder).accounts["old"].comment == "Ren\ufffd"


def test_a_missing_database_is_said(tmp_path: Path) -> None:
    folder = etc(tmp_path)
    (tmp_path / "shadow").unlink()
    with pytest.raises(DriverError, match=r"cannot read .*shadow: No such file"):
        databases.read(folder)


def test_a_database_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = etc(tmp_path)
    monkeypatch.setattr(databases, "BYTES_MAX", 20)
    with pytest.raises(DriverError, match="longer than 20 bytes"):
        databases.read(folder)
