"""`make run` shows a guest that converges, and says so when it does not."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DEMO = Path(__file__).parent.parent / "examples/demo.py"
LIMIT_S = 60.0  # it takes two seconds; this one is for a machine with much else to do
LINES = [
    pytest.param(r"change: hostname: set static", id="plan"),
    pytest.param(r"applied: generation 1", id="applied"),
    pytest.param(r"Converged +generation 1", id="converged"),
    pytest.param(r"hostname +True +InSync +web-01", id="condition"),
    pytest.param(r"static +web-01", id="act-shows-in-what-is-observed"),
    pytest.param(r"available +\d+", id="memory"),
    pytest.param(r"lo +\d+ +loopback", id="nics"),
    pytest.param(r"No differences", id="diff"),
    pytest.param(r"^the snapshot is taken$|No filesystem of this machine can be frozen", id="freeze"),
    pytest.param(r"Thawed +freeze 1 is over|No filesystem of this machine can be frozen", id="thawed"),
    pytest.param(r"hostname +HostnameChanged +web-01, was ", id="events"),
    pytest.param(r"The guest has ended", id="end"),
]


@pytest.fixture(scope="module")
def shown() -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(DEMO)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_step_succeeds_and_nothing_is_complained_of(shown: subprocess.CompletedProcess[str]) -> None:
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout + shown.stderr


@pytest.mark.parametrize("line", LINES)
def test_shows(shown: subprocess.CompletedProcess[str], line: str) -> None:
    assert re.search(line, shown.stdout, re.MULTILINE), shown.stdout


def test_no_colour_where_no_terminal_is(shown: subprocess.CompletedProcess[str]) -> None:
    assert "\033" not in shown.stdout


def test_an_interrupted_one_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, str(DEMO)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while b"reconciler apply" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert (process.wait(LIMIT_S), b"Traceback" in said) == (130, False), said
    assert list(tmp_path.iterdir()) == []


def test_a_failed_step_is_told(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "DOCUMENT", "hostname: not a hostname\n")
    assert demo.main() == 1
    assert "demo: reconciler apply exited with 2" in capfd.readouterr().err


def test_a_guest_that_does_not_start_is_told(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "CHANNEL", "pigeon:post")
    assert demo.main() == 1
    assert "demo: the guest did not start" in capfd.readouterr().err
