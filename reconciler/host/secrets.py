"""A document's secrets, read at the moment of sending, and never shown."""

import os
import stat
from base64 import b64encode
from collections.abc import Iterable, Mapping
from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from reconciler.errors import InvalidSpec
from reconciler.secret import SECRET_BYTES_MAX, SECRETS_BYTES_MAX, SECRETS_MAX

if TYPE_CHECKING:
    from reconciler.documents import Document

Sealed = Mapping[str, Mapping[str, str]]  # kind -> path inside it -> base64, as they are sent


def read_secrets(document: "Document", *others: str) -> Sealed:
    """Those that lie in the document's folder, or in one of `others`: a document may be somebody else's.

    Raises InvalidSpec, with the place of the field whose file cannot be read.
    """
    # Late: the kinds, cerberus and yaml take 100 ms, and have been loaded by whoever has a document.
    from reconciler.documents.secrets import secret_files
    from reconciler.documents.tree import dotted

    files = secret_files(document.normal)
    faults = []
    if len(files) > SECRETS_MAX:
        faults.append(document.fault("spec", f"has {len(files)} secrets, more than {SECRETS_MAX}"))
    folder = "" if document.source == "-" else os.path.dirname(document.source)
    sealed: dict[str, dict[str, str]] = {}
    total = 0
    for path, name in files.items():
        try:
            data = _content(os.path.join(folder, name), (folder, *others))
        except OSError as error:
            faults.append(document.fault(dotted(("spec", *path)), f"cannot read {name}: {error.strerror}"))
            continue
        if len(data) > SECRET_BYTES_MAX:
            words = f"cannot use {name}: it is longer than {SECRET_BYTES_MAX} bytes"
            faults.append(document.fault(dotted(("spec", *path)), words))
        total += len(data)
        inner = ".".join(str(step) for step in path[1:])
        sealed.setdefault(str(path[0]), {})[inner] = b64encode(data).decode()
    if total > SECRETS_BYTES_MAX:
        words = f"has secrets that are longer than {SECRETS_BYTES_MAX} bytes together"
        faults.append(document.fault("spec", words))
    if faults:
        raise InvalidSpec(*faults)
    return sealed


def _content(path: str, folders: Iterable[str]) -> bytes:
    """Raises OSError."""
    # By what its links lead to: else a link beside the document could mean any file of ours.
    path = os.path.realpath(path)
    if not any(path.startswith(os.path.join(os.path.realpath(folder), "")) for folder in folders):
        why = "it is not in the document's folder; if it is meant, name its folder with --secrets-from"
        raise OSError(EACCES, why)
    # Of a pipe or a terminal, nothing would be left where it has to be sent once more.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        # Who may write in the folder may have put a link in the place of one on the way meanwhile.
        if os.path.realpath(f"/proc/self/fd/{file.fileno()}") != path:
            raise OSError(EACCES, "it was moved as it was opened")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "it is no regular file")
        return file.read(SECRET_BYTES_MAX + 1)
