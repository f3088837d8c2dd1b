"""Containers of Docker, from a socket that answers as its daemon does."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers import docker
from reconciler.drivers.docker import Docker, body_of, containers
from reconciler.errors import DriverError
from reconciler.resource import Json
from reconciler.resources.report import Source

SOURCE: Source = Docker()  # holds the driver to its port, for the type checker

ID = "8dfafdbc3a40" + "1" * 52
LISTED: Json = [
    {
        "Id": ID,
        "Names": ["/shop/db", "/db"],
        "Image": "postgres:16",
        "ImageID": "sha256:d74508fb6632",
        "Command": "docker-entrypoint.sh postgres",
        "Created": 1700000000,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 5432, "PublicPort": 5432, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 5432, "PublicPort": 5432, "Type": "tcp"},
            {"PrivatePort": 9187, "Type": "tcp"},
        ],
        "Labels": {"com.example": "x"},
        "State": "running",
        "Status": "Up 2 hours",
    },
    {"Id": "a" * 64, "Names": None, "Image": "alpine", "State": "paused", "Ports": None},
]
TOLD = {
    "aaaaaaaaaaaa": {"id": "aaaaaaaaaaaa", "image": "alpine", "state": "paused"},
    "db": {
        "id": "8dfafdbc3a40",
        "image": "postgres:16",
        "state": "running",
        "created": "2023-11-14T22:13:20Z",
        "ports": ["0.0.0.0:5432->5432/tcp", "9187/tcp", "[::]:5432->5432/tcp"],
    },
}
HEAD = b"HTTP/1.0 200 OK\r\nApi-Version: 1.43\r\nContent-Type: application/json\r\n\r\n"


@contextmanager
def daemon(folder: Path, *answers: bytes, hold: bool = False) -> Iterator[Docker]:
    """A driver whose daemon gives one answer to each that asks; with `hold` it never hangs up."""
    (folder / "docker.pid").write_text("1")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "docker.sock"))
    listener.listen()
    kept: list[socket.socket] = []

    def serve() -> None:
        for answer in answers:
            asked, _ = listener.accept()
            assert asked.recv(4096).startswith(b"GET /containers/json HTTP/1.0\r\n")
            asked.sendall(answer)
            if hold:
                kept.append(asked)
            else:
                asked.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Docker(str(folder / "docker.sock"), str(folder / "docker.pid"))
    finally:
        thread.join(5)
        for asked in (*kept, listener):
            asked.close()


def test_containers(tmp_path: Path) -> None:
    with daemon(tmp_path, HEAD + json.dumps(LISTED).encode()) as driver:
        assert driver.read("containers") == {"docker": TOLD}


def test_a_daemon_that_does_not_run_is_not_started(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()
        listener.setblocking(False)
        driver = Docker(str(tmp_path / "docker.sock"), str(tmp_path / "docker.pid"))
        assert driver.read("containers") == {"docker": {}}
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(b"HTTP/1.0 500 Internal Server Error\r\n\r\n{}", "500 Internal", id="an error"),
        pytest.param(HEAD + b"[{", "strange answer", id="half an answer"),
        pytest.param(HEAD + b'{"a": 1}', "strange answer", id="no list"),
        pytest.param(HEAD + b"[{}]", "strange answer", id="no container"),
        pytest.param(HEAD + b"[" * 100_000, "strange answer", id="too deep"),
        pytest.param(b"", "strange answer", id="nothing"),
        pytest.param(HEAD + b" " * 2000, "more than 1000 bytes", id="too long"),
    ],
)
def test_answers_that_are_none(
    tmp_path: Path, answer: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_ANSWER_BYTES_MAX", 1000 if "bytes" in why else 1 << 20)
    with daemon(tmp_path, answer) as driver, pytest.raises(DriverError, match=why):
        driver.read("containers")


def test_a_daemon_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_ANSWER_S", 0.05)
    with daemon(tmp_path, HEAD, hold=True) as driver, pytest.raises(DriverError, match="timed out"):
        driver.read("containers")


def test_a_socket_that_nobody_answers(tmp_path: Path) -> None:
    (tmp_path / "docker.pid").write_text("1")
    with pytest.raises(DriverError, match="cannot list containers"):
        Docker(str(tmp_path / "docker.sock"), str(tmp_path / "docker.pid")).read("containers")


def test_very_many_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_CONTAINERS_MAX", 1)
    assert containers(LISTED).keys() == {"db"}


@given(st.binary(max_size=100))
def test_any_answer_is_a_body_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        assert data.endswith(body_of(data))
