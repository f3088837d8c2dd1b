"""Flatpaks, from an installation's folder as flatpak lays it out."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.drivers import flatpak
from reconciler.drivers.flatpak import Flatpak
from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Watching
from reconciler.resources.report import Source

SOURCE: Source = Flatpak()  # holds the driver to its port, for the type checker
WATCHING: Watching = Flatpak()

COMMIT = "4d5a9a0b2f1e" + "0" * 52
METADATA = """\
[Application]
name=org.gnome.Maps
runtime=org.gnome.Platform/x86_64/45
sdk=org.gnome.Sdk/x86_64/45
"""
METAINFO = """\
<?xml version="1.0" encoding="UTF-8"?>
<component type="desktop-application">
  <id>org.gnome.Maps</id>
  <releases>
    <release type="stable" version="45.3" date="2024-01-14"><description/></release>
    <release version="45.2" date="2023-12-01"/>
  </releases>
</component>
"""


def deploy(root: Path, ref: str, **files: str) -> Path:
    """An installed app or runtime; `__` in a name is a slash."""
    deployment = root / ref / COMMIT
    deployment.mkdir(parents=True)
    (root / ref / "active").symlink_to(COMMIT)
    (deployment / "deploy").write_bytes(b"flathub\0")
    os.utime(deployment / "deploy", (1_700_000_000, 1_700_000_000))
    for name, content in files.items():
        path = deployment / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return deployment


def test_an_app_and_runtimes(tmp_path: Path) -> None:
    app = deploy(tmp_path, "app/org.gnome.Maps/x86_64/stable", metadata=METADATA)
    (app / "files/share/metainfo").mkdir(parents=True)
    (app / "files/share/metainfo/org.gnome.Maps.metainfo.xml").write_text(METAINFO)
    (tmp_path / "app/org.gnome.Maps/current").symlink_to("x86_64/stable")
    deploy(tmp_path, "runtime/org.gnome.Platform/x86_64/45", metadata="[Runtime]\nname=org.gnome.Platform\n")
    deploy(tmp_path, "runtime/org.gnome.Platform/x86_64/44")
    (tmp_path / "runtime/org.half/x86_64/1").mkdir(parents=True)
    beside = {"commit": "4d5a9a0b2f1e", "installed": "2023-11-14T22:13:20Z", "arch": "x86_64"}
    assert Flatpak(str(tmp_path)).read("apps") == {
        "flatpak": {
            "org.gnome.Maps": {
                "kind": "app",
                "branch": "stable",
                "runtime": "org.gnome.Platform/x86_64/45",
                "version": "45.3",
                **beside,
            },
            "org.gnome.Platform/x86_64/44": {"kind": "runtime", "branch": "44", **beside},
            "org.gnome.Platform/x86_64/45": {"kind": "runtime", "branch": "45", **beside},
        }
    }


def test_what_an_app_brings_along_cannot_hold_us_up(tmp_path: Path) -> None:
    app = deploy(tmp_path, "app/a.b.C/x86_64/stable")
    os.mkfifo(app / "metadata")
    assert Flatpak(str(tmp_path)).read("apps")["flatpak"]["a.b.C"]["kind"] == "app"


def test_an_empty_installation(tmp_path: Path) -> None:
    assert Flatpak(str(tmp_path)).read("apps") == {"flatpak": {}}


def test_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(tmp_path, "app/a.b.C/x86_64/stable")
    deploy(tmp_path, "app/a.b.D/x86_64/stable")
    monkeypatch.setattr(flatpak, "_DEPLOYED_MAX", 1)
    with pytest.raises(DriverError, match="more than 1"):
        Flatpak(str(tmp_path)).read("apps")


def test_a_change_is_noticed(tmp_path: Path) -> None:
    (watch,) = Flatpak(str(tmp_path)).watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        (tmp_path / ".changed").touch()
        assert watch.drain()
