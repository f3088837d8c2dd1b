"""The command line as a whole: what every command has, exit codes, errors, hostile names."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.host import cli
from tests.host.conftest import Reconciler
from tests.host.served import Served

COMMANDS = cli.names()


def test_every_file_is_a_command() -> None:
    assert COMMANDS == [
        "apply", "completion", "describe", "diff", "events", "explain", "freeze",
        "get", "schema", "thaw", "validate", "wait", "watch",
    ]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_with_examples(name: str, reconciler: Reconciler) -> None:
    said = reconciler(name, "--help")
    assert said.code == 0
    assert f"reconciler {name}" in said.out.split("examples:", 1)[1]
    assert said.err == ""


def test_version_loads_nothing() -> None:
    code = (
        "import sys; from reconciler.host.cli import main; main(['--version']);"
        "assert not {'asyncio', 'yaml', 'cerberus', 'inspect', 'pathlib'} & set(sys.modules) - before"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys, dataclasses, json; before = set(sys.modules); {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == f"reconciler {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_never_loads_asyncio_or_the_documents(name: str) -> None:
    code = (
        "import sys; from reconciler.host import cli; cli.build_parser(['" + name + "']);"
        "assert not {'asyncio', 'yaml', 'cerberus'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        pytest.param([], 2, "required", id="nothing"),
        pytest.param(["frob"], 2, "invalid choice: 'frob'", id="no-such-command"),
        pytest.param(["get", "--frob"], 2, "unrecognized arguments", id="no-such-option"),
        pytest.param(["get"], 2, "RECONCILER_CHANNEL is not set", id="no-channel"),
        pytest.param(["get", "-c", "tcp:1"], 2, "unix:PATH, serial:DEV", id="no-such-channel"),
        pytest.param(["get", "-c", "vsock:3:x"], 2, "the port 'x' is not a number", id="port"),
        pytest.param(["get", "-c", "unix:{guest}"], 2, "wants a name", id="no-name"),
        pytest.param(["get", "-c", "unix:{guest}", "-g", "../x"], 2, "is not a name", id="path-as-name"),
        pytest.param(["freeze", "-c", "unix:x"], 2, "no COMMAND", id="freeze-nothing"),
        pytest.param(
            ["freeze", "-c", "unix:x", "--lease", "0.5", "--", "true"], 2, "at least 1 s", id="lease"
        ),
        pytest.param(["freeze", "a", "-g", "b", "--", "true"], 2, "two guests", id="two-guests"),
        pytest.param(["wait", "-c", "unix:x", "--for", "phase=Odd"], 2, "a phase is one of", id="phase"),
        pytest.param(["wait", "-c", "unix:x", "--for", "=x"], 2, "cannot wait for", id="for"),
        pytest.param(["wait", "-c", "unix:x", "--for", "x", "--timeout", "soon"], 2, "'soon'", id="duration"),
        pytest.param(["wait", "--for", "x", "--connect-timeout", "1"], 2, "unrecognized", id="two-patiences"),
        pytest.param(["apply", "-f", "x", "--dry-run=guest", "--wait"], 2, "cannot wait", id="dry-wait"),
        pytest.param(["apply", "-f", "x", "--dry-run=client", "-o", "name"], 2, "as names", id="dry-names"),
        pytest.param(["explain", "nothing.here"], 2, "nothing", id="no-such-field"),
        pytest.param(["validate", "/nonexistent"], 2, "/nonexistent", id="no-file"),
        pytest.param(["diff", "-f", "/nonexistent"], 2, "/nonexistent", id="diff-no-file"),
    ],
)
def test_wrong_usage_is_two(words: list[str], code: int, err: str, reconciler: Reconciler) -> None:
    said = reconciler(*words)
    assert said.code == code
    assert err in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["get"], 4, id="get"),
        pytest.param(["describe"], 4, id="describe"),
        pytest.param(["events"], 4, id="events"),
        pytest.param(["watch"], 4, id="watch"),
        pytest.param(["thaw"], 4, id="thaw"),
        pytest.param(["freeze", "--", "true"], 4, id="freeze"),
        pytest.param(["wait", "--for", "Converged"], 1, id="wait-has-two-codes"),
    ],
)
def test_nobody_there(words: list[str], code: int, tmp_path: Path, reconciler: Reconciler) -> None:
    patience = "--timeout" if words[0] == "wait" else "--connect-timeout"
    said = reconciler(words[0], "-c", f"unix:{tmp_path}/none", patience, "0.2", *words[1:])
    assert said.code == code
    assert "No such file or directory" in said.err
    assert said.out == ""


def test_diff_says_two_for_every_error(tmp_path: Path, reconciler: Reconciler) -> None:
    file = tmp_path / "d.yaml"
    file.write_text("hostname: web-01")
    said = reconciler("diff", "-c", f"unix:{tmp_path}/none", "--connect-timeout", "0.2", "-f", file)
    assert said.code == 2


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(-32001, 3), (-32002, 3), (-32004, 3), (-32005, 3), (-32602, 2), (-32601, 3), (-32603, 3)],
)
def test_what_the_guest_refuses(code: int, exit_code: int, guest: Served, reconciler: Reconciler) -> None:
    guest.guest.errors["status"] = {"code": code, "message": "cannot tell: \x1b[2J no"}
    said = reconciler("get", "-c", guest.channel)
    assert said.code == exit_code
    assert "cannot tell: \\x1b[2J no" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["-g", "web-01"], 0, id="right"),
        pytest.param(["-g", "WEB-01.example.org"], 0, id="with-domain"),
        pytest.param(["-g", "db-01"], 2, id="wrong"),
    ],
)
def test_the_guest_has_to_be_the_one_that_is_meant(
    words: list[str], code: int, guest: Served, reconciler: Reconciler
) -> None:
    said = reconciler("get", "-c", guest.channel, *words)
    assert said.code == code
    assert ("the guest on this channel is web-01, not db-01" in said.err) is (code == 2)


def test_a_channel_chosen_by_name_needs_no_other_check(guest: Served, reconciler: Reconciler) -> None:
    assert reconciler("get", "-c", f"unix:{guest.path.parent}/{{guest}}", "-g", "g").code == 0


def test_the_channel_may_stand_in_the_environment(
    guest: Served, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_CHANNEL", guest.channel)
    assert reconciler("get").code == 0


def _program(*words: str) -> list[str]:
    return [sys.executable, "-m", "reconciler.host", *words]


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(_program("schema"), stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize(("command", "code"), [("get", 3), ("diff", 2), ("validate", 3)])
def test_output_that_cannot_be_written_is_no_answer(
    command: str, code: int, guest: Served, tmp_path: Path
) -> None:
    (tmp_path / "d.yaml").write_text("hostname: web-02")
    channel, file = ["-c", guest.channel], str(tmp_path / "d.yaml")
    words = {"get": channel, "diff": [*channel, "-f", file], "validate": [file]}[command]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            _program(command, *words), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (ran.returncode, ran.stderr) == (code, b"reconciler: cannot go on: No space left on device\n")


@pytest.mark.parametrize(("command", "code"), [("get", 3), ("diff", 2)])
def test_a_fault_of_ours_is_no_answer(
    command: str,
    code: int,
    guest: Served,
    tmp_path: Path,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise TypeError("what the guest sent: \x1b[2J")

    monkeypatch.setattr(f"reconciler.host.commands.{command}.on_guest", broken)
    (tmp_path / "d.yaml").write_text("hostname: web-02")
    said = reconciler(
        command, "-c", guest.channel, *(["-f", tmp_path / "d.yaml"] if command == "diff" else [])
    )
    assert (said.code, said.out) == (code, "")
    assert said.err.endswith("TypeError: what the guest sent: \\x1b[2J\n")


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "web-01.yaml").write_text("hostname: web-01\n")
    root = Path(__file__).parents[2]
    start = f"import sys; sys.path += [{str(root)!r}]; from reconciler.host.cli import main; sys.exit(main())"
    argv = [sys.executable, "-IS", "-c", start, "validate", "web-01.yaml"]
    ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert re.fullmatch(
        r"reconciler: cannot go on: the Python package (yaml|cerberus) is missing\n", ran.stderr
    )


def test_closed_streams_change_nothing_else(guest: Served) -> None:
    command = shlex.join(_program("get", "-c", guest.channel, "nothing"))
    ran = subprocess.run(["sh", "-c", f"{command} 2>&-"], capture_output=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, b"", b"")
    command = shlex.join(_program("get", "-c", guest.channel))
    ran = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_ctrl_c_is_130_and_says_nothing(guest: Served) -> None:
    with subprocess.Popen(
        _program("watch", "-c", guest.channel), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
