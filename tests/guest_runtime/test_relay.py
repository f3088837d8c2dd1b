"""The relay: real commands, and what it tells of them; in a process of its own, as systemd starts it."""

import base64
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guest_runtime.relay import HEAD_BYTES, INPUT_BYTES_MAX, TAIL_BYTES, TOLD_BYTES_MAX, Excerpt, group_of

ROOT = Path(__file__).parents[2]
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from guest_runtime.relay import main; main(*sys.argv[2:])"
)
PATIENCE_S = 60.0
GRACELESS = PROGRAM.replace("main(", "from guest_runtime import relay; relay.GRACE_S = 0.2; main(")
# Ignores the polite signal, and says when it does.
STUBBORN = "trap '' TERM; echo $$ >job.pid; while :; do sleep 0.1; done"


def order(argv: list[str], **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "script": None,
        "group": "",
        "cwd": "",
        "environment": [],
        "stdin": "",
        "input": "",
    }
    return {"argv": argv, "user": getpass.getuser(), **plain, **more}


def script(text: str, **more: Any) -> dict[str, Any]:
    return order(["/bin/sh"], script=text, **more)


@contextmanager
def started(
    folder: Path, what: dict[str, Any], program: str = PROGRAM
) -> Iterator["subprocess.Popen[bytes]"]:
    (folder / "job.order").write_text(json.dumps(what))
    command = [sys.executable, "-I", "-S", "-B", "-c", program, str(ROOT), str(folder), "job"]
    with subprocess.Popen(command, start_new_session=True) as relay:
        try:
            yield relay
        finally:
            relay.kill()


def run(folder: Path, what: dict[str, Any]) -> dict[str, Any]:
    with started(folder, what) as relay:
        assert relay.wait(PATIENCE_S) == 0
    assert [path.name for path in folder.iterdir()] == ["job.result"]
    result: dict[str, Any] = json.loads((folder / "job.result").read_text())
    return result


def out(result: dict[str, Any]) -> str:
    assert result["stdout"]["tail"] == ""
    return str(result["stdout"]["head"])


def test_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    argv = ["a b", "'\"", "new\nline", "$HOME", "", "ü", "*"]
    result = run(
        tmp_path, order([sys.executable, "-c", "import sys, json; json.dump(sys.argv, sys.stdout)", *argv])
    )
    assert json.loads(out(result)) == ["-c", *argv]
    assert (result["exit_code"], result["stopped"]) == (0, False)


def test_a_script_is_in_no_argument(tmp_path: Path) -> None:
    result = run(tmp_path, script("tr '\\0' ' ' </proc/$$/cmdline; echo; echo \"$0\"\nexit 7"))
    first, second = out(result).splitlines()
    assert first.split() == ["/bin/sh", second]
    assert second.startswith("/proc/self/fd/")
    assert result["exit_code"] == 7


def test_the_environment_is_what_is_said_and_no_more(tmp_path: Path) -> None:
    result = run(
        tmp_path, script("env -0 | tr '\\n\\0' '~\\n'", environment=[["A", "1 2\n3"], ["LANG", "C"]])
    )
    found = dict(line.split("=", 1) for line in out(result).splitlines())
    assert (found.pop("A"), found.pop("LANG")) == ("1 2~3", "C")
    assert found.keys() - {"PWD", "_", "SHLVL"} == {"PATH", "HOME", "USER", "LOGNAME", "SHELL"}


def test_it_begins_where_it_is_told_to_in_a_session_of_its_own(tmp_path: Path) -> None:
    inside = tmp_path / "in side"
    inside.mkdir()
    result = run_in(tmp_path, script("pwd; umask; ps -o sid= -p $$; echo $$", cwd=str(inside)))
    where, mask, session, own = out(result).split("\n")[:4]
    assert (where, mask, session.strip()) == (str(inside), "0022", own)


def run_in(folder: Path, what: dict[str, Any]) -> dict[str, Any]:
    """`run` in a folder that holds something else as well."""
    inner = folder / "relay"
    inner.mkdir()
    return run(inner, what)


