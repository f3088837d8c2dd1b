"""Loop mounts, and agents that freeze them."""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from reconciler.guarding import rescue
from tests.guest_runtime.freezing_agent import Agent
from tests.loop_mounts import PATIENCE_S, loop_mount, private_mounts


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with /ext4, /xfs and, in an image on the xfs, /inner mounted in it."""
    root = tmp_path_factory.mktemp("disks")
    below = root / "mnt"
    below.mkdir()
    with private_mounts():
        loop_mount(root / "ext4.img", below / "ext4", "ext4", 32)
        loop_mount(root / "xfs.img", below / "xfs", "xfs", 320)
        loop_mount(below / "xfs" / "inner.img", below / "inner", "ext4", 32)
        yield below
        for name in ("inner", "xfs", "ext4"):
            subprocess.run(["umount", "--lazy", str(below / name)], check=True, timeout=PATIENCE_S)


@pytest.fixture
def ledger() -> Iterator[Path]:
    # Not below tmp_path: the ledger must lie in memory.
    folder = Path(mkdtemp(prefix="freeze-test-", dir="/dev/shm"))
    path = folder / "freeze.json"
    yield path
    assert rescue.thaw_all(str(path)) == []
    end_all_of(path)  # a guardian on its way out would write it anew
    rmtree(folder)


def end_all_of(ledger: Path) -> None:
    """Kill whatever was started for a ledger, and wait until it is gone."""
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if os.fsencode(ledger) in cmdline.read_bytes().split(b"\0"):
                pid = int(cmdline.parent.name)
                death = os.pidfd_open(pid)
                try:
                    signal.pidfd_send_signal(death, signal.SIGKILL)
                    assert select.select([death], [], [], PATIENCE_S)[0]
                finally:
                    os.close(death)


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    folder = tmp_path / "freeze.d"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def start(ledger: Path, hooks: Path, disks: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents; what they leave frozen is thawed in the end."""
    agents: list[Agent] = []

    def start(*wrapper: str) -> Agent:
        agents.append(Agent(ledger, hooks, disks, *wrapper))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()


@pytest.fixture
def agent(start: Callable[..., Agent]) -> Agent:
    return start()
