"""Interfaces: messages built and cut by hand, and the kernel's in namespaces of our own."""

import json
import socket
import struct
import subprocess
import sys
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import rtnetlink
from reconciler.drivers.rtnetlink import Message, RouteEvents, Rtnetlink, attributes, messages, nics
from reconciler.errors import DriverError
from reconciler.resource import Json, Watching
from reconciler.resources.report import Source

SOURCE: Source = Rtnetlink()  # holds the driver to its port, for the type checker
WATCHING: Watching = Rtnetlink()

LINK, ADDR = 16, 20
UP = 1


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def message(kind: int, body: bytes, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body + b"\0" * (-len(body) % 4)


def link(index: int, name: str, *more: bytes, kind: int = 1, flags: int = UP) -> bytes:
    head = struct.pack("=BxHiII", 0, kind, index, flags, 0)
    return head + attribute(3, name.encode() + b"\0") + b"".join(more)


def address(index: int, text: str, prefix: int, scope: int = 0, flags: int = 0, *more: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    head = struct.pack("=BBBBI", family, prefix, flags, scope, index)
    return head + b"".join(more) + attribute(1, socket.inet_pton(family, text))


MTU = attribute(4, struct.pack("=I", 1500))
MAC = attribute(1, bytes.fromhex("525400123456"))
STATS = attribute(23, struct.pack("=24Q", 10, 20, 1000, 2000, 1, 2, 3, 4, *range(16)))
STATE_UP = attribute(16, b"\x06")
VLAN = attribute(18 | 0x8000, attribute(1, b"vlan\0"))
MASTER = attribute(10, struct.pack("=I", 7))

LINKS = [
    link(7, "br0", MTU, STATE_UP, attribute(18, attribute(1, b"bridge\0"))),
    link(2, "eth0", MTU, MAC, STATE_UP, STATS, MASTER, attribute(20, b"uplink\0")),
    link(1, "lo", attribute(4, struct.pack("=I", 65536)), attribute(1, bytes(6)), kind=772),
    link(9, "eth0.5", MTU, VLAN, attribute(16, b"\x02"), flags=0),
]
LOCAL = attribute(2, socket.inet_pton(socket.AF_INET, "10.0.0.1"))
MORE_FLAGS = attribute(8, struct.pack("=I", 0x140))  # beyond the eight bits of the header
ADDRESSES = [
    address(2, "192.0.2.5", 24),
    address(2, "192.0.2.6", 24, 0, 0x01),
    address(2, "10.0.0.2", 32, 0, 0, LOCAL),
    address(2, "fe80::1", 64, 253, 0x80),
    address(2, "2001:db8::1", 64, 0, 0x01, MORE_FLAGS),
    address(99, "192.0.2.7", 24),
]


def as_messages(kind: int, bodies: list[bytes]) -> list[Message]:
    return [(kind, 0, body) for body in bodies]


def test_nics() -> None:
    told = nics(as_messages(LINK, LINKS), as_messages(ADDR, ADDRESSES))
    assert list(told) == ["lo", "eth0", "br0", "eth0.5"]  # by index
    assert told["eth0"] == {
        "index": 2,
        "type": "ethernet",
        "mac": "52:54:00:12:34:56",
        "master": "br0",
        "alias": "uplink",
        "mtu": 1500,
        "up": True,
        "state": "up",
        "inet": [
            {"address": "192.0.2.5", "prefix": 24, "scope": "global"},
            {"address": "192.0.2.6", "prefix": 24, "scope": "global", "flags": ["secondary"]},
            {"address": "10.0.0.1", "prefix": 32, "scope": "global"},
        ],
        "inet6": [
            {"address": "fe80::1", "prefix": 64, "scope": "link"},
            {"address": "2001:db8::1", "prefix": 64, "scope": "global", "flags": ["tentative"]},
        ],
        "counters": {
            "rxPackets": 10,
            "txPackets": 20,
            "rxBytes": 1000,
            "txBytes": 2000,
            "rxErrors": 1,
            "txErrors": 2,
            "rxDropped": 3,
            "txDropped": 4,
        },
    }
    assert told["lo"] == {
        "index": 1,
        "type": "loopback",
        "mtu": 65536,
        "up": True,
        "state": "unknown",
        "inet": [],
        "inet6": [],
        "counters": {},
    }
    assert (told["br0"]["kind"], told["eth0.5"]["kind"]) == ("bridge", "vlan")
    assert (told["eth0.5"]["up"], told["eth0.5"]["state"]) == (False, "down")


def test_nics_and_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtnetlink, "_NICS_MAX", 2)
    monkeypatch.setattr(rtnetlink, "_ADDRESSES_MAX", 1)
    told = nics(as_messages(LINK, LINKS), as_messages(ADDR, ADDRESSES))
    assert list(told) == ["lo", "eth0"]
    assert [len(told["eth0"][family]) for family in ("inet", "inet6")] == [1, 1]


WIRE = b"".join(message(LINK, body) for body in LINKS) + b"".join(message(ADDR, body) for body in ADDRESSES)


def told_by(data: bytes) -> Json:
    found = [message for _, message in messages(data)]
    return nics(found, found)


@pytest.mark.parametrize("cut", range(0, len(WIRE), 3))
def test_a_datagram_cut_anywhere_loses_only_its_end(cut: int) -> None:
    whole = told_by(WIRE)
    assert list(told_by(WIRE)) == ["lo", "eth0", "br0", "eth0.5"]
    for name, nic in told_by(WIRE[:cut]).items():
        fields = {key: nic[key] for key in ("index", "mtu", "state", "counters")}
        assert fields == {key: whole[name][key] for key in fields}


@pytest.mark.parametrize("body", LINKS, ids=["bridge", "nic", "loopback", "vlan"])
def test_a_message_cut_anywhere_is_survived(body: bytes) -> None:
    for cut in range(len(body)):
        json.dumps(nics([(LINK, 0, body[:cut])], [(ADDR, 0, body[:cut])]))


@given(st.lists(st.tuples(st.sampled_from([LINK, ADDR, 99]), st.just(0), st.binary(max_size=200))))
def test_any_messages_are_survived(found: list[Message]) -> None:
    json.dumps(nics(found, found))


@given(st.binary(max_size=300), st.integers(0, len(WIRE) - 1), st.binary(min_size=1, max_size=8))
def test_any_bytes_are_survived(data: bytes, place: int, spoilt: bytes) -> None:
    json.dumps(told_by(data))
    json.dumps(told_by(WIRE[:place] + spoilt + WIRE[place + len(spoilt) :]))
    assert all(len(part) <= len(data) for part in attributes(data).values())


def test_this_machine() -> None:
    told = Rtnetlink().read("nics")
    assert told["lo"]["type"] == "loopback"
    assert told["lo"]["mtu"] > 0


def test_a_kernel_that_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtnetlink, "_GETLINK", 0xFF)  # no such request
    with pytest.raises(DriverError, match="cannot list interfaces"):
        Rtnetlink().read("nics")


