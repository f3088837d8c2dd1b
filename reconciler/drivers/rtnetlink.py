"""Network interfaces and their addresses from the kernel, by rtnetlink(7)."""

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.resource import Json, Watch
from reconciler.resources.report import Source

_DEADLINE_S = 1.0  # for all of a read; a dump of 100 interfaces takes 1 ms
_DUMPS_MAX = 3  # tries for one that nobody changed under us; the last one stands as it is
_READ_BYTES = 64 * 1024  # the kernel fills at most 32 KiB at a time
_NICS_MAX = 256  # the first by index: more are those of containers, and theirs to tell
_ADDRESSES_MAX = 64  # of one family of one interface
_NAME_BYTES_MAX = 256  # IFALIASZ of linux/if.h; a name has 15
_EVENTS_MAX = 256  # taken in at once; a storm must not hold the loop

# linux/netlink.h, linux/rtnetlink.h
_NETLINK_ROUTE = 0
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_ATTRIBUTE = struct.Struct("=HH")  # length with this header, type
_ATTRIBUTE_TYPE = 0x3FFF  # the upper bits say how it is packed

# linux/if_link.h, linux/if_addr.h
_LINK = struct.Struct("=BxHiII")  # family, ARPHRD type, index, flags, change
_ADDRESS, _IFNAME, _MTU, _MASTER, _OPERSTATE, _LINKINFO, _IFALIAS, _STATS64 = 1, 3, 4, 10, 16, 18, 20, 23
_INFO_KIND = 1
_ADDR = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFF_UP = 0x1

_STATES = ("unknown", "notPresent", "down", "lowerLayerDown", "testing", "dormant", "up")  # RFC 2863
_TYPES = {1: "ethernet", 32: "infiniband", 65534: "none", 772: "loopback", 768: "tunnel", 776: "tunnel"}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_FLAGS = {0x01: "temporary", 0x08: "dadFailed", 0x20: "deprecated", 0x40: "tentative"}
_COUNTERS = (
    "rxPackets",
    "txPackets",
    "rxBytes",
    "txBytes",
    "rxErrors",
    "txErrors",
    "rxDropped",
    "txDropped",
)

Message = tuple[int, int, bytes]  # type, flags, what follows the header


class Rtnetlink(Source):
    """`nics`: `{name: nic}`, of this process' network namespace.

    A nic is `{index, type?, kind?, mac?, mtu, up, state, master?, alias?, inet: [address],
    inet6: [address], counters: {rxBytes, rxPackets, rxErrors, rxDropped, and the same for tx}}`;
    an address is `{address, prefix, scope, flags?}`. `kind` is that of a virtual one (`bridge`,
    `vlan`), `up` what was asked of it, `state` what became of that.
    """

    items: ClassVar[tuple[str, ...]] = ("nics",)
    needs: ClassVar[str] = "rtnetlink"

    @classmethod
    def available(cls) -> bool:
        try:
            _open(0).close()
        except OSError:
            return False
        return True

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watches(self) -> Sequence[Watch]:
        return (RouteEvents(self.items),)

    def read(self, item: str) -> Json:
        assert item in self.items
        deadline_s = time.monotonic() + _DEADLINE_S
        try:
            with _open(0) as kernel:
                links = _dump(kernel, _GETLINK, _LINK.size, deadline_s)
                addresses = _dump(kernel, _GETADDR, _ADDR.size, deadline_s)
        except OSError as error:
            raise DriverError(f"cannot list interfaces: {error.strerror or error}") from error
        return nics(links, addresses)


class RouteEvents:
    """A `Watch` on interfaces and their addresses."""

    def __init__(self, items: tuple[str, ...]) -> None:
        self.items = items
        try:
            self._socket = _open(_GROUPS)
        except OSError as error:
            raise DriverError(f"cannot watch interfaces: {error.strerror}") from error
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        heard = False
        for _ in range(_EVENTS_MAX):
            try:
                # What it says is not looked at: the look that follows reads all anew.
                _, sender = self._socket.recvfrom(_HEADER.size)
            except BlockingIOError:
                break
            except OSError:
                return True  # ENOBUFS: events were lost
            heard = heard or sender[0] == 0  # the kernel's port
        return heard

    def close(self) -> None:
        self._socket.close()


def _open(groups: int) -> socket.socket:
    fresh = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        fresh.bind((0, groups))
    except OSError:
        fresh.close()
        raise
    return fresh


def _dump(kernel: socket.socket, what: int, body_bytes: int, deadline_s: float) -> list[Message]:
    """All messages of a dump, asked for anew while it was changed under us. Raises OSError."""
    found: list[Message] = []
    for number in range(1, _DUMPS_MAX + 1):
        body = bytes(body_bytes)  # any family, any interface
        length = _HEADER.size + body_bytes
        kernel.send(_HEADER.pack(length, what, _REQUEST | _DUMP, number, 0) + body)
        found = list(_answers(kernel, number, deadline_s))
        if not any(flags & _INTERRUPTED for _, flags, _ in found):
            break
    return found


