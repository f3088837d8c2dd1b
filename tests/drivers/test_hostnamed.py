"""Names in a folder of our own, and calls to a made-up hostnamed; tests/vm asks a real one."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers import hostnamed
from reconciler.drivers.hostnamed import Hostnamed, Uname, with_pretty
from reconciler.errors import DriverError
from reconciler.resource import Cancellable, Watching
from reconciler.resources.hostname import Names, pretty_of
from tests.bus import PrivateBus, Refusal, Reply, program, readable

PORTS: tuple[Names, ...] = (Hostnamed(), Uname())  # hold the drivers to their port, for the type checker
WATCHING: tuple[Watching, ...] = (Hostnamed(), Uname())
CANCELLABLE: Cancellable = Hostnamed()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "hostname").write_text("web\n")
    (folder / "hosts").write_text("127.0.1.1 web.example.org web\n")
    (folder / "machine-info").write_text('PRETTY_HOSTNAME="The Web"\nCHASSIS=vm\n')
    return folder


def test_reads_names(etc: Path) -> None:
    names = Uname(str(etc)).names()
    assert (names.static, names.transient, names.pretty) == ("web", socket.gethostname(), "The Web")
    assert names.fqdn == "web.example.org"


def test_a_guest_without_any_file(tmp_path: Path) -> None:
    names = Uname(str(tmp_path)).names()
    assert (names.static, names.pretty) == ("", "")
    assert names.transient == socket.gethostname()


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "hostname").mkdir()
    with pytest.raises(DriverError, match=r"cannot read .*hostname: Is a directory"):
        Uname(str(tmp_path)).names()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernel's names, as they are set; the machine's own stays."""
    given: list[str] = []
    monkeypatch.setattr(socket, "sethostname", given.append)
    return given


def test_sets_names_without_hostnamed(etc: Path, kernel: list[str]) -> None:
    driver = Uname(str(etc))
    driver.set("static", "db")
    driver.set("pretty", 'The "Db"')
    assert (etc / "hostname").read_text() == "db\n"
    assert kernel == ["db"]
    driver.set("transient", "x")
    assert kernel == ["db", "x"]
    assert driver.names().pretty == 'The "Db"'
    assert "CHASSIS=vm" in (etc / "machine-info").read_text()
    assert sorted(os.listdir(etc)) == ["hostname", "hosts", "machine-info"]


def test_names_are_for_everybody_whatever_the_umask(etc: Path, kernel: list[str]) -> None:
    (etc / "machine-info").unlink()
    (etc / "hostname").chmod(0o640)
    umask = os.umask(0o077)
    try:
        Uname(str(etc)).set("static", "db")
        Uname(str(etc)).set("pretty", "Db")
    finally:
        os.umask(umask)
    modes = {name: (etc / name).stat().st_mode & 0o777 for name in ("hostname", "machine-info")}
    assert modes == {"hostname": 0o640, "machine-info": 0o644}


def test_a_full_disk_keeps_the_old_name_and_no_half_of_a_new_one(
    etc: Path, kernel: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DriverError, match="No space left"):
        Uname(str(etc)).set("static", "db")
    assert (etc / "hostname").read_text() == "web\n"
    assert sorted(os.listdir(etc)) == ["hostname", "hosts", "machine-info"]


def test_a_file_that_is_a_mount_is_written_in_place(
    etc: Path, kernel: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "rename", busy)
    Uname(str(etc)).set("static", "db")
    assert (etc / "hostname").read_text() == "db\n"


def test_the_kernel_may_refuse(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "sethostname", refuse)
    with pytest.raises(DriverError, match="cannot set the transient name: Operation not permitted"):
        Uname(str(etc)).set("transient", "db")


@pytest.mark.parametrize(
    "pretty",
    [
        pytest.param("plain", id="plain"),
        pytest.param('a "b" \\ $HOME `x`', id="all that a shell would read"),
        pytest.param("Bücherei 📚", id="any script"),
        pytest.param("", id="none"),
    ],
)
def test_a_pretty_name_reads_as_it_was_written(pretty: str) -> None:
    text = with_pretty("CHASSIS=vm\nPRETTY_HOSTNAME=old\n", pretty)
    assert pretty_of(text) == pretty
    assert text.startswith("CHASSIS=vm\n")


@pytest.fixture
def calls(system_bus: PrivateBus) -> Iterator[list[tuple[Any, ...]]]:
    heard: list[tuple[Any, ...]] = []

    def answer(path: str, method: str, body: tuple[Any, ...]) -> Reply:
        heard.append((path, method, *body))
        if body[0] == "taken":
            raise Refusal("org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
        return "", ()

    with program("org.freedesktop.hostname1", answer):
        yield heard


def test_sets_names_through_hostnamed(calls: list[tuple[Any, ...]], etc: Path) -> None:
    with closing(Hostnamed(str(etc))) as driver:
        driver.set("static", "db")
        driver.set("transient", "x")
        driver.set("pretty", "The Db")
        with pytest.raises(DriverError, match="cannot SetStaticHostname: Permission denied"):
            driver.set("static", "taken")
    path = "/org/freedesktop/hostname1"
    assert calls[:3] == [
        (path, "SetStaticHostname", "db", False),
        (path, "SetHostname", "x", False),
        (path, "SetPrettyHostname", "The Db", False),
    ]


def test_available_where_systemd_and_its_daemon_are(
    system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hostnamed, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(hostnamed, "_ACTIVATION", str(tmp_path))
    assert Hostnamed.available()
    monkeypatch.setattr(hostnamed, "_ACTIVATION", f"{tmp_path}/missing")
    assert not Hostnamed.available()
    assert Uname.available()


def test_wakes_when_a_name_is_written(etc: Path) -> None:
    files, kernel = Uname(str(etc)).watches()
    try:
        (etc / "other").write_text("x")
        assert not files.drain()
        (etc / "hostname.new").write_text("db\n")
        os.rename(etc / "hostname.new", etc / "hostname")
        assert readable(files.fileno())
        assert files.drain()
    finally:
        for watch in (files, kernel):
            watch.close()  # type: ignore[attr-defined]


_RENAME = """
import select, socket
from reconciler.drivers.hostnamed import Uname
(files, watch), poll = Uname().watches(), select.poll()
poll.register(watch.fileno(), select.POLLIN)
assert not poll.poll(0) and not watch.drain()
socket.sethostname("changed")
assert poll.poll(10_000) and watch.drain()
assert not poll.poll(0) and not watch.drain()
watch.close()
"""


@pytest.mark.root
def test_wakes_when_the_kernel_gets_another_name() -> None:
    # In a UTS namespace of its own, so the machine keeps its name.
    subprocess.run(["unshare", "--uts", sys.executable, "-c", _RENAME], check=True, timeout=60)