@pytest.mark.root
def test_a_way_of_the_users_own_leads_nowhere_that_the_user_may_not_go(tmp_path: Path) -> None:
    (tmp_path / "closed/open").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "way").symlink_to(tmp_path / "closed/open")
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o011)
    result = run_in(tmp_path, script("pwd", user="nobody", cwd=str(tmp_path / "way")))
    assert result["fault"] == f"cannot start: nobody cannot enter {tmp_path}/way"
    (tmp_path / "closed").chmod(0o755)
    shutil.rmtree(tmp_path / "relay")
    assert out(run_in(tmp_path, script("pwd", user="nobody", cwd=str(tmp_path / "way")))).startswith("/")


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        pytest.param(
            order(["/does/not/exist"]), "No such file or directory: /does/not/exist", id="no program"
        ),
        pytest.param(order(["/etc/passwd"]), "Permission denied", id="no rights"),
        pytest.param(script("x", cwd="/does/not/exist"), "cannot enter /does/not/exist", id="no folder"),
        pytest.param(script("x", user="nobody-like-this"), "no user nobody-like-this", id="no user"),
        pytest.param(script("x", group="nogroup-like-this"), "nogroup-like-this", id="no group"),
        pytest.param(script("x", input="/does/not/exist"), "its secret was gone", id="no secret"),
        pytest.param(script("x", stdin="y" * (INPUT_BYTES_MAX + 1)), "longer than 65536", id="a long input"),
    ],
)
def test_what_cannot_start_is_told(tmp_path: Path, what: dict[str, Any], fault: str) -> None:
    result = run(tmp_path, what)
    assert result["fault"].startswith("cannot start: ")
    assert fault in result["fault"]
    assert "exit_code" not in result


def test_an_interpreter_that_is_not_there_is_not_taken_for_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/does/not/exist\n")
    program.chmod(0o755)
    fault = run_in(tmp_path, order([str(program)]))["fault"]
    assert fault == f"cannot start: {program}: the interpreter that it names is not there"


