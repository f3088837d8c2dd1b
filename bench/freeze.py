"""A freeze through the agent beside the bare ioctl, of one loop-mounted xfs and nothing else.

Started by itself in a mount namespace that ends with it, so that no mount stays.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from typing import Any

from bench.guest import ROOT, Guest
from bench.host import Host
from bench.table import Line

NAME = "freeze to confirmed, above the ioctl"
TARGET_MS = 10
_ROUNDS = 10
_LIMIT_S = 120  # for all rounds; the leases are over by then
_NAMESPACE = "/proc/self/ns/mnt"
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h
_IMAGE_BYTES = 320 << 20  # less is no xfs
_DIRTY_BYTES = 64 << 10
_POLICY = "forbid: {kinds: [power, session, hostname]}\n"


def freeze() -> Line:
    """The difference of the medians; not measured without root, mkfs.xfs or loop devices."""
    if os.geteuid() != 0:
        return Line(NAME, "ms", None, TARGET_MS, "needs root")
    inside = [sys.executable, "-m", "bench.freeze", os.readlink(_NAMESPACE)]
    command = ["unshare", "--mount", "--propagation", "private", *inside]
    tried = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if tried.returncode != 0:
        return Line(NAME, "ms", None, TARGET_MS, (tried.stderr.strip().splitlines() or ["no reason"])[-1])
    return _line(**json.loads(tried.stdout))


def _line(bare_ms: list[float], agent_ms: list[float], durable_ms: list[float]) -> Line:
    """The first of each list is the cold one."""
    cold_bare, *bare = bare_ms
    cold_agent, *agent = agent_ms
    floor, whole = statistics.median(bare), statistics.median(agent)
    beside = (
        f"{whole:.2f} ms, bare FIFREEZE {floor:.2f} ms ({whole / floor:.1f} times), medians of {len(agent)}"
    )
    beside += f"; a durable write {statistics.median(durable_ms):.2f} ms, two are needed"
    beside += f"; the first {cold_agent:.0f} ms, bare {cold_bare:.2f} ms"
    return Line(NAME, "ms", whole - floor, TARGET_MS, beside, [*agent_ms, *bare_ms])


def main(outside: str) -> None:
    """Print the times as JSON. `outside` is the mount namespace that this must not be."""
    if os.readlink(_NAMESPACE) == outside:
        raise SystemExit("cannot freeze: this is not a mount namespace of its own")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    # The image lies on the disk of the build; the socket's path has to be short.
    with tempfile.TemporaryDirectory(dir=build) as on_disk, tempfile.TemporaryDirectory() as folder:
        mount = _mounted(Path(on_disk))
        _hide_ledger()
        try:
            print(json.dumps(_measured(mount, Path(folder))))
        finally:
            with suppress(OSError):  # it is thawed already
                _bare(mount, _FITHAW)
            _run("umount", str(mount))


def _mounted(folder: Path) -> Path:
    image, mount = folder / "image", folder / "mount"
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    _run("mkfs.xfs", "-q", str(image))
    mount.mkdir()
    _run("mount", "-o", "loop", str(image), str(mount))
    _check(mount)
    return mount


def _hide_ledger() -> None:
    """What an agent of this machine keeps of its freezes is not for the one measured here."""
    ledger = Path("/run/guest-reconciler")
    ledger.mkdir(mode=0o700, exist_ok=True)
    _run("mount", "-t", "tmpfs", "none", str(ledger))


def _measured(mount: Path, folder: Path) -> dict[str, list[float]]:
    policy = folder / "policy.yaml"
    policy.write_text(_POLICY)
    bare_ms, agent_ms, durable_ms = [], [], []
    with Guest(folder / "guest", ("--policy", str(policy))) as guest:
        host = guest.host()
        host.greet()
        for number in range(_ROUNDS + 1):
            _dirty(mount, number)
            bare_ms.append(_bare(mount, _FIFREEZE))
            _bare(mount, _FITHAW)
            durable_ms.append(_durable_ms(folder, number))
            _dirty(mount, number)
            agent_ms.append(_through(host, mount, 2 * number + 1, "frozen"))
            _through(host, mount, 2 * number + 2, "thawed")
        host.close()
    return {"bare_ms": bare_ms, "agent_ms": agent_ms, "durable_ms": durable_ms}


def _through(host: Host, mount: Path, generation: int, state: str) -> float:
    _check(mount)
    wanted: dict[str, Any] = {"state": state, "mounts": [str(mount)]}
    began_s = time.perf_counter()
    host.apply(generation, {"filesystems": wanted}, "filesystems")
    return (time.perf_counter() - began_s) * 1000


def _bare(mount: Path, request: int) -> float:
    _check(mount)
    fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        began_s = time.perf_counter()
        ioctl(fd, request, 0)
        return (time.perf_counter() - began_s) * 1000
    finally:
        os.close(fd)


def _dirty(mount: Path, number: int) -> None:
    """Leave the log to be written, but no data: how long the disk takes for those varies tenfold."""
    with (mount / f"file-{number}").open("wb") as file:
        file.write(os.urandom(_DIRTY_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _durable_ms(folder: Path, number: int) -> float:
    """One small file replaced durably, as the agent does twice before a freeze."""
    fresh = folder / "durable.new"
    began_s = time.perf_counter()
    with fresh.open("wb") as file:
        file.write(b"%d" % number)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / "durable")
    holder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(holder)
    os.close(holder)
    return (time.perf_counter() - began_s) * 1000


def _check(mount: Path) -> None:
    """Nothing but a mount of its own is ever frozen, least of all the machine's root."""
    if not mount.is_mount() or mount.stat().st_dev == Path("/").stat().st_dev:
        raise SystemExit(f"cannot freeze {mount}: it is not a mount of its own")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1])
