"""SSH public keys: what one is, and which lines of an authorized_keys file are ours; pure.

Ours are the lines that end in our mark, a word in the key's comment, which sshd ignores. All
other lines are left byte for byte. See AUTHORIZED_KEYS FILE FORMAT in sshd(8), RFC 4253, 6.6.
"""

from binascii import Error, a2b_base64
from collections.abc import Iterator, Sequence

MARK = "managed-by-guest-reconciler"
# Of DSA no sshd of today takes any.
TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
RSA_BITS_MIN = 2048  # fewer are broken with money, and OpenSSH's own limit is half of it
_ED25519_BYTES = 32
_BLANKS = " \t\r"  # what sshd skips, and no more: others may end a comment
_CONTENT = "AAAA"  # the length of the type, three zero bytes, in base64


def fault_of(key: str) -> str:
    """Why a line is no public key that we would write, or nothing."""
    kind, _, rest = key.partition(" ")
    if kind not in TYPES:
        return "must begin with the type of a key, such as ssh-ed25519, and have no options"
    try:
        blob = a2b_base64(rest.partition(" ")[0], strict_mode=True)
        parts = list(_parts(blob))
    except (Error, ValueError):
        return "must hold a whole key after its type"
    if len(parts) < 2 or parts[0] != kind.encode():
        return "must hold a key of the type that it begins with"
    if kind == "ssh-rsa" and (len(parts) != 3 or int.from_bytes(parts[2]).bit_length() < RSA_BITS_MIN):
        return f"must be an RSA key of at least {RSA_BITS_MIN} bits"
    if "ed25519" in kind and len(parts[1]) != _ED25519_BYTES:
        return "must hold a whole key after its type"
    return ""


def _parts(blob: bytes) -> Iterator[bytes]:
    """The strings of RFC 4251, 5, that a key consists of. Raises ValueError."""
    while blob:
        length = int.from_bytes(blob[:4])
        if len(blob) < 4 + length:
            raise ValueError("it ends too early")
        yield blob[4 : 4 + length]
        blob = blob[4 + length :]


def identity(key: str) -> str:
    """What makes two lines the same key: type and content, and not the comment."""
    return " ".join(key.split(" ", 2)[:2])


def ours(text: str) -> tuple[str, ...]:
    """Our keys in a file, in its order, without the mark."""
    return tuple(key for line in text.split("\n") if (key := _our_key(line)))


def others(text: str) -> frozenset[str]:
    """The identities of all keys that somebody else has put there and that stand without options."""
    lines = (line.strip(_BLANKS).replace("\t", " ") for line in text.split("\n") if not _our_key(line))
    words = ([word for word in line.split(" ") if word] for line in lines)
    return frozenset(" ".join(line[:2]) for line in words if line and line[0] in TYPES)


def mentioned(text: str) -> frozenset[str]:
    """The contents of all keys on lines that are not ours, whatever options stand before them.

    To let somebody in a key needs no more than its content, and options may hold blanks.
    """
    lines = (line for line in text.split("\n") if not _our_key(line) and not line.lstrip().startswith("#"))
    return frozenset(word for line in lines for word in line.split() if word.startswith(_CONTENT))


def content(key: str) -> str:
    return key.split(" ", 2)[1]


def with_ours(text: str, keys: Sequence[str]) -> str:
    """The file with exactly these as our keys, after all other lines, which keep what they are."""
    kept = [line for line in text.split("\n") if not _our_key(line)]
    while kept and not kept[-1]:
        kept.pop()
    return "".join(f"{line}\n" for line in [*kept, *(f"{key} {MARK}" for key in keys)])


def _our_key(line: str) -> str:
    stripped = line.strip(_BLANKS)
    if stripped.startswith("#") or not stripped.endswith(f" {MARK}"):
        return ""
    return stripped.removesuffix(MARK).strip(_BLANKS)
