"""A log that nobody reads, that has gone, or whose disk is full."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest_runtime.log import LINE_BYTES_MAX, LINES_MAX, Log

PATIENCE_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_what_is_said_is_written(pipe: tuple[int, int]) -> None:
    log = Log(pipe[1])
    log.say("one\ntwo\n")
    log.say("thr\udcffe")
    log.write()
    assert os.read(pipe[0], 1000) == b"one\ntwo\nthr?e\n"


def test_who_does_not_read_is_not_waited_for(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    log = Log(pipe[1])
    log.say("x" * LINE_BYTES_MAX)  # cut, or it would be one byte too much for the pipe
    for number in range(LINES_MAX + 10):
        log.say(f"line {number}")
        log.write()
    assert os.read(pipe[0], 10_000) == b"x" * (LINE_BYTES_MAX - 1) + b"\n"
    log.write()
    assert os.read(pipe[0], 10_000).splitlines()[0] == b"line 10"


def test_a_full_disk_costs_the_line() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        log = Log(full.fileno())
        log.say("lost")
        log.write()
        log.write()


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full", "2>&1 1>/dev/null | :"])
def test_the_daemon_lives_whatever_becomes_of_its_log(closed: str, tmp_path: Path) -> None:
    socket = tmp_path / "guest.sock"
    command = (
        f'"$0" -m guest_runtime.cli run --rehearse --channel unix:{socket} --state-dir {tmp_path} {closed}'
    )
    words = ["sh", "-c", f"exec {command}" if "|" not in closed else command, sys.executable]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], start_new_session=True) as process:
        try:
            code = (
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
                "while s.connect_ex(sys.argv[1]): __import__('select').select([], [], [], 0.02)\n"
                "sys.exit(s.recv(1) != b'\\x1e')"
            )
            assert subprocess.run([sys.executable, "-c", code, socket], timeout=PATIENCE_S).returncode == 0
        finally:
            os.killpg(process.pid, 9)
