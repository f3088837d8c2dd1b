"""Running containers from Docker's socket; see its Engine API, ContainerList."""

import json
import os
import time
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.resource import Json
from reconciler.resources.report import Source
from reconciler.subjects.timestamps import stamp

_SOCKET = "/run/docker.sock"
_RUNS = "/run/docker.pid"  # the socket itself may be systemd's, which would start dockerd for us

_ANSWER_S = 1.0  # for the whole answer; 100 containers are listed in 10 ms
_ANSWER_BYTES_MAX = 8 << 20  # some 4 KiB a container, most of it labels
_CONTAINERS_MAX = 1000
_TEXT_CHARS_MAX = 256  # of an image's name
_REQUEST = b"GET /containers/json HTTP/1.0\r\nHost: docker\r\nConnection: close\r\n\r\n"


class Docker(Source):
    """`containers`: `{docker: {name: {id, image, state, created?, ports?: ["0.0.0.0:80->80/tcp"]}}}`.

    Those that run, with the state in Docker's words: `running`, `paused`, `restarting`. Without a
    dockerd that runs there are none.
    """

    items: ClassVar[tuple[str, ...]] = ("containers",)
    needs: ClassVar[str] = "docker"

    def __init__(self, path: str = _SOCKET, runs: str = _RUNS) -> None:
        self._path = path
        self._runs = runs

    @classmethod
    def available(cls) -> bool:
        return os.path.exists(_SOCKET)

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        if not os.path.exists(self._runs):
            return {"docker": {}}
        try:
            return {"docker": containers(json.loads(body_of(self._ask())))}
        except OSError as error:
            raise DriverError(f"cannot list containers: {self._path}: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DriverError(f"cannot list containers: {self._path}: strange answer: {error}") from error

    def _ask(self) -> bytes:
        # Late: few guests run containers, and socket takes 0.5 MiB.
        import socket

        ends_s = time.monotonic() + _ANSWER_S
        answer = bytearray()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asked:
            asked.settimeout(_ANSWER_S)
            asked.connect(self._path)
            asked.sendall(_REQUEST)
            while data := asked.recv(1 << 16):
                answer += data
                if len(answer) > _ANSWER_BYTES_MAX:
                    raise DriverError(f"cannot list containers: more than {_ANSWER_BYTES_MAX} bytes")
                left_s = ends_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError("no answer in time")
                asked.settimeout(left_s)
        return bytes(answer)


def body_of(answer: bytes) -> bytes:
    """What follows the head of an answer with status 200; HTTP/1.0 knows no chunks. Raises ValueError."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].split()
    if status[1:2] != [b"200"]:
        raise ValueError(head[:80].decode(errors="replace"))
    return body


def containers(listed: Json) -> dict[str, Json]:
    """What the API returned, by name; raises TypeError and the like for what is no such list."""
    told: dict[str, Json] = {}
    for each in listed[:_CONTAINERS_MAX]:
        names = sorted(each.get("Names") or [], key=len)  # a link's is /other/alias
        name = names[0].lstrip("/") if names else each["Id"][:12]
        container: Json = {
            "id": each["Id"][:12],
            "image": each["Image"][:_TEXT_CHARS_MAX],
            "state": each["State"],
        }
        if isinstance(created := each.get("Created"), int) and 0 < created < 2**33:
            container["created"] = stamp(created)
        if ports := sorted({_port(port) for port in each.get("Ports") or []}):
            container["ports"] = ports
        told[name[:_TEXT_CHARS_MAX]] = container
    return dict(sorted(told.items()))


def _port(port: Json) -> str:
    inside = f"{port['PrivatePort']}/{port['Type']}"
    if "PublicPort" not in port:
        return inside
    host = port.get("IP", "")
    return f"{f'[{host}]' if ':' in host else host}:{port['PublicPort']}->{inside}"
