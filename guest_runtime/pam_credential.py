"""What pam_exec(8) runs before a display manager's other rules: asks the agent for its permission.

Exit code 0: the agent lets this user in at this service now. 1: it does not, or there is no
login of its under way; PAM then goes on as if it had not asked. See reconciler/login_grant.py.
"""

import json
import os
import re
import socket
import sys

SOCKET = "/run/guest-reconciler/pam.sock"
_ANSWER_S = 2.0  # a person waits at the prompt; the agent answers in a millisecond
_TOKEN = re.compile(rb"[0-9a-f]{64}\0?")  # anything else is somebody's password, and stays here
_TYPED_BYTES_MAX = 1024  # PAM_MAX_RESP_SIZE is 512


def main(path: str = SOCKET) -> int:
    typed = os.read(0, _TYPED_BYTES_MAX)  # with expose_authtok, and empty otherwise
    if os.environ.get("PAM_TYPE") != "auth" or not _TOKEN.fullmatch(typed):
        return 1
    question = {
        "user": os.environ.get("PAM_USER", ""),
        "service": os.environ.get("PAM_SERVICE", ""),
        "token": typed.rstrip(b"\0").decode(),
    }
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_ANSWER_S)
            agent.connect(path)
            agent.sendall(json.dumps(question).encode() + b"\n")
            return 0 if agent.recv(16) == b"yes\n" else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
