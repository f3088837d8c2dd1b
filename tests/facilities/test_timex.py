"""The kernel's clocks as this machine has them; nothing here sets one, tests/vm does that to a guest."""

import ctypes
import os
import select
import struct
import time
from pathlib import Path

import pytest

from reconciler.facilities import timex
from reconciler.resource import Watch


def test_clocks_are_read_together() -> None:
    first, second = timex.moment(), timex.moment()
    assert abs(first.wall_s - time.time()) < 5
    assert 0 <= second.boot_s - first.boot_s < 5
    assert first.slept_s == second.slept_s >= 0


def test_the_kernel_tells_of_its_clock() -> None:
    found = timex.kernel()
    assert 0 <= found.error_s <= 16.1  # NTP_PHASE_LIMIT of linux/timex.h
    assert abs(found.correcting_s) <= 0.5  # MAXPHASE


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What the kernel is asked for; the machine's clock stays."""
    calls: list[tuple[int, ...]] = []

    class Libc:
        @staticmethod
        def adjtimex(buffer: "ctypes.Array[ctypes.c_char]") -> int:
            layout = struct.Struct("@I4li8li5li44x")
            fields = list(layout.unpack(buffer.raw))
            calls.append((fields[0], fields[1], fields[9], fields[10]))
            fields[1] = -250_000
            buffer.raw = layout.pack(*fields)
            return 0

    monkeypatch.setattr(timex, "_libc", Libc)
    return calls


@pytest.mark.parametrize(
    ("by_s", "whole", "part"),
    [
        pytest.param(90.25, 90, 250_000_000, id="forward"),
        pytest.param(-90.25, -91, 750_000_000, id="back: the part is never below zero"),
        pytest.param(-0.000_000_001, -1, 999_999_999, id="a nanosecond"),
    ],
)
def test_a_step_as_the_kernel_wants_it(
    asked: list[tuple[int, ...]], by_s: float, whole: int, part: int
) -> None:
    timex.step(by_s)
    assert asked == [(0x2100, 0, whole, part)]


def test_a_slew_tells_what_was_left(asked: list[tuple[int, ...]]) -> None:
    assert timex.slew(0.4) == -0.25
    assert asked == [(0x8001, 400_000, 0, 0)]


def test_the_struct_has_the_kernels_size() -> None:
    assert timex._TIMEX.size == (208 if ctypes.sizeof(ctypes.c_long) == 8 else 128)


def test_a_step_that_is_not_allowed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        @staticmethod
        def adjtimex(buffer: object) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(timex, "_libc", Libc)
    with pytest.raises(PermissionError):
        timex.step(1.0)


def test_the_rtc_where_there_is_one(tmp_path: Path) -> None:
    assert timex.rtc_s(str(tmp_path)) is None
    (tmp_path / "since_epoch").write_text("1700000000\n")
    assert timex.rtc_s(str(tmp_path)) == 1_700_000_000.0


@pytest.mark.parametrize(
    ("local", "hour"), [pytest.param(False, 12, id="utc"), pytest.param(True, 21, id="local")]
)
def test_the_rtc_is_set_in_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool, hour: int
) -> None:
    written: list[tuple[int, ...]] = []

    def ioctl(fd: int, request: int, data: bytes) -> None:
        assert request == 0x4024700A
        written.append(struct.unpack("9i", data))

    monkeypatch.setattr(timex, "ioctl", ioctl)
    monkeypatch.setattr(time, "time", lambda: 1_700_049_600.0)  # 2023-11-15 12:00:00 UTC
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    (tmp_path / "rtc0").touch()
    try:
        timex.set_rtc(local=local, device=str(tmp_path / "rtc0"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert written == [(0, 0, hour, 15, 10, 123, 0, 0, 0)]


def test_a_watch_waits_until_the_clock_is_set() -> None:
    watch = timex.Steps()
    port: Watch = watch
    try:
        assert not select.select([port.fileno()], [], [], 0)[0]
        assert not port.drain()
    finally:
        watch.close()


def test_a_watch_that_was_woken_waits_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = timex.Steps()

    def cancelled(fd: int, size: int) -> bytes:
        raise OSError(125, "Operation canceled")

    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "read", cancelled)
            assert watch.drain()
        assert not watch.drain()
    finally:
        watch.close()
