"""Files as they should be and as they are, and what differs between the two; pure."""

from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from reconciler.resource import Change, Deed, Json

CONTENT_CHARS_MAX = 128 << 10  # half of the longest document; the agent keeps it in memory and in its state
CONTENT_BYTES_MAX = 4 * CONTENT_CHARS_MAX  # in UTF-8; nothing larger can be as desired
# What is not in its place yet, in the same folder: hidden, and like a backup, so programs pass over it.
SCRATCH = ".guest-reconciler~"
# The kernel's own, and what the host must not reach: the policy, the state, the ledger.
RESERVED = (
    *("/dev", "/proc", "/sys"),
    *("/etc/guest-reconciler", "/run/guest-reconciler", "/var/lib/guest-reconciler"),
)
MODE_NEW, _MODE_SECRET = 0o644, 0o600
ID_MAX = 2**32 - 2  # the one above means "leave it" in chown(2)

_AGAIN = "apply the document again"
CONTENTS = ("content", "contentBase64", "secret")  # the fields that say what is in a file

Owner = str | int  # a name that the guest knows, or a number


@dataclass(frozen=True, kw_only=True)
class File:
    """One file as it should be; None: as it is, or as is usual where there is none yet."""

    path: str
    absent: bool = False
    content: bytes | None = None
    digest: str = ""  # of `content`
    secret: str = ""  # the name of the secret that is its content
    mode: int | None = None
    owner: Owner | None = None
    group: Owner | None = None
    backup: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is at a path."""

    state: Literal["file", "absent", "other"] = "absent"
    digest: str = ""  # empty: nobody asked, or it is longer than what can be desired
    size: int = 0  # bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    owner: str = ""  # the name of `uid`, or its digits
    group: str = ""
    names: int = 1  # hard links
    loose: str = ""  # why others than its owner can put another file in its place; "bob can write in /srv"
    obstacle: str = ""  # why nothing can be changed here; "it is a folder"


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Each file, and what is known of its owners and its secrets."""

    files: Mapping[str, Seen] = field(default_factory=dict)  # by path
    users: Mapping[str, int | None] = field(default_factory=dict)  # numbers of names; None: no such user
    groups: Mapping[str, int | None] = field(default_factory=dict)
    generation: int = 0
    deeds: Mapping[str, Deed] = field(default_factory=dict)  # by path of a secret content
    secrets: frozenset[str] = frozenset()  # paths whose secret is here
    failed: Mapping[str, str] = field(default_factory=dict)  # why the last act failed, by path
    boot_clock_s: float = 0.0


@dataclass(frozen=True)
class Due(Change):
    """A change that is to be made, with the token of what happens once."""

    token: str | None = None


def digest_of(pieces: Iterable[bytes]) -> str:
    """`sha256:` and 64 hex digits over all pieces, one after another."""
    digest = _sha256()
    for piece in pieces:
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _sha256() -> Any:
    # Python's own, where it was built with it: hashlib maps all of OpenSSL, 3.8 MiB resident.
    for name in ("_sha2", "_sha256"):  # since 3.12, until 3.11
        with suppress(ImportError):
            return import_module(name).sha256()
    return import_module("hashlib").sha256()


def file_of(path: str, fields: Mapping[str, Json]) -> File:
    content: bytes | None = None
    if "content" in fields:
        content = fields["content"].encode()
    elif "contentBase64" in fields:
        content = a2b_base64(fields["contentBase64"])
    # Whoever may write in the folder must not choose, by a file of his own, who reads a secret.
    usual: dict[str, Json] = {"mode": _MODE_SECRET, "owner": 0, "group": 0} if "secret" in fields else {}
    return File(
        path=path,
        absent=fields.get("state") == "absent",
        content=content,
        digest="" if content is None else digest_of([content]),
        secret=f"paths.{path}.secret" if "secret" in fields else "",
        mode=int(fields["mode"], 8) if "mode" in fields else usual.get("mode"),
        owner=fields.get("owner", usual.get("owner")),
        group=fields.get("group", usual.get("group")),
        backup=fields.get("backup", False),
    )


