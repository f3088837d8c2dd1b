"""The program that PAM runs: with a real grant at the other end, and without one."""

import subprocess
import sys
from pathlib import Path

import pytest

from guest_runtime import pam_credential
from reconciler.facilities import login_grant
from reconciler.facilities.login_grant import Grant

ROOT = Path(__file__).parents[2]


def run(path: str, **names: str) -> int:
    """As pam_exec runs it: PAM's names in the environment."""
    environment = {"PAM_TYPE": "auth", "PAM_USER": "alice", "PAM_SERVICE": "lightdm"} | names
    code = "import sys; from guest_runtime.pam_credential import main; sys.exit(main(sys.argv[1]))"
    command = [sys.executable, "-c", code, path]
    return subprocess.run(command, env=environment, cwd=ROOT, timeout=20, check=False).returncode


def test_lets_in_who_is_meant(tmp_path: Path) -> None:
    path = str(tmp_path / "pam.sock")
    with Grant("alice", "lightdm", path=path):
        assert run(path, PAM_USER="bob") == 1
        assert run(path, PAM_SERVICE="sshd") == 1
        assert run(path) == 0
        assert run(path) == 1


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"PAM_TYPE": "account"}, id="not to authenticate"),
        pytest.param({"PAM_TTY": ":0"}, id="a greeter's display"),
        pytest.param({"PAM_RHOST": "192.0.2.1"}, id="another host"),
    ],
)
def test_asks_nothing_for_who_sits_at_a_prompt(tmp_path: Path, where: dict[str, str]) -> None:
    path = str(tmp_path / "pam.sock")
    with Grant("alice", "lightdm", path=path):
        assert run(path, **where) == 1
        assert run(path) == 0


def test_without_a_login_under_way(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none")) == 1


def test_both_ends_mean_the_same_socket() -> None:
    assert pam_credential.SOCKET == login_grant.SOCKET
