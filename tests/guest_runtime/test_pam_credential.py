"""The program that PAM runs: with a real grant at the other end, and without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from guest_runtime import pam_credential
from reconciler import login_grant
from reconciler.login_grant import Grant

ROOT = Path(__file__).parents[2]


def run(path: str, typed: bytes, **names: str) -> int:
    """As pam_exec runs it: the token on standard input, PAM's names in the environment."""
    environment = {"PAM_TYPE": "auth", "PAM_USER": "alice", "PAM_SERVICE": "greetd"} | names
    code = "import sys; from guest_runtime.pam_credential import main; sys.exit(main(sys.argv[1]))"
    command = [sys.executable, "-c", code, path]
    return subprocess.run(command, input=typed, env=environment, cwd=ROOT, timeout=20, check=False).returncode


def test_lets_in_who_has_the_token(tmp_path: Path) -> None:
    path = str(tmp_path / "pam.sock")
    with Grant("alice", "greetd", path=path) as grant:
        token = grant.token.encode() + b"\0"  # as pam_exec ends it
        assert run(path, token, PAM_USER="bob") == 1
        assert run(path, token, PAM_SERVICE="sshd") == 1
        assert run(path, token, PAM_TYPE="account") == 1
        assert run(path, b"0" * 64) == 1
        assert run(path, token) == 0
        assert run(path, token) == 1


@pytest.mark.parametrize(
    "typed", [pytest.param(b"", id="nothing"), pytest.param(b"hunter2\0", id="somebody's own password")]
)
def test_nothing_but_a_token_leaves_the_process(
    tmp_path: Path, typed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "pam.sock")
    with Grant("alice", "greetd", path=path) as grant:
        heard: list[bytes] = []

        def hear(question: bytes) -> bool:
            heard.append(question)
            return True

        monkeypatch.setattr(grant, "_grants", hear)
        assert run(path, typed) == 1
        assert heard == []


def test_without_a_login_under_way(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none"), b"0" * 64) == 1


def test_both_ends_mean_the_same_socket() -> None:
    assert pam_credential.SOCKET == login_grant.SOCKET
    assert pam_credential._TOKEN.fullmatch(os.urandom(login_grant.TOKEN_BYTES).hex().encode())
