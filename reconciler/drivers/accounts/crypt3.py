"""What the guest's crypt(3) says of a hash, asked in a child, as it may take its time.

The child gets hash and password over its standard input, and says one word.
"""

import sys

from reconciler.facilities.child import Streams, run

_DEADLINE_S = 5.0  # a hash that takes longer would keep everybody waiting at each login
# Of memory it may take more than any sane hash: yescrypt has 16 MiB unless told otherwise.
_CODE = """
import ctypes, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (384 << 20, 384 << 20))
hash, _, password = sys.stdin.buffer.read().partition(b"\\n")
for library in ("libcrypt.so.1", "libcrypt.so.2", None):
    try:
        crypt = ctypes.CDLL(library).crypt
        break
    except (OSError, AttributeError):
        pass
else:
    sys.exit(1)
crypt.restype = ctypes.c_char_p
made = crypt(password, hash) or b"*"
print("same" if made == hash else "refused" if made[:1] == b"*" or len(made) != len(hash) else "other")
"""


def knows(hash: str) -> bool:
    """Whether a password can be compared with it here, in a reasonable time."""
    return _ask(hash, "") in ("same", "other")


def is_of(hash: str, password: str) -> bool:
    """Whether it is the hash of this password; also False where that cannot be told."""
    return _ask(hash, password) == "same"


def _ask(hash: str, password: str) -> str:
    ended = run(
        [sys.executable, "-I", "-S", "-c", _CODE],
        deadline_s=_DEADLINE_S,
        output_bytes_max=64,
        streams=Streams(f"{hash}\n{password}".encode()),
    )
    return "" if ended.fault else ended.output.decode(errors="replace").strip()
