"""Files of every sort in a folder of their own."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.drivers import metrics_textfile
from reconciler.drivers.metrics_textfile import MetricsTextfile
from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json
from reconciler.resources.report import Source

SOURCE: Source = MetricsTextfile()  # holds the driver to its port, for the type checker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metrics").mkdir()
    return tmp_path / "metrics"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o644)
    os.utime(path, (0, 1_700_000_000))
    return path


def read(folder: Path) -> Json:
    return MetricsTextfile(str(folder)).read("metrics")["textfile"]


def test_files_are_joined(folder: Path) -> None:
    write(
        folder,
        "backup.prom",
        '# HELP backup_bytes Size.\n# TYPE backup_bytes gauge\nbackup_bytes{db="a"} 7\n',
    )
    write(folder, "queue.prom", "queue_length 3\nqueue_age_seconds NaN\n")
    assert read(folder) == {
        "series": {'backup_bytes{db="a"}': 7, "queue_length": 3, "queue_age_seconds": "NaN"},
        "families": {"backup_bytes": {"type": "gauge", "help": "Size."}},
        "files": {
            "backup.prom": {"written": "2023-11-14T22:13:20Z", "series": 1},
            "queue.prom": {"written": "2023-11-14T22:13:20Z", "series": 2},
        },
    }


def test_no_folder_is_no_fault(tmp_path: Path) -> None:
    assert MetricsTextfile(str(tmp_path / "missing")).read("metrics") == {}


def test_an_empty_folder_says_so(folder: Path) -> None:
    assert read(folder) == {"series": {}, "families": {}, "files": {}}


@pytest.mark.parametrize("name", [".hidden.prom", "notes.txt", "a.prom.new", f"{'n' * 130}.prom", "a\n.prom"])
def test_other_names_do_not_count(folder: Path, name: str) -> None:
    write(folder, name, "a 1")
    assert read(folder)["files"] == {}


def test_a_broken_file_costs_itself_only(folder: Path) -> None:
    write(folder, "a.prom", "a 1")
    write(folder, "b.prom", "b 1\nb")
    found = read(folder)
    assert found["series"] == {"a": 1}
    assert found["files"]["b.prom"] == {
        "written": "2023-11-14T22:13:20Z",
        "fault": "line 2: not one number after the name",
    }


def test_links_devices_and_what_everybody_may_write_are_refused(folder: Path) -> None:
    write(folder, "all.prom", "a 1").chmod(0o666)
    (folder / "link.prom").symlink_to(write(folder, "target", "b 1"))
    (folder / "folder.prom").mkdir()
    os.mkfifo(folder / "fifo.prom")
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(folder / "socket.prom"))
        found = read(folder)
    assert found["series"] == {}
    assert found["files"] == {
        "all.prom": {"fault": "everybody may write to it"},
        "fifo.prom": {"fault": "it is not a regular file"},
        "folder.prom": {"fault": "it is not a regular file"},
        "link.prom": {"fault": "it is not a regular file"},
        "socket.prom": {"fault": "it is not a regular file"},
    }


def test_a_file_swapped_for_a_link_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = os.lstat(write(folder, "target", "b 1"))
    (folder / "link.prom").symlink_to(folder / "target")
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", lambda path: regular)
        found = read(folder)
    assert found["files"] == {"link.prom": {"fault": "Too many levels of symbolic links"}}


def test_a_file_that_goes_while_we_look_is_no_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda path: ["gone.prom"])
    assert read(folder)["files"] == {}


def test_too_long_a_file_is_refused(folder: Path) -> None:
    write(folder, "a.prom", "#" * 262_145)
    write(folder, "b.prom", "#" * 262_144)
    files = read(folder)["files"]
    assert files["a.prom"]["fault"] == "it is longer than 262144 bytes"
    assert "fault" not in files["b.prom"]


def test_too_many_files_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_textfile, "_FILES_MAX", 2)
    for number in range(6):
        write(folder, f"{number}.prom", f"a{number} 1")
    found = read(folder)
    assert found["series"] == {"a0": 1, "a1": 1}
    assert {name for name, file in found["files"].items() if "fault" in file} == {"2.prom", "3.prom"}


def test_a_file_that_is_no_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert MetricsTextfile(str(tmp_path / "file")).read("metrics") == {}


def test_what_the_os_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"cannot read metrics in .*: File name too long"):
        MetricsTextfile(str(tmp_path / ("n" * 300))).read("metrics")


def test_a_new_file_is_noticed_even_in_a_new_folder(tmp_path: Path) -> None:
    driver = MetricsTextfile(str(tmp_path / "metrics"))
    assert driver.available()
    (watch,) = driver.watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        (tmp_path / "metrics").mkdir()
        watch.drain()
        written = write(tmp_path / "metrics", "a.prom.new", "a 1")
        assert not watch.drain()
        written.rename(tmp_path / "metrics" / "a.prom")
        assert watch.drain()
        assert watch.items == ("metrics",)
