"""What is wrong with files as they are written, what they become, and their digest; see test_files too."""

import sys
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.resource import Deed
from reconciler.subjects.file_states import (
    RESERVED,
    SCRATCH,
    File,
    Observed,
    Seen,
    differences,
    digest_of,
    faults,
    file_of,
    hindrance,
    octal,
    token_of,
)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_a_digest_is_that_of_the_whole(pieces: list[bytes]) -> None:
    assert digest_of(pieces) == f"sha256:{sha256(b''.join(pieces)).hexdigest()}"


def test_a_python_without_its_own_sha256_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    assert digest_of([b"x"]) == f"sha256:{sha256(b'x').hexdigest()}"


@pytest.mark.parametrize(
    ("path", "fields", "others", "count"),
    [
        pytest.param("/etc/motd", {"content": "x"}, (), 0, id="right"),
        pytest.param("/etc/motd", {"content": "x"}, ("/etc/motd2", "/etc/mot"), 0, id="beside others"),
        pytest.param("/etc/guest-reconciler.conf", {}, (), 0, id="like a reserved one"),
        pytest.param(f"/srv/{SCRATCH}", {}, (), 1, id="scratch"),
        pytest.param("/srv/a/b/c", {}, ("/srv/a",), 1, id="below another"),
        pytest.param("/srv/a", {"backup": True}, ("/srv/a~",), 1, id="its backup is another"),
        pytest.param("/srv/a", {"state": "absent", "backup": True}, (), 0, id="absent with a backup"),
        pytest.param("/srv/a", {"state": "absent", "content": "", "owner": 0}, (), 2, id="absent with more"),
        pytest.param("/srv/\x1b[2J", {}, (), 1, id="escapes"),
        *(pytest.param(f"{folder}/x", {}, (), 1, id=folder) for folder in RESERVED),
        *(pytest.param(folder, {}, (), 1, id=f"{folder} itself") for folder in RESERVED),
    ],
)
def test_faults(path: str, fields: dict[str, Any], others: tuple[str, ...], count: int) -> None:
    found = list(faults(path, fields, {path: fields, **{other: {} for other in others}}))
    assert len(found) == count
    assert all(fault.isprintable() for fault in found)


@pytest.mark.parametrize(
    ("fields", "file"),
    [
        pytest.param({}, File(path="/a"), id="any"),
        pytest.param({"state": "absent"}, File(path="/a", absent=True), id="absent"),
        pytest.param(
            {"content": "ü", "mode": "0640", "owner": 7, "group": "g", "backup": True},
            File(
                path="/a",
                content=b"\xc3\xbc",
                digest=digest_of([b"\xc3\xbc"]),
                mode=0o640,
                owner=7,
                group="g",
                backup=True,
            ),
            id="everything",
        ),
        pytest.param(
            {"secret": {"fromFile": "k"}},
            File(path="/a", secret="paths./a.secret", mode=0o600, owner=0, group=0),
            id="a secret is root's unless said",
        ),
        pytest.param(
            {"secret": {"fromFile": "k"}, "mode": "0640", "group": "ssl"},
            File(path="/a", secret="paths./a.secret", mode=0o640, owner=0, group="ssl"),
            id="a secret of a group",
        ),
    ],
)
def test_file_of_fields(fields: dict[str, Any], file: File) -> None:
    assert file_of("/a", fields) == file


def test_what_differs_is_told_field_by_field() -> None:
    file = File(path="/a", content=b"", digest="sha256:1", mode=0o600, owner="alice", group=7)
    seen = Seen(state="file", digest="sha256:2", mode=0o644, owner="root", group="root")
    observed = Observed(files={"/a": seen}, users={"alice": 1000})
    told = [(change.field, change.want, change.have) for change in differences(file, observed)]
    assert told == [
        ("content", "sha256:1", "sha256:2"),
        ("mode", "0600", "0644"),
        ("owner", "alice", "root"),
        ("group", 7, "root"),
    ]
    assert hindrance(file, observed) is None


LOOSE = Seen(state="file", mode=0o644, loose="others can write in /srv")


@pytest.mark.parametrize(
    ("file", "more", "found"),
    [
        pytest.param(
            File(path="/a", mode=0o600),
            {"files": {"/a": LOOSE}},
            (
                "Blocked",
                "/a: others can write in /srv, so it may be another file: write its content too",
            ),
            id="may be another",
        ),
        pytest.param(File(path="/a", mode=0o644), {"files": {"/a": LOOSE}}, None, id="as desired"),
        pytest.param(File(path="/a", absent=True), {"files": {"/a": LOOSE}}, None, id="to be removed"),
        pytest.param(
            File(path="/a", content=b"", digest="sha256:1"), {"files": {"/a": LOOSE}}, None, id="written anew"
        ),
        pytest.param(
            File(path="/a", absent=True),
            {"files": {"/a": LOOSE}, "failed": {"/a": "cannot remove /a: full"}},
            ("DriverError", "cannot remove /a: full"),
            id="failed a moment ago",
        ),
        pytest.param(
            File(path="/a", mode=0o644),
            {"files": {"/a": LOOSE}, "failed": {"/a": "cannot change /a: full"}},
            None,
            id="failed, and was mended by hand",
        ),
        pytest.param(
            File(path="/a", secret="s"),
            {"files": {"/a": Seen()}, "deeds": {"/a": Deed("refused", "", 1, "cannot write /a: full")}},
            ("SecretMissing", "/a: cannot write /a: full: apply the document again"),
            id="the secret is used up, and why",
        ),
        pytest.param(
            File(path="/a", secret="s"),
            {
                "files": {"/a": Seen()},
                "deeds": {"/a": Deed("refused", "", 1, "it is gone; apply the document again")},
            },
            ("SecretMissing", "/a: it is gone; apply the document again"),
            id="the secret came too late",
        ),
        pytest.param(
            File(path="/a", secret="s"),
            {
                "files": {"/a": Seen()},
                "deeds": {"/a": Deed("refused", "", 1, "the token could not be written")},
                "secrets": frozenset({"/a"}),
            },
            None,
            id="the secret is still here",
        ),
    ],
)
def test_what_hinders(file: File, more: dict[str, Any], found: tuple[str, str] | None) -> None:
    assert hindrance(file, Observed(**more)) == found


def test_no_digest_of_a_secret_is_told() -> None:
    file = File(path="/a", secret="s", mode=0o600, owner=0, group=0)
    observed = Observed(files={"/a": Seen(state="file", mode=0o600)}, generation=2, secrets=frozenset({"/a"}))
    (change,) = differences(file, observed)
    assert (change.want, change.have) == ("(secret)", "(unknown)")
    assert token_of("/a", 2) == "write@2:/a"
    assert octal(0o4) == "0004"
