"""The host's end of the channel, written from the specification alone and not from our code.

Blocking, one connection, everything acknowledged. So the tests on real guests compare
two readings of `specs/channel.md`.
"""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

ANSWER_S = 60.0  # an emulator on a busy machine; the answer itself takes milliseconds
LATER_S = 120.0


class Refused(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']} {error.get('data', '')}")
        self.code = error["code"]
        self.data = error.get("data")


class Host:
    """One connection to one guest, from its hello on."""

    opened: ClassVar[list["Host"]] = []  # by the test that runs

    def __init__(self, path: Path, *, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.opened.append(self)
        self.socket.connect(str(path))
        self.pending = b""
        self.asked = int(time.monotonic() * 1000)  # no answer to an earlier host fits
        self.hello: dict[str, Any] = {}
        self.status: dict[str, Any] = {}
        self.revision = 0
        self.applied = 0  # the newest generation that was written here
        self.events: list[dict[str, Any]] = []
        self.patches = 0
        if greet:
            try:
                self.hello = self.greet()
                self.subscribe()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    @classmethod
    def close_all(cls) -> None:
        """Also those that a test which failed has left behind."""
        while cls.opened:
            cls.opened.pop().close()

    def greet(self) -> dict[str, Any]:
        """Say hello until the guest answers: what is said before it listens may be lost."""
        return dict(self.insist("hello", 2, protocols=[1], client=CLIENT, limits=LIMITS))

    def insist(self, method: str, timeout: float, **params: Any) -> Any:
        """What is free to be asked again, until there is an answer; the result."""
        deadline = time.monotonic() + LATER_S
        while True:
            try:
                return self.call(method, timeout=timeout, **params)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def subscribe(self) -> None:
        result = self.insist("subscribe", 10)
        self.revision, self.status = result["revision"], result["status"]

    def apply(self, spec: dict[str, Any], generation: int | None = None) -> int:
        """Write a document, as the next generation unless told which; the generation."""
        for again in (True, False):
            number = generation or self.call("spec")["generation"] + 1
            try:
                self.call("apply", generation=number, spec=spec)
                break
            except Refused as error:
                # What the host before us wrote may come into force after we asked.
                if generation or not again or not str(error).startswith("-32001"):
                    raise
        return number

    def converge(self, spec: dict[str, Any], timeout: float = LATER_S) -> dict[str, Any]:
        """Apply, and wait until the guest says that every kind is as written; the status."""
        number = self.apply(spec)
        return self.until(lambda status: converged(status, number), timeout)

    def condition(self, kind: str) -> dict[str, Any]:
        """A kind's condition; empty while it is about a document before the one written last."""
        for each in self.status.get("conditions", []):
            if each["type"] == kind and each["observedGeneration"] >= self.applied:
                return dict(each)
        return {}

    def until(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = LATER_S) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while not wanted(self.status):
            try:
                self.take(self.receive(deadline - time.monotonic()))
            except TimeoutError:
                raise TimeoutError(f"not within {timeout:.0f} s: {json.dumps(self.status)[:4000]}") from None
        return self.status

    def reason(self, kind: str, reason: str, timeout: float = LATER_S) -> dict[str, Any]:
        """Wait for a reason of the document that was written last; the condition."""
        self.until(lambda _: self.condition(kind).get("reason") == reason, timeout)
        return self.condition(kind)

    def call(self, method: str, timeout: float = ANSWER_S, **params: Any) -> Any:
        """The result. Errors: Refused, TimeoutError, ConnectionError."""
        number = self.send(method, **params)
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(deadline - time.monotonic())
            if message.get("id") != number:
                self.take(message)
            elif "error" in message:
                raise Refused(message["error"])
            else:
                if method == "apply":
                    self.applied = max(self.applied, message["result"]["generation"])
                return message["result"]

    def send(self, method: str, **params: Any) -> int:
        self.asked += 1
        self.write({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params})
        return self.asked

    def write(self, message: dict[str, Any]) -> None:
        self.socket.settimeout(ANSWER_S)
        self.socket.sendall(b"\x1e" + json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the guest is gone")
            self.pending += data
        text, _, self.pending = self.pending.partition(b"\n")
        try:
            message = json.loads(text.rpartition(b"\x1e")[2])
        except ValueError:
            if self.hello:
                raise
            return {}  # the end of a message to the host before us, which the port still held
        assert message["jsonrpc"] == "2.0"
        return dict(message)

    def take(self, message: dict[str, Any]) -> None:
        if not self.revision:
            return  # meant for the host before us
        params = message.get("params", {})
        match message.get("method"):
            case "status":
                if "status" in params:
                    self.status = params["status"]
                else:
                    assert params["base"] == self.revision
                    self.status = merged(self.status, params["patch"])
                    self.patches += 1
                self.revision = params["revision"]
                self.write({"jsonrpc": "2.0", "method": "ack", "params": {"revision": self.revision}})
            case "event":
                self.events.append(params)
            case "hello":
                self.hello = params


CLIENT = {"name": "tests", "version": "0"}
LIMITS = {"messageBytes": 8 << 20}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def converged(status: dict[str, Any], generation: int) -> bool:
    return (
        status.get("observedGeneration") == generation
        and status.get("phase") in ("Converged", "Holding")
        and all(each["status"] == "True" for each in status["conditions"])
    )
