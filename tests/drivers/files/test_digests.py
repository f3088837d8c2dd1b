"""Digests of files that are touched, and of those that are not."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.drivers.files import digests
from reconciler.drivers.files.digests import Digests
from reconciler.subjects.file_states import CONTENT_BYTES_MAX, digest_of

OLD, NEW = b"old\n", b"new\n"


class Reads:
    """Counts how often anything is read, and owns the clocks."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.count = 0
        self.now_s = 1000.0
        self.after_s = 3.0  # since the last change
        monkeypatch.setattr(digests, "_read", self._read)
        clock = SimpleNamespace(
            monotonic=lambda: self.now_s, time=lambda: path.stat().st_ctime + self.after_s
        )
        monkeypatch.setattr(digests, "time", clock)

    def _read(self, file: int) -> Iterator[bytes]:
        self.count += 1
        yield os.read(file, 100)

    def of(self, known: Digests) -> tuple[str, int]:
        """Its digest, and how often it was read for it."""
        before, file = self.count, os.open(self.path, os.O_RDONLY)
        try:
            return known.of(str(self.path), file), self.count - before
        finally:
            os.close(file)


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reads:
    path = tmp_path / "motd"
    path.write_bytes(OLD)
    return Reads(path, monkeypatch)


def test_is_read_once_while_nobody_touches_it(reads: Reads) -> None:
    known = Digests()
    assert reads.of(known) == (digest_of([OLD]), 1)
    assert reads.of(known) == (digest_of([OLD]), 0)
    reads.path.write_bytes(NEW)
    os.utime(reads.path, (0, 0))
    assert reads.of(known) == (digest_of([NEW]), 1)
    assert reads.of(known) == (digest_of([NEW]), 0)
    other = reads.path.with_name("other")
    other.write_bytes(OLD)
    other.rename(reads.path)
    assert reads.of(known) == (digest_of([OLD]), 1)


def test_is_read_again_after_a_while_and_when_another_path_was_kept(reads: Reads) -> None:
    known = Digests()
    reads.of(known)
    reads.now_s += digests._KNOWN_S
    assert reads.of(known)[1] == 1
    known.keep({str(reads.path)})
    assert reads.of(known)[1] == 0
    known.keep(())
    assert reads.of(known)[1] == 1


@pytest.mark.parametrize(
    "after_s",
    [
        pytest.param(0.5, id="just now"),
        pytest.param(2.0, id="a tick of vfat"),
        pytest.param(-60, id="the clock was set back"),
    ],
)
def test_what_may_change_within_the_same_tick_is_not_remembered(reads: Reads, after_s: float) -> None:
    known, reads.after_s = Digests(), after_s
    assert [reads.of(known)[1] for _ in range(3)] == [1, 1, 1]


def test_a_file_that_changes_as_it_is_read_is_not_remembered(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(file: int) -> Iterator[bytes]:
        yield os.read(file, 100)
        reads.path.write_bytes(b"longer than before")

    known = Digests()
    with monkeypatch.context() as patch:
        patch.setattr(digests, "_read", slow)
        assert reads.of(known)[0] == digest_of([OLD])
    assert reads.of(known) == (digest_of([b"longer than before"]), 1)


def test_what_is_too_long_has_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    for length, digest in ((CONTENT_BYTES_MAX, 71), (CONTENT_BYTES_MAX + 1, 0)):
        os.truncate(path, length)
        file = os.open(path, os.O_RDONLY)
        assert len(Digests().of(str(path), file)) == digest
        os.close(file)
