"""Sockets that wait for others, from /proc/net, and who owns them; see proc(5).

Theory of operation. The kernel's tables tell address, user and inode of a socket. Whose it
is stands with the processes alone, as a link to that inode among their descriptors. So all of
them are walked through, but within a time: on a crowded machine some owners stay unknown. Those that
an earlier walk has found are kept then, for as long as the socket is there.
"""

import os
import time
from collections.abc import Iterator
from typing import ClassVar

from reconciler.errors import DriverError, Unsupported
from reconciler.resource import Json
from reconciler.resources.report import Source

_TABLES = ("tcp", "tcp6", "udp", "udp6")
_WAITING = {"tcp": "0A", "udp": "07"}  # TCP_LISTEN; a datagram socket that is not connected
_TABLE_BYTES_MAX = 8 << 20  # 150 bytes a socket: a proxy with 50,000 connections
_SOCKETS_MAX = 512  # told; a large server listens on some 50
_WALK_S = 0.5  # 300 processes take 20 ms; a million descriptors, as one proxy may have, over a second
_PROGRAMS_MAX = 8  # that share one socket, as the workers of a web server do


class Socket:
    """One line of a table of /proc/net; `protocol` is tcp or udp. No dataclass, for that takes 30 KiB."""

    def __init__(self, protocol: str, address: str, port: int, uid: int, inode: str) -> None:
        self.protocol = protocol
        self.address = address
        self.port = port
        self.uid = uid
        self.inode = inode

    @property
    def place(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class ProcNet(Source):
    """`sockets`: `{tcp: {"0.0.0.0:22": {uid, programs?: ["sshd"]}}, udp: {…}}`: those that listen.

    Of the network namespace that the agent lives in.
    """

    items: ClassVar[tuple[str, ...]] = ("sockets",)
    needs: ClassVar[str] = "/proc/net/tcp"

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._known: dict[str, set[str]] = {}  # what the last walk told

    @classmethod
    def available(cls) -> bool:
        return os.path.exists("/proc/net/tcp")

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        texts = {table: self._text(table) for table in _TABLES}
        if not any(texts.values()):
            raise Unsupported(f"cannot list sockets: there is no {self._proc}/net/tcp")
        found = [socket for table, text in texts.items() for socket in waiting(table[:3], text)]
        found = sorted(found, key=lambda socket: (socket.port, socket.address))[:_SOCKETS_MAX]
        owners = self._owners({socket.inode for socket in found})
        told: dict[str, Json] = {"tcp": {}, "udp": {}}
        for socket in found:
            # Several may share a place, with SO_REUSEPORT.
            shown = told[socket.protocol].setdefault(socket.place, {"uid": socket.uid})
            programs = {*shown.get("programs", ()), *owners.get(socket.inode, ())}
            if programs:
                shown["programs"] = sorted(programs)[:_PROGRAMS_MAX]
        return told

    def _text(self, table: str) -> str:
        path = f"{self._proc}/net/{table}"
        try:
            with open(path, "rb") as file:
                data = file.read(_TABLE_BYTES_MAX + 1)
        except FileNotFoundError:
            return ""  # a kernel without IPv6
        except OSError as error:
            raise DriverError(f"cannot read {path}: {error.strerror}") from error
        if len(data) > _TABLE_BYTES_MAX:
            raise DriverError(f"cannot list sockets: {path} is longer than {_TABLE_BYTES_MAX} bytes")
        return data.decode(errors="replace")

    def _owners(self, inodes: set[str]) -> dict[str, set[str]]:
        """Names of programs by inode, as far as we may look and find them in time."""
        ends_s = time.monotonic() + _WALK_S
        wanted = {f"socket:[{inode}]": inode for inode in inodes}
        owners: dict[str, set[str]] = {}
        for pid in _numbers(self._proc):
            folder = f"{self._proc}/{pid}/fd"
            for fd in _numbers(folder):
                if time.monotonic() > ends_s:
                    # Else a program would come and go by the load of the machine, and be told each time.
                    known = {inode: names for inode, names in self._known.items() if inode in inodes}
                    self._known = {**known, **owners}
                    return self._known
                if (link := _link(f"{folder}/{fd}")) in wanted:
                    owners.setdefault(wanted[link], set()).add(self._name(pid))
        self._known = owners
        return owners

    def _name(self, pid: str) -> str:
        try:
            with open(f"{self._proc}/{pid}/comm", "rb") as file:
                return file.read(64).decode(errors="replace").rstrip("\n")
        except OSError:
            return "?"  # it has ended since


def _link(path: str) -> str:
    """Where a link leads; empty when it is gone, as that of the walk itself is."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _numbers(folder: str) -> Iterator[str]:
    """One by one: to list a million before the first is looked at would take half a second."""
    try:
        with os.scandir(folder) as found:
            yield from (each.name for each in found if each.name.isdigit())
    except OSError:
        return


def waiting(protocol: str, table: str) -> Iterator[Socket]:
    """The sockets of a table that anybody may reach: listening, or bound and not connected."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _WAITING[protocol]:
            continue
        address, _, port = fields[1].partition(":")
        try:
            socket = Socket(protocol, _address(address), int(port, 16), int(fields[7]), fields[9])
        except ValueError:
            continue
        if socket.port:
            yield socket


def _address(written: str) -> str:
    """Words of 32 bits as this machine has them in memory, each in hexadecimal."""
    from sys import byteorder

    words = [int(written[at : at + 8], 16).to_bytes(4, byteorder) for at in range(0, len(written), 8)]
    data = b"".join(words)
    if len(data) == 4:
        return ".".join(map(str, data))
    if len(data) != 16:
        raise ValueError(f"no address: {written[:40]}")
    # Late: it is in the daemon anyway where addresses of interfaces are told.
    from socket import AF_INET6, inet_ntop

    return inet_ntop(AF_INET6, data)
