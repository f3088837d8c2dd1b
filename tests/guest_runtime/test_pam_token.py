"""The module for GDM: with a real grant at the other end, and what pam_python gives it made up."""

import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from guest_runtime.pam_token import SERVICE, SOCKET, pam_sm_authenticate, pam_sm_setcred
from reconciler.drivers.user import gdm
from reconciler.facilities import login_grant
from reconciler.facilities.login_grant import Grant


class Prompt(NamedTuple):
    style: int
    text: str


@dataclass
class FakePam:
    """The part of pam_python's handle that the module uses."""

    PAM_SUCCESS: ClassVar[int] = 0
    PAM_AUTH_ERR: ClassVar[int] = 7
    PAM_PROMPT_ECHO_OFF: ClassVar[int] = 1

    answer: str | None = "t0ken:alice"
    user: str | None = None
    rhost: str | None = None
    env: dict[str, str] = field(default_factory=lambda: {"XDG_SEAT": "seat0"})
    heard: list[Prompt] = field(default_factory=list)

    Message: ClassVar[type[Prompt]] = Prompt

    def conversation(self, message: Prompt) -> Any:
        self.heard.append(message)
        return type("Response", (), {"resp": self.answer})


def authenticate(pam: FakePam, path: str) -> int:
    return pam_sm_authenticate(pam, 0, [], path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "pam.sock")


def test_the_token_becomes_the_user_once(path: str) -> None:
    pam = FakePam()
    with Grant("alice", SERVICE, "t0ken", path=path) as grant:
        assert authenticate(pam, path) == pam.PAM_SUCCESS
        assert (pam.user, grant.used) == ("alice", True)
        assert [message.style for message in pam.heard] == [pam.PAM_PROMPT_ECHO_OFF]
        assert authenticate(FakePam(), path) == pam.PAM_AUTH_ERR
    assert pam_sm_setcred(pam, 0, []) == pam.PAM_SUCCESS


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("t0ken:bob", id="another user"),
        pytest.param("token:alice", id="another token"),
        pytest.param("alice", id="no token"),
        pytest.param("t0ken:", id="no user"),
        pytest.param("", id="nothing"),
        pytest.param(None, id="no answer"),
    ],
)
def test_any_other_answer_lets_nobody_in(path: str, answer: str | None) -> None:
    pam = FakePam(answer)
    with Grant("alice", SERVICE, "t0ken", path=path) as grant:
        assert authenticate(pam, path) == pam.PAM_AUTH_ERR
        assert not grant.used
    assert pam.user is None


@pytest.mark.parametrize(
    "pam",
    [
        pytest.param(FakePam(user="alice"), id="a screen that is to be unlocked"),
        pytest.param(FakePam(env={"XDG_SEAT": "seat1"}), id="another seat"),
        pytest.param(FakePam(env={}), id="no seat"),
        pytest.param(FakePam(rhost="192.0.2.1"), id="another host"),
    ],
)
def test_nobody_else_uses_a_token_that_he_has_heard(path: str, pam: FakePam) -> None:
    with Grant("alice", SERVICE, "t0ken", path=path) as grant:
        assert authenticate(pam, path) == pam.PAM_AUTH_ERR
        assert not grant.used
    assert pam.heard == []


def test_without_a_login_under_way_it_agrees_to_nobody(path: str) -> None:
    assert authenticate(FakePam(), path) == FakePam.PAM_AUTH_ERR


def test_an_agent_that_hangs_lets_nobody_in(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guest_runtime.pam_token._ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        assert authenticate(FakePam(), path) == FakePam.PAM_AUTH_ERR
    assert threading.active_count() == 1


def test_asks_where_the_agent_listens() -> None:
    # Each stands alone: the module runs in a process of GDM's.
    assert (SOCKET, SERVICE) == (login_grant.SOCKET, gdm._SERVICE)
