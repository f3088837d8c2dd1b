"""What pam_exec(8) runs for a display manager: asks the agent whether it lets a user in.

Exit code 0: the agent lets this user in at this service now. 1: it does not, or there is no
login of its under way; PAM then goes on as if it had not asked. See reconciler/facilities/login_grant.py.
"""

import json
import os
import socket
import sys

SOCKET = "/run/guest-reconciler/pam.sock"
_ANSWER_S = 2.0  # a person waits at the prompt; the agent answers in a millisecond
_OF_A_PROMPT = ("PAM_TTY", "PAM_RHOST")  # set where somebody sits at one


def main(path: str = SOCKET) -> int:
    if os.environ.get("PAM_TYPE") != "auth" or any(map(os.environ.get, _OF_A_PROMPT)):
        return 1
    question = {name: os.environ.get(f"PAM_{name.upper()}", "") for name in ("user", "service")}
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
