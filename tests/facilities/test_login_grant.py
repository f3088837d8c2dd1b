"""A permission is used once, by whom it is for, and expires; with the program that asks for it."""

import json
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from reconciler.errors import DriverError
from reconciler.facilities import login_grant
from reconciler.facilities.login_grant import Grant

ANSWER_S = 10.0


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run/pam.sock")


def asked(path: str, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_S)
        client.connect(path)
        client.sendall(question)
        return client.recv(16)


def ask(path: str, user: str = "alice", service: str = "lightdm") -> bytes:
    return asked(path, json.dumps({"user": user, "service": service}).encode() + b"\n")


def test_is_used_once(path: str) -> None:
    with Grant("alice", "lightdm", path=path) as grant:
        assert not grant.used
        assert ask(path) == b"yes\n"
        assert grant.wait()
        assert grant.used
        grant._thread.join(ANSWER_S)
        with pytest.raises(ConnectionRefusedError):
            ask(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    "question",
    [
        pytest.param({"user": "bob", "service": "lightdm"}, id="another user"),
        pytest.param({"user": "alice", "service": "sshd"}, id="another service"),
        pytest.param({"user": "alice"}, id="no service"),
        pytest.param({"user": ["alice"], "service": "lightdm"}, id="no name"),
        pytest.param(["alice", "lightdm"], id="a list"),
        pytest.param("x" * 10_000, id="much"),
    ],
)
def test_says_no_and_stays_for_who_is_right(path: str, question: object) -> None:
    with Grant("alice", "lightdm", path=path) as grant:
        assert asked(path, json.dumps(question).encode() + b"\n") == b"no\n"
        assert not grant.used
        assert ask(path) == b"yes\n"


def test_says_no_to_what_is_no_json(path: str) -> None:
    with Grant("alice", "lightdm", path=path):
        assert asked(path, b"\xff{\n") == b"no\n"


def test_says_no_to_what_is_too_deep(path: str) -> None:
    with Grant("alice", "lightdm", path=path):
        assert asked(path, b"[" * 4000 + b"\n") == b"no\n"
        assert ask(path) == b"yes\n"


def test_expires(path: str) -> None:
    with Grant("alice", "lightdm", path=path, valid_s=0.05) as grant:
        assert not grant.wait()
        grant._thread.join(ANSWER_S)
        assert not grant._thread.is_alive()
        assert not grant._grants(json.dumps({"user": "alice", "service": "lightdm"}).encode())


def test_only_root_reaches_it(path: str) -> None:
    with Grant("alice", "lightdm", path=path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_another_user_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.facilities.login_grant.os.geteuid", lambda: os.getuid() + 1)
    with Grant("alice", "lightdm", path=path):
        assert ask(path) == b"no\n"


def test_takes_over_from_an_agent_that_was_killed(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with Grant("alice", "lightdm", path=path):
        assert ask(path) == b"yes\n"


def test_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DriverError, match="cannot let alice in"),
        Grant("alice", "lightdm", path=str(tmp_path / "file/pam.sock")),
    ):
        pass


def test_says_that_no_thread_can_be_had(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("reconciler.facilities.login_grant.threading.Thread.start", full)
    with pytest.raises(DriverError, match="can't start new thread"), Grant("alice", "lightdm", path=path):
        pass
    assert not os.path.exists(path)


def test_ends_with_its_with(path: str) -> None:
    before = threading.active_count()
    with Grant("alice", "lightdm", path=path):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert login_grant.SOCKET == "/run/guest-reconciler/pam.sock"
