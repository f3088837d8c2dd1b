"""Packages of Alpine, from a database as apk writes it."""

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import apk
from reconciler.drivers.apk import Apk, stanzas
from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Watching
from reconciler.resources.report import Source

SOURCE: Source = Apk()  # holds the driver to its port, for the type checker
WATCHING: Watching = Apk()

DATABASE = """\
C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:alpine-baselayout
V:3.4.3-r2
A:x86_64
S:8911
I:315392
T:Alpine base dir structure and init scripts
U:https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout
L:GPL-2.0-only
o:alpine-baselayout
m:Natanael Copa <ncopa@alpinelinux.org>
t:1696623571
c:7222c8d8b2bd1ffb53a0b4ba3a1bbff1cd4ae3e4
D:alpine-baselayout-data=3.4.3-r2 /bin/sh
q:1000
F:dev
F:etc
R:motd
Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=
r:alpine-conf

P:musl
V:1.2.4_git20230717-r4
A:x86_64

V:1.0
A:x86_64
"""
TOLD = {
    "alpine-baselayout": {
        "version": "3.4.3-r2",
        "arch": "x86_64",
        "vendor": "Natanael Copa",
        "size": 315392,
    },
    "musl": {"version": "1.2.4_git20230717-r4", "arch": "x86_64"},
}


def test_packages(tmp_path: Path) -> None:
    (tmp_path / "installed").write_text(DATABASE)
    assert Apk([str(tmp_path / "older"), str(tmp_path)]).read("apps") == {"apk": TOLD}


def test_no_database(tmp_path: Path) -> None:
    assert Apk([str(tmp_path)]).read("apps") == {}


def test_a_database_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    with pytest.raises(DriverError, match=r"cannot list packages: .*directory"):
        Apk([str(tmp_path)]).read("apps")


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "installed").write_text(DATABASE)
    monkeypatch.setattr(apk, "_PACKAGES_MAX", 1)
    with pytest.raises(DriverError, match="more than 1"):
        Apk([str(tmp_path)]).read("apps")
    monkeypatch.setattr(apk, "_DATABASE_BYTES_MAX", 100)
    with pytest.raises(DriverError, match="too long"):
        Apk([str(tmp_path)]).read("apps")


def test_a_new_database_is_noticed(tmp_path: Path) -> None:
    (watch,) = Apk([str(tmp_path)]).watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        (tmp_path / "installed.new").write_text(DATABASE)
        watch.drain()
        (tmp_path / "installed.new").rename(tmp_path / "installed")
        assert watch.drain()
        assert not watch.drain()


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"") + b"\n")))
def test_any_lines_are_survived(lines: list[bytes]) -> None:
    for stanza in stanzas(lines):
        assert b"P" in stanza
