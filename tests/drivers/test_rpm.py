"""A database that rpm itself made, headers made here, and what rpm -qa writes."""

import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import rpm
from reconciler.drivers.rpm import Package, Rpm, named, parse_header, parse_query
from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resources.report import Source

SOURCE: Source = Rpm()  # holds the driver to its port, for the type checker

SPEC = """
Name: {name}
Version: {version}
Release: 3
Epoch: 2
Summary: x
License: MIT
Vendor: Example, Inc.
BuildArch: noarch
%description
%install
mkdir -p %{{buildroot}}/opt
echo content > %{{buildroot}}/opt/{name}-{version}
%files
/opt/{name}-{version}
"""


def _rpm(folder: Path, *arguments: str) -> None:
    subprocess.run(["rpm", "--dbpath", str(folder), *arguments], check=True, capture_output=True)


def _build(work: Path, name: str, version: str) -> Path:
    (work / "spec").write_text(SPEC.format(name=name, version=version))
    defines = {"_topdir": work / "top", "_rpmdir": work, "_rpmfilename": f"{name}-{version}.rpm"}
    define = [part for key, value in defines.items() for part in ("--define", f"{key} {value}")]
    subprocess.run(["rpmbuild", "-bb", *define, str(work / "spec")], check=True, capture_output=True)
    return work / f"{name}-{version}.rpm"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    work = tmp_path_factory.mktemp("build")
    return {
        f"{name}-{version}": _build(work, name, version)
        for name, version in (("tiny", "1.0"), ("kernel", "6.1"), ("kernel", "6.2"))
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _rpm(tmp_path / "rpm", "--initdb")
    return tmp_path / "rpm"


def _install(folder: Path, *packages: Path) -> None:
    _rpm(folder, "--justdb", "--nodeps", "--force-debian", "-i", *(str(package) for package in packages))


def test_a_database_that_rpm_made(folder: Path, packages: Mapping[str, Path]) -> None:
    assert Rpm([str(folder)]).read("apps") == {"rpm": {}}
    _install(folder, packages["tiny-1.0"])
    apps = Rpm([str(folder)]).read("apps")["rpm"]
    installed = apps["tiny"].pop("installed")
    assert installed.startswith("20")
    assert apps == {
        "tiny": {
            "version": "2:1.0-3",
            "arch": "noarch",
            "vendor": "Example, Inc.",
            "size": len("content\n"),
        }
    }


def test_two_versions_of_a_package(folder: Path, packages: Mapping[str, Path]) -> None:
    _install(folder, packages["kernel-6.1"], packages["kernel-6.2"])
    apps = Rpm([str(folder)]).read("apps")["rpm"]
    assert {app["version"] for app in apps.values()} == {"2:6.1-3", "2:6.2-3"}
    assert apps.keys() < {"kernel", "kernel=2:6.1-3", "kernel=2:6.2-3"}


def test_the_command_tells_the_same(folder: Path, packages: Mapping[str, Path]) -> None:
    _install(folder, *packages.values())
    driver = Rpm([str(folder)])
    assert named(driver._from_command(str(folder)), "x86_64") == driver.read("apps")["rpm"]


def test_an_installation_is_noticed(folder: Path, packages: Mapping[str, Path]) -> None:
    driver = Rpm([str(folder)])
    (watch,) = driver.watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        _install(folder, packages["tiny-1.0"])
        assert watch.drain()
        assert watch.items == ("apps",)
        driver.read("apps")
        assert not watch.drain()


def test_what_a_writer_has_not_merged_yet_is_seen(folder: Path, packages: Mapping[str, Path]) -> None:
    _install(folder, packages["tiny-1.0"])
    with _writer(folder / "rpmdb.sqlite", header(NAME="other", VERSION="1")):
        assert (folder / "rpmdb.sqlite-wal").stat().st_size
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert Rpm([str(folder)]).read("apps")["rpm"].keys() == {"other", "tiny"}
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@contextmanager
def _writer(database: Path, blob: bytes) -> Iterator[None]:
    """Another process that has committed and not closed; within one process SQLite shares its state."""
    script = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]);"
        "database.execute('INSERT INTO Packages (blob) VALUES (?)', (bytes.fromhex(sys.argv[2]),));"
        "database.commit(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(database), blob.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"\n"
        yield


def test_a_database_alone_is_read_and_nothing_is_written(folder: Path, packages: Mapping[str, Path]) -> None:
    _install(folder, packages["tiny-1.0"])
    for name in ("rpmdb.sqlite-wal", "rpmdb.sqlite-shm"):
        (folder / name).unlink()
    assert "tiny" in Rpm([str(folder)]).read("apps")["rpm"]
    assert not (folder / "rpmdb.sqlite-wal").exists()


