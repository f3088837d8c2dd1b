"""Snaps, from the folders and files that snapd keeps."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import snapd
from reconciler.drivers.snapd import Snapd, described
from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watching
from reconciler.resources.report import Source

SOURCE: Source = Snapd()  # holds the driver to its port, for the type checker
WATCHING: Watching = Snapd()

LXD = """\
name: lxd
base: core22
assumes:
  - snapd2.58
version: 5.19-8635f82
summary: LXD - container and VM manager
description: |-
  version: not this one
grade: stable
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """lxd in two revisions, core22, and what else lies in /snap."""
    for name, revision, text in (
        ("lxd", "26200", LXD),
        ("core22", "1033", "name: core22\nversion: '20231123'\ntype: base\n"),
    ):
        (tmp_path / f"snap/{name}/{revision}/meta").mkdir(parents=True)
        (tmp_path / f"snap/{name}/{revision}/meta/snap.yaml").write_text(text)
        (tmp_path / f"snap/{name}/current").symlink_to(revision)
    (tmp_path / "snap/lxd/25000/meta").mkdir(parents=True)
    (tmp_path / "snap/bin").mkdir()
    (tmp_path / "snap/README").write_text("")
    (tmp_path / "state/snaps").mkdir(parents=True)
    (tmp_path / "state/sequence").mkdir()
    image = tmp_path / "state/snaps/lxd_26200.snap"
    image.write_bytes(b"x" * 1000)
    os.utime(image, (1_700_000_000, 1_700_000_000))
    return tmp_path


def driver(guest: Path) -> Snapd:
    return Snapd([str(guest / "snap"), str(guest / "none")], str(guest / "state"))


def test_snaps(guest: Path) -> None:
    assert driver(guest).read("apps") == {
        "snap": {
            "core22": {"version": "20231123", "revision": "1033", "type": "base"},
            "lxd": {
                "version": "5.19-8635f82",
                "revision": "26200",
                "base": "core22",
                "installed": "2023-11-14T22:13:20Z",
                "size": 1000,
            },
        }
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("version: '1.0'", {"version": "1.0"}, id="single quotes"),
        pytest.param('version: "1.0"', {"version": "1.0"}, id="double quotes"),
        pytest.param("version: 1.0 # beta", {"version": "1.0"}, id="a comment"),
        pytest.param("apps:\n  version: 1", {}, id="not at the top"),
        pytest.param("version:", {}, id="nothing"),
        pytest.param("", {}, id="empty"),
    ],
)
def test_described(text: str, told: Json) -> None:
    assert described(text.encode()) == told


@given(st.binary(max_size=300))
def test_any_description_is_survived(data: bytes) -> None:
    assert described(data).keys() <= {"version", "type", "base"}


def test_too_many_are_refused(guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapd, "_SNAPS_MAX", 1)
    with pytest.raises(DriverError, match="more than 1"):
        driver(guest).read("apps")


def test_a_new_revision_is_noticed(guest: Path) -> None:
    (watch,) = driver(guest).watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        (guest / "state/sequence/lxd.json").write_text("{}")
        assert watch.drain()
