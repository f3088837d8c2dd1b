"""The daemon as a process, rehearsing, on a unix socket."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from guest_runtime.daemon import Daemon
from guest_runtime.validation import Validation
from reconciler.errors import ReconcilerError
from reconciler.guarding.kernel import boot_clock_s
from reconciler.loop import Setting
from reconciler.resource import Json
from reconciler.secret import Secret
from reconciler.track import Answer
from tests.lamps import Lamps, lamp

PATIENCE_S = 20.0
ROOT = Path(__file__).parents[2]


class Host:
    """Speaks to the daemon in plain sight, without the product's client."""

    opened: ClassVar[list[socket.socket]] = []  # closed by the fixture

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.opened.append(self.socket)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.pending = b""
        self.kept: list[Json] = []  # came while something else was waited for
        self.asked = 0

    def call(self, method: str, **params: Json) -> Json:
        """The result, or the error."""
        self.asked += 1
        request = {"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}
        self.socket.sendall(b"\x1e" + json.dumps(request).encode() + b"\n")
        while True:
            message = self.receive()
            if message.get("id") == self.asked:
                return message["result"] if "result" in message else message["error"]
            self.kept.append(message)

    def receive(self) -> Json:
        while b"\n" not in self.pending:
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return json.loads(line.strip(b"\x1e"))

    def converge(self, generation: int, spec: Json) -> Json:
        """Subscribe, apply, acknowledge; the status in which all is as written."""
        status = self.call("subscribe")["status"]
        self.kept.clear()
        assert self.call("apply", generation=generation, spec=spec)["accepted"] == "new"
        while status["observedGeneration"] != generation or status["phase"] != "Converged":
            message = self.kept.pop(0) if self.kept else self.receive()
            if message.get("method") == "status":
                status = _merged(status, message["params"]["patch"])
                ack = {"jsonrpc": "2.0", "method": "ack"}
                ack["params"] = {"revision": message["params"]["revision"]}  # type: ignore[assignment]
                self.socket.sendall(b"\x1e" + json.dumps(ack).encode() + b"\n")
        return status


def _merged(target: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _merged(target.get(key), value)
    return target


Start = Callable[[], tuple[subprocess.Popen[bytes], Path]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[subprocess.Popen[bytes], Path]:
        path = tmp_path / "guest.sock"
        path.unlink(missing_ok=True)
        words = ["run", "--rehearse", "--channel", f"unix:{path}", "--state-dir", str(tmp_path / "state")]
        # Ready when it says so, as to systemd.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind("\0ready-" + str(path))
            notify.settimeout(PATIENCE_S)
            environment = os.environ | {"NOTIFY_SOCKET": "@ready-" + str(path)}
            command = [sys.executable, "-m", "guest_runtime.cli", *words]
            running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE))
            assert notify.recv(100) == b"READY=1"
        return running[-1], path

    yield start
    while Host.opened:
        Host.opened.pop().close()
    for process in running:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def test_a_document_converges(start: Start) -> None:
    _, path = start()
    host = Host(path)
    assert host.receive()["method"] == "hello"
    assert host.call("hello", protocols=[1])["generation"] == 0
    status = host.converge(1, {"hostname": "web-01", "report": ["memory"]})
    assert status["observed"]["hostname"]["static"] == "web-01"
    assert status["inventory"]["memory"]["total"] > 0


def test_no_document_reaches_the_agents_own_files(start: Start, tmp_path: Path) -> None:
    host = Host(start()[1])
    for path, reason in ((f"{tmp_path}/state/state.json", "Forbidden"), (f"{tmp_path}/motd", "Drifted")):
        plan = host.call("plan", spec={"files": {path: {"content": "x"}}})["kinds"]["files"]
        assert (path, plan["reason"]) == (path, reason)


def test_a_killed_daemon_goes_on_where_it_was(start: Start) -> None:
    process, path = start()
    host = Host(path)
    revision = host.call("hello")["revision"]
    host.converge(4, {"hostname": "web-01"})
    digest = host.call("hello")["digest"]
    process.kill()
    process.wait(PATIENCE_S)
    _, path = start()
    later = Host(path).call("hello")
    assert (later["generation"], later["digest"]) in ((4, digest), (0, ""))  # saved, or said to be lost
    assert later["revision"] > revision


def test_it_ends_when_it_is_told_to(start: Start) -> None:
    process, path = start()
    Host(path).call("hello")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert not path.exists()


def test_garbage_costs_itself_only(start: Start) -> None:
    _, path = start()
    host = Host(path)
    host.socket.sendall(b"\x1e{{{\n\xff\xfe\x1e" + b"[" * 5000 + b"\n")
    assert host.call("ping", x=1)["echo"] == {"x": 1}


def test_a_host_that_never_reads_keeps_nobody_waiting(start: Start) -> None:
    _, path = start()
    deaf, host = Host(path), Host(path)
    deaf.socket.setblocking(False)
    ping = b'\x1e{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"y" * 1000 + b'"}}\n'
    for _ in range(20000):
        try:
            deaf.socket.send(ping)
        except BlockingIOError:
            if not select.select([], [deaf.socket], [], 0.2)[1]:
                break
    else:
        pytest.fail("the guest took 20 MB without an end")
    host.converge(1, {"hostname": "heard"})


def test_each_job_has_the_secrets_of_the_document_that_it_was_begun_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = lamp("lamp", Lamps())
    daemon = Daemon(Setting(resources={"lamp": kind}), [], str(tmp_path / "state"), Validation())
    jobs: list[tuple[Callable[[], object], Answer]] = []
    monkeypatch.setattr(daemon, "_background", lambda run, answer: jobs.append((run, answer)))
    word = ("lamp", "word")
    daemon.safe.put({word: Secret(b"first")}, boot_clock_s())
    daemon._turn()
    [(run, answer)] = jobs
    looking = kind.secrets
    assert looking.has("word")
    daemon.safe.put({word: Secret(b"second")}, boot_clock_s())
    assert not looking.has("word")
    answer(run(), None)
    daemon._loop.ask("lamp", lambda: None, lambda result, error: None)
    daemon._turn()
    with kind.secrets.take("word") as secret:
        assert secret.data == b"second"


def test_without_room_for_a_thread_a_call_fails_and_the_daemon_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    daemon = Daemon(Setting(resources={}), [], str(tmp_path / "state"), Validation())
    answers: list[tuple[object, ReconcilerError | None]] = []
    monkeypatch.setattr(threading.Thread, "start", full)
    daemon._background(lambda: 1, lambda result, error: answers.append((result, error)))
    daemon.prepare()
    daemon._take({daemon._bell})
    assert [(result, str(error)) for result, error in answers] == [
        (None, "cannot go on: can't start new thread")
    ]
