"""What pam_python runs for GDM: takes a token from its greeter, and asks the agent about it.

GNOME's shell answers the first question of PAM's service `gdm-ovirtcred` with the token that it
was given over the bus, and shows nothing. Here that token becomes the user's name, if the agent says
so; see reconciler/drivers/user/gdm.py. Self-contained, as it runs in a process of GDM's. The
functions' names and numbers are PAM's; see pam(3) and the documentation of pam_python.
"""

import json
import socket
from typing import Any

SOCKET = "/run/guest-reconciler/pam.sock"
SERVICE = "gdm-ovirtcred"
SEAT = "seat0"  # the only one that has this door
_ANSWER_S = 2.0  # the agent answers in a millisecond


def pam_sm_authenticate(pamh: Any, _flags: int, _argv: list[str], path: str = SOCKET) -> int:
    """PAM_SUCCESS with the user set, or PAM_AUTH_ERR and nothing changed."""
    # A screen that is to be unlocked asks for who is there; the permission is for a new session. GDM names
    # the seat before it asks, and another seat's greeter, or a remote one, may have heard the token too.
    if pamh.user or pamh.rhost or pamh.env.get("XDG_SEAT") != SEAT:
        return int(pamh.PAM_AUTH_ERR)
    reply = pamh.conversation(pamh.Message(pamh.PAM_PROMPT_ECHO_OFF, "Token?"))
    token, _, user = str(reply.resp or "").partition(":")
    if not user or not _agreed(path, {"user": user, "service": SERVICE, "token": token}):
        return int(pamh.PAM_AUTH_ERR)
    pamh.user = user
    return int(pamh.PAM_SUCCESS)


def pam_sm_setcred(pamh: Any, _flags: int, _argv: list[str]) -> int:
    """Nothing to do: the modules of the session have their own."""
    return int(pamh.PAM_SUCCESS)


def _agreed(path: str, question: dict[str, str]) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_ANSWER_S)
            agent.connect(path)
            agent.sendall(json.dumps(question).encode() + b"\n")
            return agent.recv(16) == b"yes\n"
    except OSError:
        return False
