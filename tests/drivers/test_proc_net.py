"""Sockets that wait: tables as kernels write them, and this machine's own."""

import os
import socket
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import proc_net
from reconciler.drivers.proc_net import ProcNet, Socket, waiting
from reconciler.errors import DriverError, Unsupported
from reconciler.resources.report import Source

SOURCE: Source = ProcNet()  # holds the driver to its port, for the type checker

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
IDLE = "00000000:00000000 00:00000000 00000000"


def line(local: str, remote: str, state: str, uid: int, inode: int) -> str:
    return f"   0: {local} {remote} {state} {IDLE} {uid:5}        0 {inode} 1 0 100 0 0 10 0\n"


TCP = (
    HEAD
    + line("0100007F:0CEA", "00000000:0000", "0A", 105, 21)
    + line("00000000:0016", "00000000:0000", "0A", 0, 22)
    + line("0F02000A:0016", "0202000A:C5DA", "01", 0, 23)
)
TCP6 = HEAD + line("00000000000000000000000001000000:0050", "0" * 32 + ":0000", "0A", 33, 24)
UDP = (
    HEAD
    + line("00000000:0044", "00000000:0000", "07", 0, 25)
    + line("0F02000A:D431", "0302000A:0035", "01", 101, 26)
)

LITTLE = pytest.mark.skipif(sys.byteorder != "little", reason="the tables here are of such a machine")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A guest with a web server of two workers, and a process that nobody may look into."""
    (tmp_path / "net").mkdir()
    for name, text in {"tcp": TCP, "tcp6": TCP6, "udp": UDP}.items():
        (tmp_path / "net" / name).write_text(text)
    for pid, comm, inodes in (
        (1, "systemd", [22, 25]),
        (7, "sshd", [22]),
        (9, "nginx", [24]),
        (10, "nginx", [24]),
    ):
        (tmp_path / f"{pid}/fd").mkdir(parents=True)
        (tmp_path / f"{pid}/comm").write_text(f"{comm}\n")
        (tmp_path / f"{pid}/fd/0").symlink_to("/dev/null")
        for inode in inodes:
            (tmp_path / f"{pid}/fd/{inode}").symlink_to(f"socket:[{inode}]")
    (tmp_path / "11").mkdir()
    return tmp_path


@LITTLE
def test_sockets_and_who_owns_them(proc: Path) -> None:
    assert ProcNet(str(proc)).read("sockets") == {
        "tcp": {
            "0.0.0.0:22": {"uid": 0, "programs": ["sshd", "systemd"]},
            "[::1]:80": {"uid": 33, "programs": ["nginx"]},
            "127.0.0.1:3306": {"uid": 105},
        },
        "udp": {"0.0.0.0:68": {"uid": 0, "programs": ["systemd"]}},
    }


@LITTLE
def test_few_are_told_and_a_walk_ends(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc_net, "_SOCKETS_MAX", 1)
    monkeypatch.setattr(proc_net, "_WALK_S", -1.0)
    assert ProcNet(str(proc)).read("sockets") == {"tcp": {"0.0.0.0:22": {"uid": 0}}, "udp": {}}


@LITTLE
def test_a_walk_ends_among_the_descriptors_of_one_process(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fd in range(100, 200):
        (proc / f"1/fd/{fd}").symlink_to("/dev/null")
    ticks = count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    followed: list[str] = []

    def link(path: str) -> str:
        followed.append(path)
        return ""

    monkeypatch.setattr(proc_net, "time", clock)
    monkeypatch.setattr(proc_net, "_WALK_S", 20.0)
    monkeypatch.setattr(proc_net, "_link", link)
    ProcNet(str(proc)).read("sockets")
    assert len(followed) == 20


@LITTLE
def test_who_was_found_is_told_again_when_time_is_short(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ProcNet(str(proc))
    whole = source.read("sockets")
    with monkeypatch.context() as patch:
        patch.setattr(proc_net, "_WALK_S", -1.0)
        assert source.read("sockets") == source.read("sockets") == whole
    (proc / "7/fd/22").unlink()
    assert source.read("sockets")["tcp"]["0.0.0.0:22"]["programs"] == ["systemd"]


def test_too_long_a_table_is_refused(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc_net, "_TABLE_BYTES_MAX", 100)
    with pytest.raises(DriverError, match="longer than 100 bytes"):
        ProcNet(str(proc)).read("sockets")


def test_no_tables(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="cannot list sockets"):
        ProcNet(str(tmp_path)).read("sockets")


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "address"),
    [
        pytest.param(socket.AF_INET, socket.SOCK_STREAM, "tcp", "127.0.0.1", id="tcp"),
        pytest.param(socket.AF_INET, socket.SOCK_DGRAM, "udp", "127.0.0.1", id="udp"),
        pytest.param(socket.AF_INET6, socket.SOCK_STREAM, "tcp", "::1", id="tcp6"),
    ],
)
def test_this_machine(family: int, kind: int, protocol: str, address: str) -> None:
    with socket.socket(family, kind) as ours:
        ours.bind((address, 0))
        if protocol == "tcp":
            ours.listen()
        port = ours.getsockname()[1]
        told = ProcNet().read("sockets")[protocol]
    shown = told[f"[{address}]:{port}" if ":" in address else f"{address}:{port}"]
    assert shown["uid"] == os.getuid()
    assert Path("/proc/self/comm").read_text().strip() in shown["programs"]


@given(st.text() | st.text("0123456789ABCDEF: \n"))
def test_any_table_is_survived(text: str) -> None:
    for protocol in ("tcp", "udp"):
        assert all(isinstance(found, Socket) for found in waiting(protocol, text))
