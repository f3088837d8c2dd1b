"""Containers of podman, from its store and the files of its monitors."""

import json
from pathlib import Path

import pytest

from reconciler.drivers import podman
from reconciler.drivers.podman import Podman
from reconciler.errors import DriverError
from reconciler.resource import Json
from reconciler.resources.report import Source

SOURCE: Source = Podman()  # holds the driver to its port, for the type checker

WEB, OLD, JOB = "a" * 64, "b" * 64, "c" * 64


def stored(id: str, name: str, image: str = "docker.io/library/nginx:latest") -> Json:
    """An entry as containers-storage writes it for podman."""
    about = {"image-name": image, "image-id": "d" * 64, "name": name, "created-at": 1700000000}
    return {
        "id": id,
        "names": [name],
        "image": "d" * 64,
        "layer": "e" * 64,
        "metadata": json.dumps(about),
        "created": "2023-11-14T22:13:20.123456789Z",
        "flags": {"MountLabel": "", "ProcessLabel": ""},
    }


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.driver = Podman(str(root / "stored"), str(root / "run"), str(root / "proc"))

    def store(self, *entries: Json, where: str = "stored/overlay-containers/containers.json") -> None:
        (self.root / where).parent.mkdir(parents=True, exist_ok=True)
        (self.root / where).write_text(json.dumps(entries))

    def start(self, id: str, pid: int, runs: str | None = None, store: str = "overlay") -> None:
        """A monitor wrote down a process, and the process is now that of `runs`."""
        folder = self.root / f"run/{store}-containers/{id}/userdata"
        folder.mkdir(parents=True)
        (folder / "pidfile").write_text(str(pid))
        (self.root / f"proc/{pid}").mkdir(parents=True)
        cgroup = f"0::/machine.slice/libpod-{runs or id}.scope/container\n"
        (self.root / f"proc/{pid}/cgroup").write_text(cgroup)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_those_that_run(machine: Machine) -> None:
    machine.store(stored(WEB, "web"), stored(OLD, "old"))
    machine.store(
        stored(JOB, "job", "localhost/job:1"), where="run/overlay-containers/volatile-containers.json"
    )
    machine.start(WEB, 17)
    machine.start(OLD, 18, runs="somebody-else")
    machine.start(JOB, 19)
    beside = {"state": "running", "created": "2023-11-14T22:13:20Z"}
    assert machine.driver.read("containers") == {
        "podman": {
            "job": {"id": "c" * 12, "image": "localhost/job:1", **beside},
            "web": {"id": "a" * 12, "image": "docker.io/library/nginx:latest", **beside},
        }
    }


@pytest.mark.parametrize("store", ["btrfs", "vfs", "zfs"])
def test_whatever_driver_keeps_their_images(machine: Machine, store: str) -> None:
    machine.store(stored(WEB, "web"), where=f"stored/{store}-containers/containers.json")
    machine.store(stored(OLD, "old"))  # left behind by the driver before
    machine.start(WEB, 17, store=store)
    assert machine.driver.read("containers")["podman"].keys() == {"web"}


def test_none_were_ever_made(machine: Machine) -> None:
    assert machine.driver.read("containers") == {"podman": {}}


@pytest.mark.parametrize("text", ["[{", "[{}]", "{}5", '[{"id": "a", "metadata": "{"}]', "7"])
def test_a_list_that_is_none(machine: Machine, text: str) -> None:
    machine.store()
    machine.start("a", 17)
    (machine.root / "stored/overlay-containers/containers.json").write_text(text)
    with pytest.raises(DriverError, match="strange list"):
        machine.driver.read("containers")


def test_too_long_a_list_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.store(stored(WEB, "web"))
    monkeypatch.setattr(podman, "_LIST_BYTES_MAX", 100)
    with pytest.raises(DriverError, match="longer than 100 bytes"):
        machine.driver.read("containers")
