"""The host's end that tests on real guests trust: what it waits for, and that it is closed."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.wire import Host


class Port:
    """A guest's end of the channel, which says what a test has it say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()

    def accept(self) -> None:
        self._connected, _ = self._listening.accept()

    def say(self, **message: Any) -> None:
        self._connected.sendall(b"\x1e" + json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def close(self) -> None:
        self._connected.close()
        self._listening.close()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    port = Port(tmp_path / "port")
    yield port
    port.close()


def about(generation: int, reason: str) -> dict[str, Any]:
    condition = {"type": "run", "reason": reason, "observedGeneration": generation}
    return {"status": {"conditions": [condition]}, "revision": generation}


def test_a_reason_of_the_document_before_is_not_the_one_waited_for(port: Port) -> None:
    with Host(port.path, greet=False) as host:
        port.accept()
        host.revision, host.status = 1, about(1, "Succeeded")["status"]
        assert host.reason("run", "Succeeded")["observedGeneration"] == 1
        port.say(id=host.asked + 1, result={"generation": 2})
        host.apply({"run": {}}, 2)
        assert host.condition("run") == {}
        for reason in ("NotSeenYet", "Succeeded"):
            port.say(method="status", params=about(2, reason))
        assert host.reason("run", "Succeeded")["observedGeneration"] == 2


def test_who_is_left_behind_is_closed(port: Port) -> None:
    left = Host(port.path, greet=False)
    port.accept()
    Host.close_all()
    assert left.socket.fileno() == -1
    assert not Host.opened
