"""What PAM says, asked of the real library with rules of our own; its modules come with Debian."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from reconciler.facilities import pam_child
from reconciler.facilities.pam_child import Shadow, answer, unfit
from reconciler.subjects.seating import LATER, REFUSALS

ANSWER_S = 10.0
PASSWORD = b"correct horse"
TODAY = 20_000
CHECK = (
    "auth [success=1 default=ignore] pam_exec.so expose_authtok quiet {check}\nauth requisite pam_deny.so\n"
)
ACCOUNT = "account required pam_permit.so\n"


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of PAM rules; the accounts themselves are in order."""
    monkeypatch.setattr(pam_child, "_account", lambda user: "")
    check = tmp_path / "check"
    check.write_text(f"#!/bin/sh\nread -r typed\n[ \"$typed\" = '{PASSWORD.decode()}' ]\n")
    check.chmod(0o755)
    return tmp_path


def ask_pam(folder: Path, rules: str, secret: bytes | None = PASSWORD, user: str = "alice") -> str:
    (folder / "test").write_text(rules.replace("{check}", str(folder / "check")))
    request: dict[str, Any] = {"user": user, "service": "test", "tty": "tty2", "folder": str(folder)}
    taken: list[bytearray] = []

    def ask() -> bytearray:
        assert secret is not None
        taken.append(bytearray(secret))
        return taken[-1]

    said = answer(request | {"credential": secret is not None}, ask)
    assert all(set(copy) <= {0} for copy in taken)  # it is wiped, whatever came of it
    return said


@pytest.mark.parametrize(
    ("text", "secret", "said"),
    [
        pytest.param(CHECK + "auth required pam_permit.so\n" + ACCOUNT, PASSWORD, "ok", id="right"),
        pytest.param(CHECK + "auth required pam_permit.so\n" + ACCOUNT, b"x", "WrongPassword", id="wrong"),
        pytest.param("auth required pam_deny.so\n" + ACCOUNT, b"x", "AccessDenied", id="never looked at"),
        pytest.param(
            "auth required pam_permit.so\naccount required pam_deny.so\n", b"x", "AccessDenied", id="no"
        ),
        pytest.param(ACCOUNT, None, "ok", id="the account alone"),
        pytest.param("account required pam_deny.so\n", None, "AccessDenied", id="the account alone, denied"),
        *(
            pytest.param(f"auth required pam_debug.so auth={code}\n{ACCOUNT}", b"x", said, id=f"auth {code}")
            for code, said in {
                "maxtries": "AccountLocked",
                "user_unknown": "UnknownUser",
                "acct_expired": "AccountExpired",
                "new_authtok_reqd": "PasswordExpired",
                "authinfo_unavail": "NotJudged",
                "perm_denied": "AccessDenied",
                "conv_err": "MoreAsked",
            }.items()
        ),
        *(
            pytest.param(f"account required pam_debug.so acct={code}\n", None, said, id=f"account {code}")
            for code, said in {
                "acct_expired": "AccountExpired",
                "new_authtok_reqd": "PasswordExpired",
                "authtok_expired": "PasswordExpired",
                "user_unknown": "UnknownUser",
                "perm_denied": "AccessDenied",
                "system_err": "NotJudged",
            }.items()
        ),
        pytest.param(CHECK + ACCOUNT, b"a\0b", "WrongPassword", id="a NUL"),
        pytest.param(CHECK + ACCOUNT, b"x" * 512, "WrongPassword", id="longer than PAM takes"),
    ],
)
def test_says_why(rules: Path, text: str, secret: bytes | None, said: str) -> None:
    assert ask_pam(rules, text, secret) == said


FAILLOCK = """\
auth required pam_faillock.so preauth deny=1 even_deny_root dir={folder}/tally
auth [success=2 default=ignore] pam_exec.so expose_authtok quiet {folder}/check
auth required pam_faillock.so authfail deny=1 even_deny_root dir={folder}/tally
auth requisite pam_deny.so
auth required pam_permit.so
account required pam_faillock.so dir={folder}/tally
"""


@pytest.mark.root
def test_what_pam_has_locked_itself_is_told_from_a_wrong_password(rules: Path) -> None:
    (rules / "tally").mkdir()
    text = FAILLOCK.replace("{folder}", str(rules))
    assert ask_pam(rules, text, PASSWORD, user="daemon") == "ok"
    assert ask_pam(rules, text, b"wrong", user="daemon") == "WrongPassword"
    assert ask_pam(rules, text, PASSWORD, user="daemon") == "AccountLocked"


def test_every_reason_is_one_of_the_kind() -> None:
    said = {*pam_child._AUTH.values(), *pam_child._ACCOUNT.values(), "NotJudged", "NoShell", "LoginsDisabled"}
    assert said <= REFUSALS.keys() | LATER.keys()