@pytest.mark.parametrize(
    "text", ["", "hello\n", "y" * INPUT_BYTES_MAX], ids=["none", "a line", "a pipe full"]
)
def test_standard_input(tmp_path: Path, text: str) -> None:
    assert out(run(tmp_path, script("wc -c", stdin=text))) == f"{len(text)}\n"


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "cut short"])
def test_a_secret_comes_over_a_socket(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen()

        def give() -> None:
            relay, _ = agent.accept()
            with relay:
                relay.sendall(b"hunter2\n" if whole else b"hunt")

        giving = threading.Thread(target=give)
        giving.start()
        result = run_in(tmp_path, script("cat", input=str(path)))
        giving.join()
    if whole:
        assert out(result) == "hunter2"
    else:
        assert "its secret was gone" in result["fault"]


def test_any_amount_of_output_is_cut_to_its_beginning_and_its_end(tmp_path: Path) -> None:
    writer = "import sys; sys.stdout.write('begin\\n' + 'x' * 50_000_000 + '\\nend'); sys.stderr.write('e')"
    result = run(tmp_path, order([sys.executable, "-c", writer]))
    stdout = result["stdout"]
    assert stdout["total"] == 50_000_010
    assert (stdout["head"][:6], stdout["tail"][-4:]) == ("begin\n", "\nend")
    assert (len(stdout["head"]), len(stdout["tail"])) == (HEAD_BYTES, TAIL_BYTES)
    assert result["stderr"] == {"total": 1, "head": "e", "tail": ""}
    assert (tmp_path / "job.result").stat().st_size < 20_000


def test_a_signal_is_told_by_its_name(tmp_path: Path) -> None:
    result = run(tmp_path, script("kill -SEGV $$"))
    assert (result["signal"], "exit_code" in result) == ("SIGSEGV", False)


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    try:
        result = run(tmp_path, script("sleep 1000 & echo $!"))
        assert result["exit_code"] == 0
    finally:
        os.kill(int(out(result)), signal.SIGKILL)


def test_asked_to_end_it_tells_of_the_end(tmp_path: Path) -> None:
    with started(tmp_path, script("echo $$ >job.pid; exec sleep 1000", cwd=str(tmp_path))) as relay:
        command = _when_there(tmp_path / "job.pid")
        relay.terminate()  # systemd sends it to all in the unit
        os.kill(command, signal.SIGTERM)
        assert relay.wait(PATIENCE_S) == 0
    result = json.loads((tmp_path / "job.result").read_text())
    assert (result["stopped"], result["signal"]) == (True, "SIGTERM")


def test_asked_to_end_while_it_waits_for_its_secret_it_never_begins(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{tmp_path}/s")
        agent.listen()
        agent.settimeout(PATIENCE_S)
        what = script(f"touch {tmp_path}/began", input=f"{tmp_path}/s")
        with started(tmp_path / "relay", what) as relay:
            with agent.accept()[0] as peer:
                relay.terminate()
                peer.sendall(b"hunter2\n")
            assert relay.wait(PATIENCE_S) == 0
    result = json.loads((tmp_path / "relay/job.result").read_text())
    assert result == {"stopped": True, "fault": "cannot start: it was stopped before it began"}
    assert not (tmp_path / "began").exists()


def test_who_does_not_end_politely_is_killed(tmp_path: Path) -> None:
    with started(tmp_path, script(STUBBORN, cwd=str(tmp_path)), GRACELESS) as relay:
        _when_there(tmp_path / "job.pid")
        relay.terminate()
        assert relay.wait(PATIENCE_S) == 0
    result = json.loads((tmp_path / "job.result").read_text())
    assert (result["stopped"], result["signal"]) == (True, "SIGKILL")


def _when_there(path: Path) -> int:
    """The number that a command leaves in a file as it begins."""
    wait = f"until test -s {path}; do sleep 0.01; done; cat {path}"
    return int(subprocess.run(["sh", "-c", wait], timeout=PATIENCE_S, capture_output=True, check=True).stdout)


@pytest.mark.root
def test_it_has_the_rights_of_its_user_and_no_others(tmp_path: Path) -> None:
    result = run(tmp_path, script("id -u; id -g; id -G; echo $HOME $USER", user="nobody", group="daemon"))
    uid, gid, groups, names = out(result).splitlines()
    assert (uid, gid, names.split()[-1]) == ("65534", "1", "nobody")
    assert "0" not in groups.split()


@pytest.mark.parametrize(
    ("cgroups", "found"),
    [
        pytest.param("0::/system.slice/x.service\n", "/sys/fs/cgroup/system.slice/x.service", id="unified"),
        pytest.param(
            "1:name=systemd:/system.slice/x.service\n0::/\n",
            "/sys/fs/cgroup/systemd/system.slice/x.service",
            id="legacy",
        ),
        pytest.param(
            "3:memory:/a\n1:name=systemd:/a\n0::/b/x.service\n",
            "/sys/fs/cgroup/unified/b/x.service",
            id="hybrid",
        ),
        pytest.param("0::/system.slice/y.service\n", "", id="of another unit"),
        pytest.param("0::/\n", "", id="of everybody"),
        pytest.param("0::/x.service/below\n", "", id="below"),
        pytest.param("", "", id="none"),
    ],
)
def test_only_a_group_of_its_own_is_its_own(
    cgroups: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: path == f"{found}/cgroup.procs")
    assert group_of(cgroups, "x.service") == (f"{found}/cgroup.procs" if found else "")


# Excerpts


def told(*parts: bytes) -> dict[str, Any]:
    excerpt = Excerpt()
    for part in parts:
        excerpt.add(part)
    return excerpt.told()


@pytest.mark.parametrize(
    ("data", "head", "tail"),
    [
        pytest.param(b"", "", "", id="nothing"),
        pytest.param("grün\n".encode(), "grün\n", "", id="text"),
        pytest.param(b"gr\xfcn\n", "gr�n\n", "", id="nearly text"),
        pytest.param(b"x" * (HEAD_BYTES + TAIL_BYTES), "x" * (HEAD_BYTES + TAIL_BYTES), "", id="just all"),
        pytest.param(
            b"a" * HEAD_BYTES + b"-" + b"z" * TAIL_BYTES,
            "a" * HEAD_BYTES,
            "z" * TAIL_BYTES,
            id="one too many",
        ),
        pytest.param(
            b"a" * (HEAD_BYTES - 1) + "ü".encode() + b"-" + "ü".encode() + b"z" * (TAIL_BYTES - 1),
            "a" * (HEAD_BYTES - 1),
            "z" * (TAIL_BYTES - 1),
            id="characters that are cut",
        ),
    ],
)
def test_excerpt(data: bytes, head: str, tail: str) -> None:
    whole = told(data)
    assert whole == {"total": len(data), "head": head, "tail": tail}
    assert told(*(data[i : i + 1] for i in range(len(data)))) == whole


@given(st.binary(min_size=1, max_size=64), st.integers(1, 1 << 17))
@example(b"\x01", 1 << 17)
@example(b"\xff", 1 << 17)
@example(b"\t\x02", 1 << 17)
def test_whatever_it_is_the_wire_does_not_take_much_more(pattern: bytes, size: int) -> None:
    data = (pattern * (size // len(pattern) + 1))[:size]
    whole = told(data)
    assert len(json.dumps([whole["head"], whole["tail"]], ensure_ascii=False).encode()) <= TOLD_BYTES_MAX
    if "base64" in whole:
        assert data.startswith(base64.b64decode(whole["head"]))
        assert data.endswith(base64.b64decode(whole["tail"]))


def test_a_few_strange_characters_and_many_lines_leave_it_a_text() -> None:
    assert told(b"\n" * (HEAD_BYTES + TAIL_BYTES))["head"] == "\n" * (HEAD_BYTES + TAIL_BYTES)
    assert told(b"\x1b[32mok\x1b[0m\n\xff\n")["head"] == "\x1b[32mok\x1b[0m\n\ufffd\n"


def test_what_is_no_text_is_base64() -> None:
    data = bytes(range(256)) * 100
    binary = told(data)
    assert binary["base64"] is True
    assert base64.b64decode(binary["head"]) == data[:HEAD_BYTES]
    assert base64.b64decode(binary["tail"]) == data[-TAIL_BYTES:]