def _answers(kernel: socket.socket, number: int, deadline_s: float) -> Iterator[Message]:
    while True:
        kernel.settimeout(max(0.001, deadline_s - time.monotonic()))
        data, sender = kernel.recvfrom(_READ_BYTES)
        if sender[0] != 0:
            continue  # only the kernel has port 0
        for sequence, message in messages(data):
            if sequence != number:
                continue  # of a dump that we gave up
            kind, _, body = message
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
                raise OSError(code, os.strerror(code))
            if kind == _DONE:
                return
            yield message


def messages(data: bytes) -> Iterator[tuple[int, Message]]:
    """Sequence number and message of each whole netlink message in a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield sequence, (kind, flags, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The payload of each whole attribute by its type; of one that is given twice, the last."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        found[kind & _ATTRIBUTE_TYPE] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def nics(links: Sequence[Message], addresses: Sequence[Message]) -> dict[str, Json]:
    """The item, from the answers to RTM_GETLINK and RTM_GETADDR. What is cut short is left out."""
    bodies = [body for kind, _, body in links if kind == _NEWLINK and len(body) >= _LINK.size]
    parts = [(*_LINK.unpack_from(body), attributes(body, _LINK.size)) for body in bodies]
    names = {index: _text(found[_IFNAME]) for _, _, index, _, _, found in parts if _IFNAME in found}
    told: dict[int, dict[str, Json]] = {}
    for _, kind, index, flags, _, found in sorted(parts, key=lambda part: part[2]):
        if index in names and len(told) < _NICS_MAX:
            told[index] = _nic(kind, index, flags, found, names)
    for kind, _, body in addresses:
        if kind == _NEWADDR and len(body) >= _ADDR.size:
            _add_address(told, body)
    return {names[index]: nic for index, nic in told.items()}


def _nic(
    kind: int, index: int, flags: int, found: dict[int, bytes], names: dict[int, str]
) -> dict[str, Json]:
    state = found.get(_OPERSTATE, b"\0")[0] if found.get(_OPERSTATE) else 0
    hardware = found.get(_ADDRESS, b"")
    optional = {
        "type": _TYPES.get(kind, ""),
        "kind": _text(attributes(found.get(_LINKINFO, b"")).get(_INFO_KIND, b"")),
        "mac": hardware.hex(":") if any(hardware) and len(hardware) in (6, 8, 20) else "",
        "master": names.get(_number(found.get(_MASTER, b"")), ""),
        "alias": _text(found.get(_IFALIAS, b"")),
    }
    counters = found.get(_STATS64, b"")
    whole = min(len(_COUNTERS), len(counters) // 8)
    return {
        "index": index,
        **{name: value for name, value in optional.items() if value},
        "mtu": _number(found.get(_MTU, b"")),
        "up": bool(flags & _IFF_UP),
        "state": _STATES[state] if state < len(_STATES) else "unknown",
        "inet": [],
        "inet6": [],
        "counters": dict(zip(_COUNTERS, struct.unpack_from(f"={whole}Q", counters), strict=False)),
    }


def _add_address(told: dict[int, dict[str, Json]], body: bytes) -> None:
    family, prefix, flags, scope, index = _ADDR.unpack_from(body)
    found = attributes(body, _ADDR.size)
    # On a point-to-point link IFA_ADDRESS is the peer's; without one, IPv6 gives no IFA_LOCAL.
    raw = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    place = {(socket.AF_INET, 4): "inet", (socket.AF_INET6, 16): "inet6"}.get((family, len(raw)))
    if place is None or index not in told or len(told[index][place]) >= _ADDRESSES_MAX:
        return
    flags = _number(found.get(_IFA_FLAGS, b"")) or flags
    words = [word for bit, word in _FLAGS.items() if flags & bit]
    if family == socket.AF_INET and "temporary" in words:
        words[words.index("temporary")] = "secondary"  # one bit, two meanings: linux/if_addr.h
    address: dict[str, Json] = {
        "address": socket.inet_ntop(family, raw),
        "prefix": prefix,
        "scope": _SCOPES.get(scope, str(scope)),
    }
    told[index][place].append(address | ({"flags": words} if words else {}))


def _number(data: bytes) -> int:
    return int(struct.unpack_from("=I", data)[0]) if len(data) >= 4 else 0


def _text(data: bytes) -> str:
    return data[:_NAME_BYTES_MAX].split(b"\0", 1)[0].decode(errors="replace")
