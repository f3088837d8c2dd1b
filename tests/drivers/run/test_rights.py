"""Whose rights a task would have, among accounts that are made up."""

import grp
import os
import pwd

import pytest

from reconciler.drivers.run.rights import forbidden_rights
from reconciler.subjects.task import Task

ACCOUNTS = {
    name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "/bin/sh"))
    for name, uid in (("root", 0), ("toor", 0), ("alice", 1000), ("alias", 1000), ("bob", 1001))
}
FIRST = {row.pw_uid: row for row in reversed(ACCOUNTS.values())}
DISK = {"disk": grp.struct_group(("disk", "x", 6, []))}


@pytest.mark.parametrize(
    ("forbidden", "user", "group", "whose"),
    [
        pytest.param("root", "toor", "", "toor", id="a second root"),
        pytest.param("toor", "root", "", "root", id="root by its second name"),
        pytest.param("al?ce", "alias", "", "alias", id="a second name"),
        pytest.param("root", "alice", "disk", "group disk", id="a group as good as root"),
        pytest.param("root", "bob", "disk", "", id="a group of its own"),
        pytest.param("bob", "root", "disk", "", id="root may anyway"),
        pytest.param("root", "alice", "", "", id="somebody else"),
        pytest.param("root", "carol", "", "", id="nobody"),
        pytest.param("root", "alice", "nogroup", "", id="no such group"),
    ],
)
def test_by_any_name(
    monkeypatch: pytest.MonkeyPatch, forbidden: str, user: str, group: str, whose: str
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", ACCOUNTS.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", FIRST.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", DISK.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 6] if name == "bob" else [gid])
    task = Task(name="job", token="1", argv=("/bin/true",), user=user, group=group)
    assert forbidden_rights(task, (forbidden,)) == whose
