"""The host's end of a unix socket, plain and blocking: its own cost must not blur a figure."""

import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.protocols.channel import Channel, ErrorResponse, Notification, Request, Response, as_error

PATIENCE_S = 30.0  # how long a run waits for what should take milliseconds
_READ_BYTES = 65536


class Host:
    """One connection; acknowledges each status and keeps the newest conditions."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE_S)
        self._channel = Channel.of_host()
        self._next_id = random.randrange(1 << 30)
        self._answers: dict[int | str, Any] = {}
        self.hello: dict[str, Any] | None = None
        self.conditions: dict[str, dict[str, Any]] = {}
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **params: Any) -> Any:
        """The answer's result. Raises what the answer says if it is an error."""
        number = self.send(method, **params)
        self.until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        if isinstance(answer, ErrorResponse):
            raise as_error(answer)
        return answer.result

    def send(self, method: str, **params: Any) -> int:
        self._next_id += 1
        self._socket.sendall(self._channel.send(Request(self._next_id, method, params)))
        return self._next_id

    def greet(self) -> None:
        """Begin a session and follow the status from here on."""
        self.call("hello", protocols=[1], client={"name": "bench", "version": "1"})
        self._learn(self.call("subscribe")["status"])

    def apply(self, generation: int, spec: dict[str, Any], kind: str) -> None:
        """Until the guest tells that `kind` is as this generation says; raises if it says it never will."""
        self.send("apply", generation=generation, spec=spec)
        self.until(lambda: self._is_in_sync(kind, generation))
        self._answers.clear()

    def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the guest has closed the connection")
            for event in self._channel.receive_data(data):
                self._take(event)

    def _is_in_sync(self, kind: str, generation: int) -> bool:
        refused = next((each for each in self._answers.values() if isinstance(each, ErrorResponse)), None)
        if refused:
            raise as_error(refused)
        condition = self.conditions.get(kind, {})
        if condition.get("observedGeneration") != generation:
            return False
        if condition["reason"] in ("Unsupported", "Forbidden", "Terminal", "DriverError"):
            raise RuntimeError(f"{kind} is {condition['reason']}: {condition['message']}")
        return (condition["status"], condition["reason"]) == ("True", "InSync")

    def _take(self, event: object) -> None:
        match event:
            case Response(id) | ErrorResponse(id) if id is not None:
                self._answers[id] = event
            case Notification("hello", params):
                self.hello = dict(params)
            case Notification("status", params):
                acknowledged = Notification("ack", {"revision": params["revision"]})
                self._socket.sendall(self._channel.send(acknowledged))
                self._learn(params.get("status") or params.get("patch") or {})

    def _learn(self, status: dict[str, Any]) -> None:
        # A patch replaces the list whole, so nothing needs merging.
        if "conditions" in status:
            self.conditions = {each["type"]: each for each in status["conditions"]}
