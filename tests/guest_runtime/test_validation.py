"""The validating child from the daemon's side: a real process."""

import os
import signal
from collections.abc import Iterator

import pytest

from guest_runtime.validation import Validation
from reconciler.errors import Busy, InvalidSpec


@pytest.fixture
def validation() -> Iterator[Validation]:
    validation = Validation()
    yield validation
    validation.close()


def test_it_answers_again_and_again(validation: Validation) -> None:
    for name in ("web-01", "web-02"):
        assert validation.ask({"spec": {"hostname": name}})["normal"] == {"hostname": {"static": name}}


def test_a_refused_document_is_raised_with_its_faults(validation: Validation) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.power") as caught:
        validation.ask({"spec": {"power": "of", "hostname": "no_host"}})
    assert len(caught.value.faults) == 2


def test_a_child_that_was_killed_is_replaced(validation: Validation) -> None:
    validation.warm()
    os.kill(validation._pid, signal.SIGKILL)
    assert validation.ask({"spec": {}})["normal"] == {}


def test_a_child_that_stands_still_is_replaced(
    validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation.warm()
    os.kill(validation._pid, signal.SIGSTOP)
    stopped = validation._pid
    real = validation._start

    def start() -> None:
        real()
        monkeypatch.setattr("guest_runtime.validation.DEADLINE_S", 20.0)

    monkeypatch.setattr("guest_runtime.validation.DEADLINE_S", 0.01)
    monkeypatch.setattr(validation, "_start", start)
    notes = "x" * (1 << 20)  # more than a pipe holds
    with pytest.raises(InvalidSpec):
        validation.ask({"spec": {"hostname": notes}})
    assert validation._pid != stopped


def test_it_writes_no_compiled_code(validation: Validation) -> None:
    validation.ask({"spec": {}})
    with open(f"/proc/{validation._pid}/cmdline") as file:
        assert "-B" in file.read().split("\0")


def test_a_start_that_fails_leaves_nothing_open(
    validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Busy, match="No such file"):
        validation.ask({"spec": {}})
    assert os.listdir("/proc/self/fd") == before


def test_a_dead_child_leaves_no_zombie(validation: Validation) -> None:
    validation.warm()
    pid = validation._pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not validation.reap()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