def judge_with(secret: bytes | None) -> pam_child.Judge:
    judge = pam_child.Judge("test", "alice", "")
    judge._secret = None if secret is None else bytearray(secret)
    return judge


@pytest.mark.parametrize(
    ("prompts", "secret", "code", "why"),
    [
        pytest.param([(1, b"Password: ")], PASSWORD, 0, "WrongPassword", id="a password"),
        pytest.param([(1, b"Password: "), (1, b"Code: ")], PASSWORD, 19, "MoreAsked", id="and a code"),
        pytest.param([(2, b"login: ")], PASSWORD, 19, "MoreAsked", id="something that is shown"),
        pytest.param([(1, b"Password: ")], None, 19, "MoreAsked", id="nothing to give"),
        pytest.param(
            [(3, b"The account is locked due to 3 failed logins.")], PASSWORD, 0, "AccountLocked", id="locked"
        ),
        pytest.param([(4, b"Account Temporarily LOCKED")], PASSWORD, 0, "AccountLocked", id="in capitals"),
        pytest.param([(4, b"Welcome")], PASSWORD, 0, "AccessDenied", id="only told"),
        pytest.param(
            [(4, b"Your account was unlocked"), (4, b"Pop-ups are blocked")],
            PASSWORD,
            0,
            "AccessDenied",
            id="told of something else",
        ),
        pytest.param(
            [(4, b"Your account"), (4, b"The door is locked")], PASSWORD, 0, "AccessDenied", id="two"
        ),
    ],
)
def test_converses(prompts: list[tuple[int, bytes]], secret: bytes | None, code: int, why: str) -> None:
    import ctypes

    judge = judge_with(secret)
    messages = [pam_child._Message(style, text) for style, text in prompts]
    rows = (ctypes.POINTER(pam_child._Message) * len(messages))(*map(ctypes.pointer, messages))
    out = ctypes.c_void_p()
    said = judge._conversation.converse(
        len(messages), ctypes.cast(rows, pam_child._Messages), ctypes.pointer(out), None
    )
    assert said == code
    assert judge._why("WrongPassword") == why
    if code == 0 and prompts[0][0] == 1:
        assert out.value is not None
        given = pam_child._Response.from_address(out.value).text
        assert ctypes.string_at(given) == PASSWORD


@pytest.mark.parametrize(
    ("shadow", "why"),
    [
        pytest.param(Shadow(hash="$y$x"), "", id="a password"),
        pytest.param(Shadow(hash="!$y$x"), "AccountLocked", id="locked"),
        pytest.param(Shadow(hash="!"), "", id="no password here"),
        pytest.param(Shadow(hash="*"), "", id="no password here, as of a directory's users"),
        pytest.param(Shadow(hash="$y$x", expires=TODAY), "AccountExpired", id="expires today"),
        pytest.param(Shadow(hash="$y$x", expires=TODAY + 1), "", id="expires tomorrow"),
        pytest.param(Shadow(hash="$y$x", expires=0), "AccountExpired", id="expired in 1970"),
        pytest.param(Shadow(hash="$y$x", changed=0), "PasswordExpired", id="to be changed at login"),
        pytest.param(Shadow(hash="x", changed=TODAY - 90, most=90), "", id="90 days old of 90"),
        pytest.param(Shadow(hash="x", changed=TODAY - 91, most=90), "PasswordExpired", id="91 of 90"),
        pytest.param(Shadow(hash="x", changed=TODAY - 91, most=99_999), "", id="hardly ever"),
    ],
)
def test_unfit(shadow: Shadow, why: str) -> None:
    assert unfit(shadow, TODAY) == why


def test_who_is_unknown_and_who_has_no_shell() -> None:
    assert pam_child._account("nobody-of-this-name") == "UnknownUser"
    assert pam_child._account("daemon") == "NoShell"


def test_nobody_but_root_comes_in_before_logins_are_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nologin").touch()
    monkeypatch.setattr(pam_child, "_NOLOGIN", (str(tmp_path / "nologin"),))
    monkeypatch.setattr("reconciler.facilities.pam_child.os.access", lambda path, mode: True)
    monkeypatch.setattr(pam_child, "_NO_SHELLS", ())
    monkeypatch.setattr(pam_child, "_shadow", lambda user: None)
    assert pam_child._account("daemon") == "LoginsDisabled"
    assert pam_child._account("root") == ""


def test_takes_a_secret_in_any_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(ANSWER_S)
        theirs.settimeout(ANSWER_S)

        def send() -> None:
            for byte in b"{}\n" + PASSWORD:
                ours.sendall(bytes([byte]))

        sender = threading.Thread(target=send)
        sender.start()
        assert pam_child._line(theirs) == b"{}\n"
        assert pam_child._exactly(theirs, bytearray(len(PASSWORD))) == PASSWORD
        sender.join(ANSWER_S)
        ours.close()
        with pytest.raises(SystemExit):
            pam_child._line(theirs)
