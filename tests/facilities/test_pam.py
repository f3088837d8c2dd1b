"""The agent's side of the process that asks PAM: whole, and with processes that fail at each step."""

import os
import socket
import sys
from contextlib import suppress

import pytest

from reconciler.errors import DriverError, Terminal, Unsupported
from reconciler.facilities import pam
from reconciler.facilities.pam import Inquiry, judged
from reconciler.secret import Secret

ALICE = Inquiry(user="alice", credential=True)


def play(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a process follow these lines in place of the real one; `s` is its socket."""
    code = f"import socket, time\ns = socket.socket(fileno=0)\ns.recv(4096)\n{script}"

    def spawn(theirs: socket.socket) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
        return os.posix_spawn(sys.executable, [sys.executable, "-ISc", code], {}, file_actions=actions)

    monkeypatch.setattr(pam, "_spawn", spawn)


def test_the_real_process_answers() -> None:
    inquiry = Inquiry(user="nobody-of-this-name", credential=True)
    assert judged(inquiry, lambda: Secret(b"never taken")) == "UnknownUser"


ECHO = """
s.sendall(b'?\\n')
size = int.from_bytes(s.recv(2), 'big')
secret = s.recv(4096) if size else b''
s.sendall(b'ok\\n' if (size, secret) == (5, b'horse') else b'WrongPassword\\n')
"""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"horse", "ok", id="as it is"),
        pytest.param(b"horse\n", "ok", id="with a line end"),
        pytest.param(b"horse\r\n", "ok", id="with the other line end"),
        pytest.param(b"horse\n\n", "WrongPassword", id="one line end is no part of it"),
        pytest.param(b"", "WrongPassword", id="empty"),
    ],
)
def test_hands_the_secret_over_and_wipes_it(monkeypatch: pytest.MonkeyPatch, data: bytes, said: str) -> None:
    play(monkeypatch, ECHO)
    secret = Secret(data)
    assert judged(ALICE, lambda: secret) == said
    assert set(secret.data) <= {0}


@pytest.mark.parametrize(
    ("script", "fails"),
    [
        pytest.param("", DriverError, id="it ends"),
        pytest.param("s.sendall(b'x' * 1000)", DriverError, id="it babbles"),
        pytest.param("time.sleep(60)", DriverError, id="it hangs"),
        pytest.param("s.sendall(b'Novelty\\n')", DriverError, id="it says something else"),
        pytest.param("s.sendall(b'ok\\n')", DriverError, id="it agrees without having asked"),
        pytest.param("s.sendall(b'NoPam\\n')", Unsupported, id="no PAM"),
    ],
)
def test_what_goes_wrong_before_the_secret_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, script: str, fails: type[Exception]
) -> None:
    play(monkeypatch, script)
    secret = Secret(b"horse")
    with pytest.raises(fails, match="alice"):
        judged(ALICE, lambda: secret, deadline_s=1.0)
    assert secret.data == b"horse"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("s.sendall(b'?\\n'); s.recv(100)", id="it ends"),
        pytest.param("s.sendall(b'?\\n'); s.recv(100); s.sendall(b'Novelty\\n')", id="something else"),
        pytest.param("s.sendall(b'?\\n'); time.sleep(60)", id="it hangs"),
    ],
)
def test_what_goes_wrong_after_the_secret_is_an_answer(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    play(monkeypatch, script)
    assert judged(ALICE, lambda: Secret(b"horse"), deadline_s=1.0) == "NotJudged"


def test_a_secret_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Secret:
        raise Terminal("cannot use the secret: it is gone")

    play(monkeypatch, "s.sendall(b'?\\n'); time.sleep(60)")
    with pytest.raises(Terminal, match="gone"):
        judged(ALICE, gone)


def test_nothing_is_left_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = []
    real = pam._spawn

    def spawn(theirs: socket.socket) -> int:
        pids.append(real(theirs))
        return pids[-1]

    monkeypatch.setattr(pam, "_spawn", spawn)
    before = len(os.listdir("/proc/self/fd"))
    judged(Inquiry(user="nobody-of-this-name", credential=False), None)
    assert len(os.listdir("/proc/self/fd")) == before
    with suppress(ProcessLookupError):
        os.kill(pids[0], 0)
        pytest.fail("it lives")


def test_a_process_that_cannot_be_started_uses_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(theirs: socket.socket) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(pam, "_spawn", full)
    secret = Secret(b"horse")
    with pytest.raises(DriverError, match="cannot ask PAM about alice: Resource temporarily"):
        judged(ALICE, lambda: secret)
    assert secret.data == b"horse"
