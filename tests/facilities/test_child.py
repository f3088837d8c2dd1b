"""Real children: short shell scripts that end, run on, flood, and leave others behind."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from psutil import Process

from reconciler.facilities import child
from reconciler.facilities.child import Ended, Streams, run


def sh(script: str, *, deadline_s: float = 10.0, output_bytes_max: int = 1000) -> Ended:
    return run(["/bin/sh", "-c", script], deadline_s=deadline_s, output_bytes_max=output_bytes_max)


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        pytest.param("echo hello", Ended(b"hello\n"), id="output"),
        pytest.param("true", Ended(), id="silent"),
        pytest.param("echo half; exit 3", Ended(b"half\n", "it exited with 3"), id="exit code"),
        pytest.param("kill -TERM $$", Ended(b"", "it was ended by signal 15"), id="signal"),
        pytest.param("echo e >&2; cat", Ended(), id="no input and no error stream"),
        pytest.param("echo $PATH $HOME $USER", Ended(b"/usr/sbin:/usr/bin:/sbin:/bin /\n"), id="environment"),
        pytest.param("exec >&-; exec sleep 0.01", Ended(), id="closes its output first"),
        pytest.param("printf %1000s x", Ended(b"x".rjust(1000)), id="as much as it may"),
        pytest.param("printf %1001s x", Ended(b"", "it wrote more than 1000 bytes"), id="a byte too much"),
        pytest.param("yes", Ended(b"", "it wrote more than 1000 bytes"), id="flood"),
    ],
)
def test_a_run(script: str, ended: Ended) -> None:
    assert sh(script) == ended


def test_it_reads_what_it_is_given_and_then_the_end() -> None:
    ended = run(
        ["/bin/cat"], deadline_s=10, output_bytes_max=4096, streams=Streams(b"x" * child.STDIN_BYTES_MAX)
    )
    assert ended == Ended(b"x" * 4096)


def test_who_does_not_read_keeps_nobody_waiting() -> None:
    assert run(["/bin/true"], deadline_s=10, output_bytes_max=1, streams=Streams(b"secret\n")) == Ended()


def test_what_it_complains_about_counts_where_that_is_asked() -> None:
    command = ["/bin/sh", "-c", "echo out; echo no such group >&2; exit 6"]
    ended = run(command, deadline_s=10, output_bytes_max=100, streams=Streams(stderr=True))
    assert ended == Ended(b"out\nno such group\n", "it exited with 6")


def test_tells_the_exit_code() -> None:
    assert [sh(f"exit {code}").status for code in (0, 2)] == [0, 2]
    assert sh("kill -KILL $$").status == -9
    assert run(["/nonexistent"], deadline_s=1, output_bytes_max=1).status is None


def test_more_than_a_pipe_holds() -> None:
    assert len(sh("head -c 300000 /dev/zero", output_bytes_max=300_000).output) == 300_000


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        pytest.param("/nonexistent", "No such file or directory", id="missing"),
        pytest.param("/etc", "Permission denied", id="a folder"),
    ],
)
def test_what_cannot_start_is_said(command: str, fault: str) -> None:
    assert run([command], deadline_s=1, output_bytes_max=1) == Ended(fault=fault)


def test_a_child_that_does_not_end_is_ended() -> None:
    before = time.monotonic()
    assert sh("exec sleep 60", deadline_s=0.05) == Ended(fault="it did not end in time")
    assert time.monotonic() - before < 5


def test_a_trickle_does_not_put_off_the_end() -> None:
    assert (
        sh("while :; do echo; done", deadline_s=0.05, output_bytes_max=2**40).fault
        == "it did not end in time"
    )


@pytest.mark.parametrize(
    "deadline_s", [pytest.param(10.0, id="it ended"), pytest.param(0.3, id="it was ended")]
)
def test_what_it_left_in_the_background_is_ended(tmp_path: Path, deadline_s: float) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    wait = "" if deadline_s == 10 else "; sleep 60"
    sh(f"sleep 60 > {tmp_path}/fifo & echo started{wait}", deadline_s=deadline_s)
    # The end of the fifo comes when the last process that held it open is dead.
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_no_zombie_and_no_descriptor_is_left() -> None:
    before = os.listdir("/proc/self/fd"), Process().children()
    sh("true")
    sh("yes")
    run(["/nonexistent"], deadline_s=1, output_bytes_max=1)
    assert (os.listdir("/proc/self/fd"), Process().children()) == before


def test_a_signal_that_python_ignores_ends_a_child() -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert sh("kill -PIPE $$").fault == "it was ended by signal 13"


def test_one_that_cannot_be_killed_is_left_and_collected_later(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.killpg
    groups: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", lambda pid, _: groups.append(pid))
        patch.setattr(child, "_DEATH_S", 0.0)
        assert sh("exec sleep 60", deadline_s=0.05).fault == "it did not end in time"
    (pid,) = groups
    exited = os.pidfd_open(pid)
    real(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, exited, os.WEXITED | os.WNOWAIT)
    os.close(exited)
    sh("true")
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_one_that_cannot_be_waited_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", full)
    assert sh("exec sleep 60") == Ended(b"", "Too many open files")
    (pid,) = child._undead
    assert os.waitid(os.P_PID, pid, os.WEXITED).si_status == signal.SIGKILL  # type: ignore[union-attr]
    child._collect()
    assert not child._undead


def test_a_child_that_somebody_else_collects_is_believed() -> None:
    """As in a process that ignores SIGCHLD."""
    script = (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "from reconciler.facilities.child import run;"
        "print(run(['/bin/echo', 'x'], deadline_s=9, output_bytes_max=9))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert shown.stdout == "Ended(output=b'x\\n', fault='')\n"
