"""The unix socket: where it is, who may come in, what it leaves behind."""

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.stream import Data, Endpoint, Opened, Trouble
from reconciler.transports.unix import Unix
from tests.transports.ends import descriptors, only, ready, settle


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "guest.sock")


@pytest.fixture
def endpoint(path: str) -> Iterator[Unix]:
    endpoint = Unix(path)
    assert settle(endpoint) == []
    yield endpoint
    endpoint.close()


@pytest.fixture
def host(endpoint: Unix, path: str) -> Iterator[socket.socket]:
    with call(path) as host:
        yield host


def call(path: str) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        caller.connect(path)
    except BaseException:
        caller.close()
        raise
    return caller


def test_it_is_an_endpoint_and_quiet(endpoint: Unix) -> None:
    seen: Endpoint = endpoint  # for the type checker
    assert (seen.due_s, ready(seen)) == (None, False)


def test_only_its_user_can_connect(endpoint: Unix, path: str) -> None:
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600


def test_bytes_pass_both_ways(endpoint: Unix, host: socket.socket) -> None:
    connection = only(Opened, settle(endpoint)).connection
    host.send(b"in")
    assert settle(endpoint) == [Data(connection, b"in")]
    connection.send(b"out")
    assert host.recv(10) == b"out"
    assert not ready(endpoint)


def test_everything_is_given_back(path: str) -> None:
    before = descriptors()
    endpoint = Unix(path)
    settle(endpoint)
    with call(path), call(path):
        settle(endpoint)
        endpoint.close()
    assert descriptors() == before
    assert not os.path.exists(path)


def test_the_socket_of_a_dead_agent_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    endpoint = Unix(path)
    assert settle(endpoint) == []
    with call(path):
        only(Opened, settle(endpoint))
    endpoint.close()


def test_the_socket_of_a_living_agent_is_left_alone_and_waited_for(endpoint: Unix, path: str) -> None:
    second = Unix(path)
    assert settle(second) == [Trouble(f"cannot listen on unix:{path}: another process listens there")]
    assert settle(second, now_s=0.9) == []
    assert second.due_s == 1.0
    endpoint.close()
    assert settle(second, now_s=1.0) == []
    with call(path):
        only(Opened, settle(second, now_s=1.0))
    second.close()


def test_a_successors_socket_is_not_removed(path: str) -> None:
    endpoint = Unix(path)
    settle(endpoint)
    os.rename(path, path + ".old")
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(path)
        endpoint.close()
        assert os.path.exists(path)


@pytest.mark.parametrize("what", ["file", "folder", "link to a file"])
def test_what_is_no_socket_is_never_touched(path: str, what: str) -> None:
    if what == "folder":
        os.mkdir(path)
    elif what == "file":
        Path(path).write_text("precious")
    else:
        Path(path + ".target").write_text("precious")
        os.symlink(path + ".target", path)
    endpoint = Unix(path)
    assert only(Trouble, settle(endpoint)).message.endswith("there is a file that is no socket")
    endpoint.close()
    assert os.path.lexists(path)


def test_a_missing_folder_is_told_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "guest.sock"
    endpoint = Unix(str(path))
    assert only(Trouble, settle(endpoint)).message.endswith(": No such file or directory")
    path.parent.mkdir()
    assert settle(endpoint, now_s=1.0) == []
    call(str(path)).close()
    endpoint.close()


@pytest.mark.root
def test_another_user_is_refused_even_where_the_mode_would_let_in() -> None:
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "guest.sock")
    endpoint = Unix(path)
    settle(endpoint)
    os.chmod(path, 0o666)
    os.seteuid(65534)
    try:
        caller = call(path)
    finally:
        os.seteuid(0)
    with caller:
        message = only(Trouble, settle(endpoint)).message
        assert message.endswith("user 65534 is neither root nor this agent's")
        assert caller.recv(1) == b""
    endpoint.close()
    shutil.rmtree(folder)
