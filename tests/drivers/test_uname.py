"""Kernel and names: from files written here, and from this machine."""

import os
import platform
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.uname import Uname
from reconciler.resource import Watching
from reconciler.resources.report import Source

SOURCE: Source = Uname()  # holds the driver to its port, for the type checker
WATCHING: Watching = Uname()


def test_kernel() -> None:
    told = Uname().read("kernel")
    assert told == {"name": "Linux", "release": platform.release(), "version": platform.version()}


def test_hostname(tmp_path: Path) -> None:
    (tmp_path / "hostname").write_text("# by hand\nweb-01\n")
    assert Uname(str(tmp_path)).read("hostname") == {"static": "web-01", "transient": os.uname().nodename}


def test_hostname_without_a_static_one(tmp_path: Path) -> None:
    assert Uname(str(tmp_path)).read("hostname") == {"transient": os.uname().nodename}


@pytest.mark.parametrize(
    ("name", "hosts", "fqdn"),
    [
        pytest.param("web-01", "127.0.1.1 web-01.example.org web-01\n", "web-01.example.org", id="in hosts"),
        pytest.param("web-01.example.org", "", "web-01.example.org", id="the name has a domain"),
        pytest.param("web-01", "127.0.0.1 localhost\n", "web-01", id="no domain known"),
    ],
)
def test_fqdn(tmp_path: Path, name: str, hosts: str, fqdn: str) -> None:
    (tmp_path / "hostname").write_text(f"{name}\n")
    (tmp_path / "hosts").write_text(hosts)
    assert Uname(str(tmp_path)).read("fqdn") == fqdn


@pytest.fixture
def watches(tmp_path: Path) -> Iterator[tuple[Any, ...]]:
    files, kernel = Uname(str(tmp_path)).watches()
    with closing(files), closing(kernel):  # type: ignore[type-var]
        yield files, kernel


def test_a_new_name_on_disk_wakes(tmp_path: Path, watches: tuple[Any, ...]) -> None:
    files, kernel = watches
    (tmp_path / "motd").write_text("not a name\n")
    assert not files.drain()
    (tmp_path / "hostname").write_text("db-01\n")
    assert files.drain()
    assert not kernel.drain()
    assert {*files.items, *kernel.items} == {"hostname", "fqdn"}
