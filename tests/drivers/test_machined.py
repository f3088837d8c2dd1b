"""Machines that are registered, from files as machined writes them."""

from contextlib import closing
from pathlib import Path

from reconciler.drivers.machined import Machined
from reconciler.facilities.inotify import Folders
from reconciler.resource import Watching
from reconciler.resources.report import Source

SOURCE: Source = Machined()  # holds the driver to its port, for the type checker
WATCHING: Watching = Machined()

WEB = """\
# This is private data. Do not parse.
NAME=web
SCOPE=machine-web.scope
SERVICE=systemd-nspawn
ROOT=/var/lib/machines/web
ID=5b7e2f0c2c0f4b0f9b0f4b0f9b0f4b0f
LEADER=1234
CLASS=container
REALTIME=1700000000000000
"""


def test_containers_and_not_virtual_machines(tmp_path: Path) -> None:
    (tmp_path / "web").write_text(WEB)
    (tmp_path / "unit:machine-web.scope").symlink_to("web")
    (tmp_path / ".#webAbC").write_text(WEB)
    (tmp_path / "qemu-1-db").write_text("NAME=qemu-1-db\nCLASS=vm\nSERVICE=libvirt-qemu\n")
    (tmp_path / "bare").write_text("CLASS=container\n=\nx\n")
    assert Machined(str(tmp_path)).read("containers") == {
        "machines": {
            "bare": {"state": "running"},
            "web": {"state": "running", "by": "systemd-nspawn", "root": "/var/lib/machines/web"},
        }
    }


def test_none(tmp_path: Path) -> None:
    assert Machined(str(tmp_path / "none")).read("containers") == {"machines": {}}


def test_one_that_comes_is_noticed(tmp_path: Path) -> None:
    (watch,) = Machined(str(tmp_path / "machines")).watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        (tmp_path / "machines").mkdir()
        (tmp_path / "machines/web").write_text(WEB)
        assert watch.drain()
