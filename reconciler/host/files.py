"""Documents from files, folders and standard input."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import Fault, InvalidSpec

if TYPE_CHECKING:
    from reconciler.documents import Document

SUFFIXES = (".yaml", ".yml", ".json")
FILE_BYTES_MAX = 4 << 20  # what a person would still call a document; the reader has its own limits
FILES_MAX = 10_000  # one for each guest of a big site
DEPTH_MAX = 16  # of folders; more is a tree of something else


def load(paths: Sequence[str]) -> tuple["Document", ...]:
    """Every document under `paths`, folders in the order of their names; `-` is standard input.

    Raises InvalidSpec with the faults of all of them, and where none is found.
    """
    # Late: the kinds, cerberus and yaml take 100 ms.
    from reconciler.documents import read

    documents: list[Document] = []
    faults: list[Fault] = []
    for path in paths:
        for number, file in enumerate(_files(path, faults)):
            if number == FILES_MAX:
                faults.append(_fault(path, f"holds more than {FILES_MAX} files"))
                break
            try:
                documents += read(_content(file), source=file)
            except InvalidSpec as error:
                faults += error.faults
            except OSError as error:
                faults.append(_fault(file, f"cannot be read: {error.strerror}"))
    if not documents and not faults:
        faults.append(_fault(", ".join(paths), "no document there"))
    if faults:
        raise InvalidSpec(*faults)
    return tuple(documents)


def placed(document: "Document", error: InvalidSpec) -> InvalidSpec:
    """The faults that a guest found, with their places in the text."""
    return InvalidSpec(*(document.fault(fault.path, fault.message) for fault in error.faults))


def _files(path: str, faults: list[Fault], above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """`above` are the folders that `path` is in, by device and inode."""
    if path == "-" or not os.path.isdir(path):
        yield path
        return
    try:
        status, names = os.stat(path), sorted(os.listdir(path))
    except OSError as error:
        faults.append(_fault(path, f"cannot be read: {error.strerror}"))
        return
    here = status.st_dev, status.st_ino
    if here in above:
        # Followed, two such links in one folder would be a way through it for each number.
        faults.append(_fault(path, "leads back to a folder that it is in"))
        return
    if len(above) == DEPTH_MAX:
        faults.append(_fault(path, f"is more than {DEPTH_MAX} folders deep"))
        return
    for name in names:
        inner = os.path.join(path, name)
        if name.startswith("."):
            continue
        if os.path.isdir(inner):
            yield from _files(inner, faults, (*above, here))
        elif name.endswith(SUFFIXES):
            if os.path.exists(inner) and not os.path.isfile(inner):
                faults.append(_fault(inner, "is no file"))  # a pipe would be waited for, for ever
            else:
                yield inner


def _content(path: str) -> bytes:
    """The bytes of a file. Raises OSError, InvalidSpec."""
    if path == "-":
        if sys.stdin is None:
            raise InvalidSpec(_fault(path, "standard input is closed"))
        content = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        if stat.S_ISBLK(os.stat(path).st_mode):
            raise InvalidSpec(_fault(path, "is a disk"))
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise InvalidSpec(_fault(path, f"is longer than {FILE_BYTES_MAX} bytes"))
    return content


def _fault(source: str, message: str) -> Fault:
    return Fault(0, 0, "", message, source)
