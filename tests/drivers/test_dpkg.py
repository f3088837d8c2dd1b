"""A status file written here, and this machine's own against dpkg-query."""

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import dpkg
from reconciler.drivers.dpkg import Dpkg, installed, vendor_of
from reconciler.errors import DriverError
from reconciler.facilities.inotify import Folders
from reconciler.resources.report import Source

SOURCE: Source = Dpkg()  # holds the driver to its port, for the type checker

STATUS = b"""\
Package: bash
Essential: yes
Status: install ok installed
Installed-Size: 7164
Maintainer: Matthias Klose <doko@debian.org>
Architecture: amd64
Multi-Arch: foreign
Version: 5.2.15-2+b7
Description: GNU Bourne Again SHell
 Version: not a field, but a continued line
 .
 Status: deinstall

Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.21.22

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install reinstreq half-installed
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Architecture: i386
Multi-Arch: same
Version: 2.36-9

Package: libc6
Status: hold ok triggers-awaited
Origin: Example
Vendor: Other
Maintainer: Third <third@example.org>
Architecture: amd64
Multi-Arch: same
Version: 2.36-10

Package: wine32
Status: install ok triggers-pending
Installed-Size: lots
Architecture: i386
Version: 8.0
Maintainer: <only@example.org>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "info").mkdir()
    (tmp_path / "status").write_bytes(STATUS)
    for owner in ("bash", "libc6:amd64"):
        listed = tmp_path / "info" / f"{owner}.list"
        listed.touch()
        os.utime(listed, (0, 1_700_000_000))
    return tmp_path


def test_what_is_installed_is_listed(folder: Path) -> None:
    def app(version: str, arch: str, **known: object) -> dict[str, object]:
        return {"version": version, "arch": arch, **known}

    stamp = "2023-11-14T22:13:20Z"
    assert Dpkg(str(folder)).read("apps")["dpkg"] == {
        "bash": app("5.2.15-2+b7", "amd64", vendor="Matthias Klose", installed=stamp, size=7164 * 1024),
        "dpkg": app("1.21.22", "amd64"),
        "libc6": app("2.36-10", "amd64", vendor="Example", installed=stamp),
        "libc6:i386": app("2.36-9", "i386"),
        "wine32": app("8.0", "i386"),
    }


@pytest.mark.parametrize(
    ("stanza", "vendor"),
    [
        pytest.param({b"Origin": b"Acme", b"Maintainer": b"M <m@x>"}, "Acme", id="origin before maintainer"),
        pytest.param({b"Vendor": b"Acme", b"Maintainer": b"M <m@x>"}, "Acme", id="vendor before maintainer"),
        pytest.param({b"Origin": b" ", b"Maintainer": b"M <m@x>"}, "M", id="an empty origin is none"),
        pytest.param({b"Maintainer": b"\xff"}, "�", id="what is no text is replaced"),
        pytest.param({b"Maintainer": b"x" * 1000}, "x" * 256, id="a long one is cut"),
        pytest.param({}, "", id="none"),
    ],
)
def test_vendor(stanza: dict[bytes, bytes], vendor: str) -> None:
    assert vendor_of(stanza) == vendor


def test_a_package_that_is_unpacked_again_is_noticed(folder: Path) -> None:
    driver = Dpkg(str(folder))
    (watch,) = driver.watches()
    assert isinstance(watch, Folders)
    with closing(watch):
        (folder / "lock").touch()
        assert not watch.drain()
        (folder / "status-new").write_bytes(STATUS)
        (folder / "status-new").rename(folder / "status")
        assert watch.drain()
        assert watch.items == ("apps",)


def test_a_list_is_kept_until_dpkg_replaces_its_status(folder: Path) -> None:
    driver = Dpkg(str(folder))
    before = driver.read("apps")
    assert driver.read("apps")["dpkg"] is before["dpkg"]
    (folder / "status-new").write_bytes(STATUS.replace(b"5.2.15-2+b7", b"5.2.15-2+b8"))
    (folder / "status-new").rename(folder / "status")
    assert driver.read("apps")["dpkg"]["bash"]["version"] == "5.2.15-2+b8"
    assert before["dpkg"]["bash"]["version"] == "5.2.15-2+b7"


def test_a_missing_status_is_said(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"cannot list packages: .*status: No such file"):
        Dpkg(str(tmp_path)).read("apps")


def test_too_many_packages_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "_PACKAGES_MAX", 4)
    with pytest.raises(DriverError, match="more than 4"):
        Dpkg(str(folder)).read("apps")


def test_too_large_a_status_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "_STATUS_BYTES_MAX", 100)
    with pytest.raises(DriverError, match="over 100 bytes"):
        Dpkg(str(folder)).read("apps")


WORD = st.from_regex(rb"[a-z0-9.+-]{1,12}", fullmatch=True)
STATE = st.sampled_from([b"installed", b"config-files", b"unpacked", b"triggers-pending"])


@given(st.lists(st.tuples(WORD, WORD, STATE), max_size=8), st.booleans())
def test_every_stanza_is_read_alone(packages: list[tuple[bytes, bytes, bytes]], ends: bool) -> None:
    text = b"\n".join(
        b"Package: %s\nStatus: install ok %s\nVersion: %s\nDescription: x\n .\n y\n" % (name, state, version)
        for name, version, state in packages
    )
    found = [(s[b"Package"], s[b"Version"]) for s in installed(text.splitlines(keepends=ends))]
    assert found == [(n, v) for n, v, state in packages if state in (b"installed", b"triggers-pending")]


@given(st.binary(max_size=300))
def test_garbage_yields_only_what_has_a_name(data: bytes) -> None:
    assert all(b"Package" in stanza for stanza in installed(data.splitlines(keepends=True)))


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="this machine's packages are not dpkg's")
def test_this_machine_as_dpkg_tells_it() -> None:
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    told = {tuple(line.split()[1:]) for line in shown.splitlines() if line.startswith("installed ")}
    apps = Dpkg().read("apps")["dpkg"]
    assert Dpkg.available()
    assert {(key.partition(":")[0], app["version"], app["arch"]) for key, app in apps.items()} == told
    assert all(app["installed"] for app in apps.values())