def faults(path: str, fields: Mapping[str, Json], written: Mapping[str, Json]) -> Iterator[str]:
    """What rules cannot say of one file among those that are written."""
    if not path.isprintable():
        yield f"{path!r} has characters that do not print"
        return
    if any(path == folder or path.startswith(f"{folder}/") for folder in RESERVED):
        yield f"{path} is out of reach: no file is managed in {', '.join(RESERVED)}"
    if path == "/" or path.endswith(f"/{SCRATCH}"):
        yield f"{path} is out of reach"
    around = next((other for other in written if path.startswith(f"{other}/")), None)
    if around:
        yield f"{path} cannot lie in {around}, which is to be a file or absent"
    if fields.get("backup") and f"{path}~" in written:
        yield f"{path}~ cannot be a file of its own and the backup of {path}"
    if fields.get("state") == "absent":
        idle = [name for name in (*CONTENTS, "mode", "owner", "group") if name in fields]
        yield from (f"{path}: {name} does not go with state: absent" for name in idle)


def token_of(path: str, generation: int) -> str:
    return f"write@{generation}:{path}"


def differences(file: File, observed: Observed) -> list[Change]:
    """Where a file is not as desired, whether anything can be done about it or not."""
    seen = observed.files[file.path]
    due = file.secret and not _spent(file, observed)
    token = token_of(file.path, observed.generation) if due else None
    if file.absent or seen.state != "file":
        want = "absent" if file.absent else "file"
        return [Due(file.path, "state", want, seen.state, token)] if seen.state != want else []
    rows: tuple[tuple[str, object, object, bool], ...] = (
        ("content", "(secret)", "(unknown)", not due),
        (
            "content",
            file.digest,
            seen.digest or "(another)",
            file.content is None or file.digest == seen.digest,
        ),
        ("mode", octal(file.mode), octal(seen.mode), file.mode in (None, seen.mode)),
        ("owner", file.owner, seen.owner, _known(file.owner, observed.users) in (None, seen.uid)),
        ("group", file.group, seen.group, _known(file.group, observed.groups) in (None, seen.gid)),
    )
    return [Due(file.path, name, want, have, token) for name, want, have, same in rows if not same]


def hindrance(file: File, observed: Observed) -> tuple[str, str] | None:
    """Why a file is left as it is although it is not as desired: the reason and its words."""
    path, seen = file.path, observed.files[file.path]
    deed = observed.deeds.get(path)
    if deed and deed.state == "begun":
        return "OutcomeUnknown", f"{path}: whether it was written is not known: {_AGAIN}"
    gone = seen.state == "absent" if _spent(file, observed) else path not in observed.secrets
    if file.secret and gone:
        # Whatever else it says: the first failure has used the secret up, and is the one to mend.
        why = deed.message if deed and deed.message else "the secret is not here"
        return "SecretMissing", f"{path}: {why}" + (f": {_AGAIN}" if _AGAIN not in why else "")
    for word, owner, numbers in (
        ("user", file.owner, observed.users),
        ("group", file.group, observed.groups),
    ):
        if isinstance(owner, str) and numbers[owner] is None:
            return "Blocked", f"{path}: there is no {word} {owner}"
    in_place = not file.absent and file.content is None and (not file.secret or _spent(file, observed))
    obstacle = seen.obstacle or (_in_place(seen) if in_place and seen.state == "file" else "")
    if not differences(file, observed):
        return None
    if obstacle:
        return "Blocked", f"{path}: {obstacle}"
    return ("DriverError", observed.failed[path]) if path in observed.failed else None


def _in_place(seen: Seen) -> str:
    """Why a file is not to be changed where it is; empty where it may be."""
    if seen.names > 1:
        return f"it has {seen.names} names (hard links), and all would change"
    return f"{seen.loose}, so it may be another file: write its content too" if seen.loose else ""


def _spent(file: File, observed: Observed) -> bool:
    """Whether a secret was written, or may have been."""
    return file.path in observed.deeds and observed.deeds[file.path].spent


def _known(owner: Owner | None, numbers: Mapping[str, int | None]) -> int | None:
    return numbers[owner] if isinstance(owner, str) else owner


def octal(mode: int | None) -> str:
    return "" if mode is None else f"{mode:04o}"
