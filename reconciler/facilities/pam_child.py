"""The process that puts one credential to PAM, and ends with what it was told.

Theory of operation. Over a socket as its standard input it is told whom to judge, as a line
of JSON. What can be said without the credential it says first, from passwd(5), shadow(5) and
nologin(5): then PAM counts no attempt. Else it writes `?`, takes the credential (two bytes of
length, then itself), has PAM judge, and answers with one line: `ok`, or the reason.

PAM is asked as every login program asks it, with pam_authenticate(3) and then
pam_acct_mgmt(3); the session and its credentials are the business of the door that follows.
Debian's rules give one answer for many reasons, so shadow(5) explains them.
"""

import ctypes
import json
import os
import pwd
import re
import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CREDENTIAL_BYTES_MAX = 511  # PAM_MAX_RESP_SIZE of pam_modules.h, less the NUL
_LINE_BYTES_MAX = 4096
_NOLOGIN = ("/etc/nologin", "/run/nologin")
_NO_SHELLS = ("nologin", "false", "true", "sync", "shutdown", "halt")  # each ends at once

# security/_pam_types.h
_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON = 1, 2
_SUCCESS, _BUF_ERR, _CONV_ERR = 0, 5, 19
_TTY = 3
_NO_NULL = 0x0001  # and not PAM_SILENT, with which pam_faillock(8) would not say that it has locked
_AUTH = {6: "AccessDenied", 7: "WrongPassword", 10: "UnknownUser", 11: "AccountLocked"}
_AUTH |= {12: "PasswordExpired", 13: "AccountExpired", 19: "MoreAsked", 30: "MoreAsked"}
_ACCOUNT = {6: "AccessDenied", 7: "AccessDenied", 10: "UnknownUser", 12: "PasswordExpired"}
_ACCOUNT |= {13: "AccountExpired", 27: "PasswordExpired"}

# pam_faillock(8) and pam_tally2(8) say in words alone that they have locked an account.
_SAYS_LOCKED = re.compile(rb"\baccount\b.*\blocked\b", re.IGNORECASE)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h
_MCL_CURRENT, _MCL_FUTURE = 1, 2  # mman.h
_SIGKILL = 9


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_Messages = ctypes.POINTER(ctypes.POINTER(_Message))
_Responses = ctypes.POINTER(ctypes.c_void_p)
_Converse = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _Messages, _Responses, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = (("converse", _Converse), ("data", ctypes.c_void_p))


class _Spwd(ctypes.Structure):
    """struct spwd of shadow.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("hash", ctypes.c_char_p),
        *((name, ctypes.c_long) for name in ("changed", "least", "most", "warn", "idle", "expires")),
        ("flag", ctypes.c_ulong),
    )


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """What shadow(5) has of an account; days since 1970, -1 for none."""

    hash: str
    changed: int = -1
    most: int = -1
    expires: int = -1


def unfit(shadow: Shadow, today: int) -> str:
    """Why nobody can log in to the account as it is, whatever the password; empty where one can.

    A hash behind `!` is a password that somebody has locked. `!` and `*` alone are an account
    without one here. It may have one in a directory, so a credential for it is PAM's to judge.
    """
    bare = shadow.hash.lstrip("!*")
    if bare and bare != shadow.hash:
        return "AccountLocked"
    if shadow.expires != -1 and today >= shadow.expires:
        return "AccountExpired"
    age = today - shadow.changed
    if shadow.changed == 0 or (shadow.changed > 0 and -1 < shadow.most < age):
        return "PasswordExpired"
    return ""


class Judge:
    """One conversation with PAM about one user."""

    def __init__(self, service: str, user: str, tty: str, folder: str = "") -> None:
        """`folder` is where rules are read instead of /etc/pam.d. Raises OSError without a PAM."""
        self._pam = ctypes.CDLL("libpam.so.0")
        self._libc = ctypes.CDLL(None)
        self._libc.calloc.restype = ctypes.c_void_p
        self._terms = (service.encode(), user.encode())
        self._tty, self._folder = tty.encode(), folder.encode()
        self._secret: bytearray | None = None
        self._prompts = 0
        self._said = b""
        # PAM keeps the address: it must not be collected before. With MemoryDenyWriteExecute= libffi can
        # make it on x86-64 and arm64, from code that it brings along; elsewhere this process would end here.
        self._conversation = _Conversation(_Converse(self._converse), None)

    def judge(self, secret: bytearray | None) -> str:
        """Authenticate with the secret, unless None, and ask about the account."""
        self._secret = secret
        handle = ctypes.c_void_p()
        where = (self._folder,) if self._folder else ()
        start = self._pam.pam_start_confdir if where else self._pam.pam_start
        code = start(*self._terms, ctypes.byref(self._conversation), *where, ctypes.byref(handle))
        if code != _SUCCESS:
            return "NotJudged"
        try:
            if self._tty:
                self._pam.pam_set_item(handle, _TTY, self._tty)
            if secret is not None:
                code = self._pam.pam_authenticate(handle, _NO_NULL)
                if code != _SUCCESS:
                    return self._why(_AUTH.get(code, "NotJudged"))
            code = self._pam.pam_acct_mgmt(handle, _NO_NULL)
            return "ok" if code == _SUCCESS else self._why(_ACCOUNT.get(code, "NotJudged"))
        finally:
            self._pam.pam_end(handle, code)

    def _why(self, reason: str) -> str:
        if _SAYS_LOCKED.search(self._said):
            return "AccountLocked"
        if self._prompts > 1:
            return "MoreAsked"
        if reason == "WrongPassword" and not self._prompts:
            return "AccessDenied"  # nobody has looked at it
        return reason

    def _converse(self, count: int, messages: Any, responses: Any, _: Any) -> int:
        """See pam_conv(3). The first thing asked for is the password; there is no second answer."""
        answers = self._libc.calloc(count, ctypes.sizeof(_Response))
        if not answers:
            return _BUF_ERR
        for number in range(count):
            message = messages[number].contents
            if message.style not in (_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON):
                self._said += (message.text or b"") + b"\n"
                continue
            self._prompts += 1
            if self._secret is None or self._prompts > 1 or message.style != _PROMPT_ECHO_OFF:
                self._prompts = 2
                return _CONV_ERR  # what was allocated goes with this process
            _Response.from_address(answers + number * ctypes.sizeof(_Response)).text = self._copy()
        responses[0] = answers
        return _SUCCESS

    def _copy(self) -> int:
        """The secret in memory of C's, which PAM wipes and frees."""
        assert self._secret is not None
        size = len(self._secret)
        copy = self._libc.calloc(1, size + 1)
        if copy and size:
            ctypes.memmove(copy, (ctypes.c_char * size).from_buffer(self._secret), size)
        return int(copy or 0)


