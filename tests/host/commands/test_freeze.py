"""`reconciler freeze` as a program: exit codes, signals, and a guest thawed in the end."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.conftest import Reconciler
from tests.host.served import Served

SPEC = {"hostname": {"static": "web-01"}}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(["true"], 0, id="good"),
        pytest.param(["sh", "-c", "exit 7"], 7, id="its-own-code"),
        pytest.param(["sh", "-c", "kill -TERM $$"], 143, id="killed"),
    ],
)
def test_the_code_of_the_command(
    command: list[str], code: int, guest: Served, reconciler: Reconciler
) -> None:
    said = reconciler("freeze", "-c", guest.channel, "web-01", "--", *command)
    assert said.code == code
    assert guest.guest.freeze is None
    assert guest.guest.last_freeze == {"epoch": 1, "generation": 4, "ended": "Thawed"}
    assert guest.guest.spec == SPEC


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("/nonexistent/command", 127, id="not-found"),
        pytest.param("no-such-command", 127, id="not-found-on-the-path"),
        pytest.param("/etc/passwd", 126, id="not-a-program"),
        pytest.param("/", 126, id="a-folder"),
    ],
)
def test_nothing_is_frozen_for_a_command_that_is_not_there(
    command: str, code: int, guest: Served, reconciler: Reconciler
) -> None:
    said = reconciler("freeze", "-c", guest.channel, "--", command)
    assert (said.code, said.out) == (code, "")
    assert f"cannot run {command}: " in said.err
    assert guest.guest.generation == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("#!/nonexistent/shell\n", 127, id="no-interpreter"),
        pytest.param("no program\n", 126, id="no-format"),
    ],
)
def test_a_command_that_turns_out_not_to_run(
    text: str, code: int, guest: Served, reconciler: Reconciler, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text(text)
    (tmp_path / "x").chmod(0o755)
    assert reconciler("freeze", "-c", guest.channel, "--", tmp_path / "x").code == code
    assert guest.guest.last_freeze == {"epoch": 1, "generation": 4, "ended": "Thawed"}
    assert guest.guest.spec == SPEC


def test_ctrl_c_at_a_terminal_comes_to_the_command_once(guest: Served) -> None:
    script = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [2])\n"
        "print('on', flush=True)\n"
        "signal.sigwait([2])\n"
        "print('again' if signal.sigtimedwait([2], 1) else 'once')\n"
    )
    freeze = ["freeze", "-c", guest.channel, "--", sys.executable, "-c", script]
    # A session of its own with a terminal, and a standard input that is none.
    words = ["setsid", "--ctty", "--wait", "sh", "-c", 'exec "$@" </dev/null', "sh"]
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*words, sys.executable, "-m", "reconciler.host", *freeze], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        _until(ours, b"on\r\n")
        os.write(ours, b"\x03")
        shown = _until(ours, b"")
        assert process.wait(30) == 0
    os.close(ours)
    assert b"once\r\n" in shown


def _until(fd: int, mark: bytes) -> bytes:
    """What comes from a terminal up to a mark; to its end where there is none."""
    shown = b""
    while not mark or mark not in shown:
        assert select.select([fd], [], [], 30)[0], shown
        try:
            shown += os.read(fd, 1024)
        except OSError:
            return shown  # nobody has it open any more
    return shown


def test_options_of_the_command_are_its_own(guest: Served, reconciler: Reconciler, tmp_path: Path) -> None:
    words = ["freeze", "-c", guest.channel, "--mount", "/data", "--lease", "30s", "--"]
    assert reconciler(*words, "touch", "--", f"{tmp_path}/-g").code == 0
    assert (tmp_path / "-g").exists()
    frozen = next(params["spec"] for method, params in guest.guest.calls if method == "apply")
    assert frozen["filesystems"] == {"state": "frozen", "lease": 30, "mounts": ["/data"]}


def test_a_freeze_that_fails_starts_nothing(guest: Served, reconciler: Reconciler, tmp_path: Path) -> None:
    guest.guest.errors["apply"] = {"code": -32002, "message": "the policy says no"}
    said = reconciler("freeze", "-c", guest.channel, "--", "touch", tmp_path / "x")
    assert said.code == 120
    assert "cannot freeze: the policy says no" in said.err
    assert not (tmp_path / "x").exists()


def _freeze(guest: Served, *command: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "reconciler.host", "freeze", "-c", guest.channel, "--", *command]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_freeze_that_did_not_hold(guest: Served) -> None:
    with _freeze(guest, "sh", "-c", "echo started; cat $0", str(_fifo(guest))) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"started\n"
        guest.do(lambda: guest.guest.change(lambda: guest.guest.end_freeze("LeaseEnded")))
        _fifo(guest).write_text("go on")
        assert process.wait(30) == 121
        assert b"cannot trust what was saved" in process.stderr.read()
    assert guest.guest.spec == SPEC


def _fifo(guest: Served) -> Path:
    path = guest.path.parent / "fifo"
    if not path.exists():
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_goes_to_the_command_and_the_guest_thaws(
    number: signal.Signals, code: int, guest: Served
) -> None:
    script = (
        "import os, signal, sys; signal.signal(2, signal.SIG_DFL); print('on', flush=True); signal.pause()"
    )
    with _freeze(guest, sys.executable, "-c", script) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == code
    assert guest.guest.freeze is None
    assert guest.guest.spec == SPEC


def test_a_command_that_ignores_signals_is_killed_at_the_third(guest: Served) -> None:
    script = (
        "import signal\n"
        "signal.signal(15, lambda *_: print('no', flush=True))\n"
        "print('on', flush=True)\n"
        "while True: signal.pause()"
    )
    with _freeze(guest, sys.executable, "-c", script) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == b"no\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 137
    assert guest.guest.freeze is None


def test_a_signal_before_the_command_starts(guest: Served) -> None:
    guest.guest.reasons["hostname"] = "Drifted"
    adopt = guest.guest.adopt
    pid: list[int] = []

    def without_freezing(generation: int, spec: dict[str, object]) -> None:
        adopt(generation, spec)
        if generation == 4:
            guest.guest.freeze = None
            guest.guest.reasons["filesystems"] = "Drifted"
            os.kill(pid[0], signal.SIGTERM)

    guest.guest.adopt = without_freezing  # type: ignore[method-assign]
    with _freeze(guest, "touch", str(guest.path.parent / "x")) as process:
        pid.append(process.pid)
        assert process.wait(30) == 143
    assert guest.guest.spec == SPEC
    assert not (guest.path.parent / "x").exists()