def test_a_kernel_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtnetlink, "_REQUEST", 0)  # so that it is no request
    monkeypatch.setattr(rtnetlink, "_DUMP", 0)
    monkeypatch.setattr(rtnetlink, "_DEADLINE_S", 0.05)
    with pytest.raises(DriverError, match="timed out"):
        Rtnetlink().read("nics")


def test_quiet_while_nothing_changes() -> None:
    with closing(RouteEvents(("nics",))) as watch:
        assert not watch.drain()


SCRIPT = """
import json, selectors, subprocess, sys
from reconciler.drivers.rtnetlink import Rtnetlink

def ip(*words):
    subprocess.run(["ip", *words], check=True)

driver = Rtnetlink()
(watch,) = driver.watches()
loop = selectors.DefaultSelector()
loop.register(watch, selectors.EVENT_READ)

def told(*words):
    ip(*words)
    heard = bool(loop.select(5)) and watch.drain()
    # The kernel says a thing in several messages; the rest of them is not the next one's.
    while loop.select(0.2):
        watch.drain()
    assert heard, words

told("link", "add", "red0", "type", "veth", "peer", "name", "blue0")
told("link", "set", "red0", "address", "52:54:00:aa:bb:cc")
told("link", "set", "red0", "mtu", "1400", "up")
told("link", "set", "blue0", "up")
told("addr", "add", "192.0.2.1/24", "dev", "red0")
told("addr", "add", "192.0.2.9/24", "dev", "red0")
told("addr", "add", "2001:db8::1/64", "dev", "red0", "nodad")
told("link", "add", "br7", "type", "bridge")
told("link", "set", "blue0", "master", "br7")
nics = driver.read("nics")
told("addr", "del", "192.0.2.9/24", "dev", "red0")
told("link", "del", "br7")
json.dump([nics, driver.read("nics")], sys.stdout)
"""


@pytest.fixture
def namespace() -> Json:
    command = ["unshare", "--net", sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.root
def test_a_namespace_of_our_own(namespace: Json) -> None:
    before, after = namespace
    assert set(before) == {"lo", "red0", "blue0", "br7"}
    red = before["red0"]
    assert (red["mac"], red["mtu"], red["kind"], red["up"], red["state"]) == (
        "52:54:00:aa:bb:cc",
        1400,
        "veth",
        True,
        "up",
    )
    assert red["inet"] == [
        {"address": "192.0.2.1", "prefix": 24, "scope": "global"},
        {"address": "192.0.2.9", "prefix": 24, "scope": "global", "flags": ["secondary"]},
    ]
    assert {"address": "2001:db8::1", "prefix": 64, "scope": "global"} in red["inet6"]
    assert (before["blue0"]["master"], before["br7"]["kind"]) == ("br7", "bridge")
    assert set(red["counters"]) >= {"rxBytes", "txBytes", "rxPackets", "txPackets", "rxErrors", "txDropped"}
    assert set(after) == {"lo", "red0", "blue0"}
    assert len(after["red0"]["inet"]) == 1
    assert "master" not in after["blue0"]
