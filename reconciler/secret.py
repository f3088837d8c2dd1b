"""Secrets: bytes that come beside a document, are used once, and are gone soon after; pure.

A document only says where a secret lies, as seen by who sends it: `{fromFile: secrets/alice}`. The
sender reads it as it sends, and the bytes go beside the document, never in it: so they are in
no normal form, no digest, no state file and no status. The guest keeps them in memory until
they are taken, replaced or too old.

What is overwritten here is this copy. Python may have left others where the message was
read; the agent's memory is closed to others, and is not dumped.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from reconciler.errors import DriverError, InvalidSpec, Terminal

SECRET_S = 30.0  # from arrival to use, where nothing has to be done before
# While what a document asks for is being done: its accounts and files come before its logins, and
# dozens of new accounts take a slow guest minutes.
SECRET_MAX_S = 300.0
_ASK_S = 5.0
SECRET_BYTES_MAX = 64 << 10  # a key or a bundle of certificates; a password is shorter
SECRETS_MAX = 64  # in one document
SECRETS_BYTES_MAX = 512 << 10  # of one document: in base64, beside all else, they fit into one message


def secret_field(description: str, **more: Any) -> dict[str, Any]:
    """The rule of a field that says where a secret lies; `more` are keys of a rule, such as `excludes`."""
    source = {
        "type": "string",
        "required": True,
        "minlength": 1,
        "regex": r"[^\x00-\x1f\x7f]+",
        "meta": {
            "description": "A file of the sender's, in the document's folder or `apply --secrets-from`.",
            "expected": "a path",
        },
    }
    meta = {"description": description, "secret": True, "expected": "{fromFile: PATH}"}
    return {"type": "dict", "schema": {"fromFile": source}, "meta": meta, **more}


class Secret:
    """Bytes to be used inside a `with`, at whose end they are overwritten."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = bytearray(data)

    def text(self) -> str:
        """As UTF-8, without the line end that editors leave. Raises Terminal."""
        text = None
        with suppress(UnicodeDecodeError):
            text = self.data.decode().removesuffix("\n").removesuffix("\r")
        if text is None:  # said outside of the handler, since that error holds the bytes
            raise Terminal("cannot use the secret: it is not UTF-8")
        return text

    def wipe(self) -> None:
        self.data[:] = bytes(len(self.data))

    def __enter__(self) -> "Secret":
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return "(secret)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not copied")


_Kept = dict[tuple[str, str], Secret]  # by kind and path


class Secrets(Protocol):
    """What one kind sees of the secrets that came with the document in force."""

    def has(self, path: str) -> bool:
        """Whether one is here for a field; paths begin inside the kind: `credential`, `alice.password`."""

    def take(self, path: str) -> Secret:
        """It, once. Raises DriverError where it is gone: the next look tells, and the rest goes on."""


class Safe:
    """All secrets of a guest. Shared by the loop's thread and its jobs'."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: _Kept = {}  # of one document; never those of another in the same mapping
        self._until_s = self._end_s = float("inf")

    def put(
        self, secrets: Mapping[tuple[str, str], Secret], now_s: float, *, of_another: bool = True
    ) -> None:
        """Keep these, by kind and path, and no others. `now_s` is the boot clock.

        `of_another`: they are of another document, and not for who acts for the one before.
        """
        with self._lock:
            for secret in self._kept.values():
                secret.wipe()
            self._kept.clear()
            if of_another:
                self._kept = {}
            self._kept.update(secrets)
            self._until_s = now_s + SECRET_S if secrets else float("inf")
            self._end_s = now_s + SECRET_MAX_S

    def expire(self, now_s: float, *, under_way: bool = False) -> None:
        """Drop what is too old; `under_way`: what the document asks for is being done."""
        if now_s < self._until_s:
            return
        if under_way and now_s < self._end_s:
            self._until_s = min(now_s + _ASK_S, self._end_s)
        else:
            self.put({}, now_s)

    @property
    def due_s(self) -> float:
        """When `expire` has something to do: boot clock, infinite for never."""
        return self._until_s

    def of(self, kind: str) -> Secrets:
        """Those of one kind, for one job: what comes with another document is not among them."""
        return _OfKind(self._lock, self._kept, kind)


class _OfKind:
    def __init__(self, lock: threading.Lock, kept: _Kept, kind: str) -> None:
        self._lock, self._kept, self._kind = lock, kept, kind

    def has(self, path: str) -> bool:
        return (self._kind, path) in self._kept

    def take(self, path: str) -> Secret:
        with self._lock:
            secret = self._kept.pop((self._kind, path), None)
        if secret is None:
            raise DriverError(
                f"cannot use the secret of {self._kind}.{path}: it is gone, used or too old; "
                "apply the document again"
            )
        return secret


def decoded(written: Any) -> dict[tuple[str, str], Secret]:
    """Secrets as they are sent: `{kind: {path: base64}}`. Raises InvalidSpec, which shows none of them."""
    # Late: it is needed with the first secret, and few documents have one.
    from base64 import b64decode

    if not isinstance(written, dict) or not all(isinstance(of_kind, dict) for of_kind in written.values()):
        raise InvalidSpec("cannot read the secrets: they are no mapping of kinds")
    pairs = [(kind, path, text) for kind, of_kind in written.items() for path, text in of_kind.items()]
    if len(pairs) > SECRETS_MAX:
        raise InvalidSpec(f"cannot read the secrets: {len(pairs)} are more than {SECRETS_MAX}")
    secrets = {}
    for kind, path, text in pairs:
        try:
            data = bytearray(b64decode(text, validate=True))
        except (ValueError, TypeError):
            raise InvalidSpec("cannot read the secrets: one of them is not base64") from None
        if len(data) > SECRET_BYTES_MAX:
            raise InvalidSpec(f"cannot read the secrets: one is longer than {SECRET_BYTES_MAX} bytes")
        secrets[kind, path] = Secret(data)
    if sum(len(secret.data) for secret in secrets.values()) > SECRETS_BYTES_MAX:
        raise InvalidSpec(f"cannot read the secrets: together they are longer than {SECRETS_BYTES_MAX} bytes")
    return secrets


NONE = Safe().of("")
