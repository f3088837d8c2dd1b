"""Guests that wait for a restart, and those that do not, from trees as distributions leave them."""

from contextlib import closing
from pathlib import Path

import pytest

from reconciler.drivers.reboot_required import RebootRequired, newer
from reconciler.facilities.inotify import Folders
from reconciler.resource import Json, Watching
from reconciler.resources.report import Source

SOURCE: Source = RebootRequired()  # holds the driver to its port, for the type checker
WATCHING: Watching = RebootRequired()

RUNNING = "6.1.0-18-cloud-amd64"


def told(root: Path, kernels: list[str], **files: str) -> Json:
    for kernel in kernels:
        folder = root / "lib/modules" / kernel
        folder.mkdir(parents=True)
        (folder / "modules.order").touch()
    for name, content in files.items():
        path = root / "run" / name.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return RebootRequired(str(root), RUNNING).read("reboot")


def test_nothing_waits(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/6.1.0-99-cloud-amd64/build").mkdir(parents=True)  # left behind, or headers
    assert told(tmp_path, [RUNNING, "6.1.0-9-cloud-amd64"]) == {"required": False, "why": []}


def test_a_guest_that_starts_from_its_hosts_kernel(tmp_path: Path) -> None:
    assert told(tmp_path, []) == {"required": False, "why": []}


def test_debian(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reboot-required.pkgs").write_text("libc6\nlinux-image-amd64\nlibc6\n")
    assert told(tmp_path, [RUNNING], reboot_required="*** System restart required ***\n") == {
        "required": True,
        "why": ["packages ask for it"],
        "packages": ["libc6", "linux-image-amd64"],
    }


def test_suse_and_ostree(tmp_path: Path) -> None:
    assert told(tmp_path, [], reboot_needed="", ostree__staged_deployment="")["why"] == [
        "packages ask for it",
        "a staged system waits to be started",
    ]


def test_a_newer_kernel(tmp_path: Path) -> None:
    assert told(tmp_path, [RUNNING, "6.1.0-20-cloud-amd64", "6.5.0-1-amd64"]) == {
        "required": True,
        "why": ["a newer kernel is installed"],
        "kernel": "6.1.0-20-cloud-amd64",
    }


def test_the_hosts_kernel_beside_another_that_is_installed(tmp_path: Path) -> None:
    assert told(tmp_path, ["6.1.0-20-amd64"]) == {"required": False, "why": []}


def test_modules_that_went_while_we_looked(tmp_path: Path) -> None:
    source = RebootRequired(str(tmp_path), RUNNING)
    modules = tmp_path / "lib/modules"
    for kernel in (RUNNING, "6.5.0-1-amd64"):
        (modules / kernel).mkdir(parents=True)
        (modules / kernel / "modules.order").touch()
    assert not source.read("reboot")["required"]
    (modules / RUNNING / "modules.order").unlink()
    assert source.read("reboot")["why"] == ["the modules of the running kernel are gone"]


def test_a_kernel_that_was_replaced_under_us(tmp_path: Path) -> None:
    assert told(tmp_path, ["6.1.0-20-cloud-amd64"])["why"] == [
        "the modules of the running kernel are gone",
        "a newer kernel is installed",
    ]


@pytest.mark.parametrize(
    ("running", "installed", "newest"),
    [
        pytest.param("6.1.0-9-amd64", ["6.1.0-10-amd64"], "6.1.0-10-amd64", id="numbers, not letters"),
        pytest.param("6.1.0-10-amd64", ["6.1.0-9-amd64"], "", id="an older one"),
        pytest.param("6.1.0-9-amd64", ["6.1.0-10-rt-amd64"], "", id="another flavour"),
        pytest.param(
            "5.14.0-362.el9.x86_64",
            ["5.14.0-362.8.1.el9_3.x86_64", "5.14.0-70.el9.x86_64"],
            "5.14.0-362.8.1.el9_3.x86_64",
            id="Red Hat",
        ),
        pytest.param(
            "6.5.6-300.fc39.x86_64", ["6.6.2-101.fc38.x86_64"], "6.6.2-101.fc38.x86_64", id="Fedora"
        ),
        pytest.param("6.6.7-arch1-1", ["6.6.10-arch1-1"], "6.6.10-arch1-1", id="Arch"),
        pytest.param("6.6.7-0-virt", ["6.6.8-0-lts"], "", id="Alpine"),
        pytest.param("strange", ["odd", ""], "", id="no number"),
    ],
)
def test_newer(running: str, installed: list[str], newest: str) -> None:
    assert newer(running, [running, *installed]) == newest


def test_a_wish_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    watches = RebootRequired(str(tmp_path)).watches()
    (watch,) = watches
    assert isinstance(watch, Folders)
    with closing(watch):
        (tmp_path / "run/other").touch()
        assert not watch.drain()
        (tmp_path / "run/reboot-required").touch()
        assert watch.drain()
        (tmp_path / "run/ostree").mkdir()
        (tmp_path / "run/ostree/staged-deployment").touch()
        assert watch.drain()
