"""Digests of open files, which are not read anew at each look while nobody has touched them.

Their owners can wake us as often as they like, and half a mebibyte each of many files is no small matter.
"""

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from reconciler.subjects.file_states import CONTENT_BYTES_MAX, digest_of

_PIECE_BYTES = 64 << 10
_PIECES_MAX = CONTENT_BYTES_MAX // _PIECE_BYTES + 1
_KNOWN_S = 300.0  # half a slow pass: what is written through a mapping (mmap(2)) may keep its times
_SETTLED_S = 2.5  # what is written within one tick has one time; the longest are those of vfat, 2 s

_Mark = tuple[int, ...]


@dataclass(frozen=True)
class _Known:
    """The digest of a file that had this mark, and until when it is believed on CLOCK_MONOTONIC."""

    mark: _Mark
    digest: str
    until_s: float


class Digests:
    """Remembers by path."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def keep(self, paths: Collection[str]) -> None:
        """Forget all others."""
        self._known = {path: known for path, known in self._known.items() if path in paths}

    def of(self, path: str, file: int) -> str:
        """Of a file open for reading at its beginning; empty where it is too long for anything desired."""
        status = os.fstat(file)
        if status.st_size > CONTENT_BYTES_MAX:
            return ""
        now_s, mark, known = time.monotonic(), _mark(status), self._known.get(path)
        if known and known.mark == mark and now_s < known.until_s:
            return known.digest
        digest = digest_of(_read(file))
        if time.time() - status.st_ctime > _SETTLED_S and _mark(os.fstat(file)) == mark:
            self._known[path] = _Known(mark, digest, now_s + _KNOWN_S)
        return digest


def _mark(status: os.stat_result) -> _Mark:
    """What changes with a file's content; nobody but the kernel sets the time of its last change."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(file: int) -> Iterator[bytes]:
    # A file that somebody makes longer as we read must end too.
    for _ in range(_PIECES_MAX):
        if not (piece := os.read(file, _PIECE_BYTES)):
            return
        yield piece