@pytest.mark.parametrize("name", ["per%cent", "ha#sh", "que?ry", "two words"])
def test_a_path_is_not_taken_for_a_query(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with closing(sqlite3.connect(tmp_path / name / "rpmdb.sqlite")) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
    assert Rpm([str(tmp_path / name)]).read("apps") == {"rpm": {}}


def test_a_broken_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "rpmdb.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DriverError, match=r"cannot list packages: .*: file is not a database"):
        Rpm([str(tmp_path)]).read("apps")


def test_too_many_packages_are_refused(
    folder: Path, packages: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(folder, *packages.values())
    monkeypatch.setattr(rpm, "_PACKAGES_MAX", 2)
    with pytest.raises(DriverError, match="more than 2"):
        Rpm([str(folder)]).read("apps")


@pytest.mark.parametrize("database", ["Packages.db", "Packages"])
def test_an_older_database_is_left_to_the_command(tmp_path: Path, database: str) -> None:
    (tmp_path / database).touch()
    fields = r"bash\037(none)\0375.2-1\037x86_64\037(none)\0371700000000\03710\n"
    (tmp_path / "rpm").write_text(f'#!/bin/sh\n[ "$2" = "{tmp_path}" ] && printf \'{fields}\'\n')
    (tmp_path / "rpm").chmod(0o755)
    assert Rpm([str(tmp_path)], str(tmp_path / "rpm")).read("apps")["rpm"] == {
        "bash": {
            "version": "5.2-1",
            "arch": "x86_64",
            "installed": "2023-11-14T22:13:20Z",
            "size": 10,
        }
    }


def test_a_command_that_fails_is_said(tmp_path: Path) -> None:
    (tmp_path / "Packages").touch()
    with pytest.raises(DriverError, match="cannot list packages: /bin/false: it exited with 1"):
        Rpm([str(tmp_path)], "/bin/false").read("apps")


def test_without_a_database_there_are_no_apps(tmp_path: Path) -> None:
    assert Rpm([str(tmp_path)]).read("apps") == {}


@pytest.mark.parametrize(
    ("line", "package"),
    [
        pytest.param(
            "a\x1f2\x1f1-1\x1fnoarch\x1fV\x1f5\x1f6", Package("a", "2:1-1", "noarch", "V", 5, 6), id="all"
        ),
        pytest.param("a\x1f\x1f1-1\x1f\x1f\x1fx\x1f-1", Package("a", "1-1"), id="no numbers"),
        pytest.param("gpg-pubkey\x1f\x1f1-1\x1f\x1f\x1f1\x1f1", None, id="signing key"),
        pytest.param("warning: something", None, id="a warning"),
        pytest.param("a\x1f1", None, id="too few"),
    ],
)
def test_query_line(line: str, package: Package | None) -> None:
    assert list(parse_query(f"{line}\n")) == ([package] if package else [])


TAGS = {"NAME": 1000, "VERSION": 1001, "RELEASE": 1002, "VENDOR": 1011, "ARCH": 1022}
NUMBERS = {"EPOCH": 1003, "INSTALLTIME": 1008, "SIZE": 1009}


def header(**tags: str | int) -> bytes:
    """A header blob as rpm lays it out: index, then data, integers aligned."""
    index, data = b"", b""
    for name, value in tags.items():
        if isinstance(value, int):
            large = value >= 2**32
            data += bytes(-len(data) % (8 if large else 4))
            tag = 5009 if name == "SIZE" and large else NUMBERS[name]
            index += struct.pack(">IIII", tag, 5 if large else 4, len(data), 1)
            data += value.to_bytes(8 if large else 4, "big")
        else:
            index += struct.pack(">IIII", TAGS[name], 6, len(data), 1)
            data += value.encode() + b"\0"
    return struct.pack(">II", len(tags), len(data)) + index + data


def parse(blob: bytes) -> Package | None:
    return parse_header(lambda offset, length: blob[offset : offset + length])


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


PACKAGES = st.builds(
    Package,
    name=TEXT.filter(lambda name: name not in ("", "gpg-pubkey")),
    version=TEXT,
    arch=TEXT,
    vendor=TEXT,
    installed_s=st.integers(0, 2**32 - 1),
    size=st.integers(0, 2**40),
)


@given(PACKAGES, st.none() | st.integers(0, 99))
def test_a_header_comes_back_whole(package: Package, epoch: int | None) -> None:
    tags: dict[str, str | int] = {} if epoch is None else {"EPOCH": epoch}
    tags |= {"NAME": package.name, "VERSION": package.version, "RELEASE": "1", "ARCH": package.arch}
    assert package.size is not None
    blob = header(**tags, VENDOR=package.vendor, INSTALLTIME=package.installed_s, SIZE=package.size)
    version = f"{package.version}-1" if epoch is None else f"{epoch}:{package.version}-1"
    assert parse(blob) == replace(package, version=version)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_broken_header_does_not_raise(garbage: bytes, cut: int) -> None:
    whole = header(NAME="a", VERSION="1", RELEASE="1", SIZE=5)
    for blob in (garbage, whole[:cut] + garbage, struct.pack(">II", 3, 9) + garbage):
        package = parse(blob)
        assert package is None or package.name


def glibc(arch: str, installed_s: int, version: str = "1") -> Package:
    return Package("glibc", version, arch, installed_s=installed_s)


@pytest.mark.parametrize(
    ("packages", "keys"),
    [
        pytest.param([glibc("i686", 9), glibc("x86_64", 1)], ["glibc", "glibc:i686"], id="two architectures"),
        pytest.param([glibc("i686", 9)], ["glibc"], id="a foreign one alone"),
        pytest.param([glibc("x86_64", 1), glibc("x86_64", 2, "2")], ["glibc", "glibc=1"], id="two versions"),
        pytest.param(
            [glibc("x86_64", 1), glibc("x86_64", 2, "2"), glibc("i686", 1), glibc("i686", 2, "2")],
            ["glibc", "glibc=1", "glibc:i686", "glibc:i686=1"],
            id="two versions of two architectures",
        ),
    ],
)
def test_names_tell_packages_apart(packages: list[Package], keys: list[str]) -> None:
    apps = named(packages, "x86_64")
    assert list(apps) == keys
    if len(apps) > 1:
        assert [key for key, app in apps.items() if app["arch"] == "i686"] == [k for k in keys if ":" in k]
    assert named(reversed(packages), "x86_64") == apps