def answer(request: dict[str, Any], ask: Callable[[], bytearray]) -> str:
    """The reason, or `ok`; `ask` is called only if nothing but the credential is left to judge."""
    user, credential = request["user"], request["credential"]
    why = _account(user)
    if why:
        return why
    try:
        judge = Judge(request["service"], user, request["tty"], request["folder"])
    except OSError:
        return "NoPam"
    secret = ask() if credential else None
    try:
        if secret is not None and (b"\0" in secret or len(secret) > CREDENTIAL_BYTES_MAX):
            return "WrongPassword"  # no prompt takes such a one
        return judge.judge(secret)
    finally:
        if secret is not None:
            secret[:] = bytes(len(secret))


def _account(user: str) -> str:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return "UnknownUser"
    if os.path.basename(entry.pw_shell) in _NO_SHELLS or not os.access(entry.pw_shell or "/bin/sh", os.X_OK):
        return "NoShell"
    if entry.pw_uid != 0 and any(map(os.path.exists, _NOLOGIN)):
        return "LoginsDisabled"
    shadow = _shadow(user)
    return unfit(shadow, int(time.time()) // 86400) if shadow else ""


def _shadow(user: str) -> Shadow | None:
    """None for an account that shadow(5) does not know; some directory does."""
    libc = ctypes.CDLL(None)
    libc.getspnam.restype = ctypes.POINTER(_Spwd)
    found = libc.getspnam(user.encode())
    if not found:
        return None
    entry = found.contents
    return Shadow(
        hash=(entry.hash or b"").decode(errors="replace"),
        changed=entry.changed,
        most=entry.most,
        expires=entry.expires,
    )


def protect() -> None:
    """No dump, no swap, no tracing by equals, and no life after the agent's."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)  # refused where the agent may lock nothing


def main() -> None:
    protect()
    with socket.socket(fileno=0) as agent:
        request = json.loads(_line(agent))

        def ask() -> bytearray:
            agent.sendall(b"?\n")
            secret = bytearray(int.from_bytes(_exactly(agent, bytearray(2)), "big"))
            return _exactly(agent, secret)

        agent.sendall(answer(request, ask).encode() + b"\n")


def _line(agent: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = agent.recv(1)  # a byte at a time: what follows is not ours to buffer
        if not data or len(line) >= _LINE_BYTES_MAX:
            raise SystemExit(1)
        line += data
    return bytes(line)


def _exactly(agent: socket.socket, into: bytearray) -> bytearray:
    with memoryview(into) as whole:
        got = 0
        while got < len(whole):
            count = agent.recv_into(whole[got:])
            if not count:
                raise SystemExit(1)
            got += count
    return into
