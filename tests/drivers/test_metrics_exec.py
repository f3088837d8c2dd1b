"""Real programs: shell scripts that measure, fail, hang, and wait until they are told to end."""

import os
import select
import threading
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.drivers import metrics_exec
from reconciler.drivers.metrics_exec import MetricsExec
from reconciler.errors import DriverError
from reconciler.resource import Json
from reconciler.resources.report import Source

SOURCE: Source = MetricsExec()  # holds the driver to its port, for the type checker


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take long for a short script; tests of impatience set their own."""
    monkeypatch.setattr(metrics_exec, "_PATIENCE_S", 30.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exec.d").mkdir(mode=0o755)
    return tmp_path / "exec.d"


def write(folder: Path, name: str, script: str, mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


def read(driver: MetricsExec) -> Json:
    return driver.read("metrics")["executables"]


def test_programs_are_joined(folder: Path) -> None:
    write(folder, "queue", "echo '# TYPE queue_length gauge'; echo 'queue_length{q=\"a\"} 3'")
    write(folder, "silent", "true")
    assert read(MetricsExec(str(folder))) == {
        "series": {'queue_length{q="a"}': 3},
        "families": {"queue_length": {"type": "gauge"}},
        "programs": {"queue": {"series": 1}, "silent": {"series": 0}},
    }


def test_each_program_fails_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_exec, "_DEADLINE_S", 0.3)
    write(folder, "bad", "echo bad metric here")
    write(folder, "exits", "echo half 1; exit 3")
    write(folder, "floods", "exec yes")
    write(folder, "good", "echo good 1")
    write(folder, "hangs", "echo half 1; exec sleep 60")
    write(folder, "leaves", "sleep 60 & echo left 1")
    found = read(MetricsExec(str(folder)))
    assert found["series"] == {"good": 1, "left": 1}
    assert found["programs"] == {
        "bad": {"fault": "line 1: not one number after the name"},
        "exits": {"fault": "it exited with 3"},
        "floods": {"fault": "it wrote more than 262144 bytes"},
        "good": {"series": 1},
        "hangs": {"fault": "it did not end in time"},
        "leaves": {"series": 1},
    }


def test_what_is_not_safe_does_not_run(folder: Path) -> None:
    ran = folder.parent / "ran"
    write(folder, "group", f"touch {ran}", 0o775)
    write(folder, "all", f"touch {ran}", 0o757)
    write(folder, "text", f"touch {ran}", 0o644)
    (folder / "link").symlink_to(write(folder, ".target", f"touch {ran}"))
    (folder / "folder").mkdir()
    write(folder, "copy~", f"touch {ran}")
    assert read(MetricsExec(str(folder)))["programs"] == {
        "all": {"fault": "others than its owner may write to it"},
        "folder": {"fault": "it is not a regular file"},
        "group": {"fault": "others than its owner may write to it"},
        "link": {"fault": "it is not a regular file"},
        "text": {"fault": "it is not executable"},
    }
    assert not ran.exists()


@pytest.mark.root
def test_what_another_user_owns_does_not_run(folder: Path) -> None:
    os.chown(write(folder, "other", "echo a 1"), 12345, 0)
    assert read(MetricsExec(str(folder)))["programs"] == {"other": {"fault": "it does not belong to root"}}


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(DriverError, match=r"cannot run what is in .*: others than its owner may write"):
        MetricsExec(str(folder)).read("metrics")


def test_no_folder_is_no_fault(tmp_path: Path) -> None:
    assert MetricsExec.available()
    assert MetricsExec(str(tmp_path / "missing")).read("metrics") == {}


def test_what_the_policy_forbids_does_not_run(folder: Path) -> None:
    write(folder, "a", "echo a 1")
    write(folder, "b", "echo b 1")
    driver = MetricsExec(str(folder))
    driver.forbidden_commands = (f"{folder}/[b-z]*",)
    found = read(driver)
    assert found["series"] == {"a": 1}
    assert found["programs"]["b"] == {"fault": "the guest's policy forbids it (forbid.commands)"}


def test_too_many_programs_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_exec, "_PROGRAMS_MAX", 2)
    for name in "abcdef":
        write(folder, name, f"echo {name} 1")
    found = read(MetricsExec(str(folder)))
    assert found["series"] == {"a": 1, "b": 1}
    assert [name for name, program in found["programs"].items() if "fault" in program] == ["c", "d"]


class Clock:
    """A boot clock that stands still until it is set."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def driver(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> MetricsExec:
    """A driver over one program that notes its runs and waits for a line in a fifo, if there is one."""
    write(
        folder,
        "slow",
        f"echo >> {folder}/.runs; [ -p {folder}/.fifo ] && read line < {folder}/.fifo; "
        f"echo runs $(wc -l < {folder}/.runs)",
    )
    driver = MetricsExec(str(folder))
    monkeypatch.setattr(driver, "boot_clock_s", clock)
    return driver


def test_a_round_follows_another_only_after_a_pause(driver: MetricsExec, clock: Clock) -> None:
    assert read(driver)["series"] == {"runs": 1}
    clock.now_s += 9.9
    assert read(driver)["series"] == {"runs": 1}
    clock.now_s += 0.1
    assert read(driver)["series"] == {"runs": 2}


def test_a_slow_round_is_not_waited_for_and_wakes_the_loop(
    driver: MetricsExec, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_exec, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(metrics_exec, "_DEADLINE_S", 30.0)
    os.mkfifo(folder / ".fifo")
    (watch,) = driver.watches()
    assert isinstance(watch, metrics_exec._Wake)
    with closing(watch):
        assert read(driver)["programs"] == {"slow": {"fault": "it has not ended yet"}}
        clock.now_s += 100  # even so there is no second round beside the first
        assert read(driver)["series"] == {}
        assert not watch.drain()
        (folder / ".fifo").write_text("go\n")
        assert select.select([watch], [], [], 30)[0]
        assert watch.drain()
        assert watch.items == ("metrics",)
        assert read(driver)["series"] == {"runs": 1}
        assert not watch.drain()


def test_a_round_that_was_waited_for_wakes_nobody(driver: MetricsExec) -> None:
    (watch,) = driver.watches()
    assert isinstance(watch, metrics_exec._Wake)
    with closing(watch):
        read(driver)
        assert not watch.drain()


def test_the_last_result_stands_while_the_next_is_awaited(
    driver: MetricsExec, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(driver)
    clock.now_s += 60
    monkeypatch.setattr(metrics_exec, "_PATIENCE_S", 0.0)
    os.mkfifo(folder / ".fifo")
    assert read(driver)["series"] == {"runs": 1}
    round_ = driver._round
    assert isinstance(round_, threading.Thread)
    (folder / ".fifo").write_text("go\n")
    round_.join(30)
    assert read(driver)["series"] == {"runs": 2}


def test_a_round_that_brings_nothing_new_wakes_nobody(
    driver: MetricsExec, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "slow", f"[ -p {folder}/.fifo ] && read line < {folder}/.fifo; echo same 1")
    (watch,) = driver.watches()
    assert isinstance(watch, metrics_exec._Wake)
    with closing(watch):
        read(driver)
        clock.now_s += 60
        monkeypatch.setattr(metrics_exec, "_PATIENCE_S", 0.0)
        os.mkfifo(folder / ".fifo")
        read(driver)
        round_ = driver._round
        assert isinstance(round_, threading.Thread)
        (folder / ".fifo").write_text("go\n")
        round_.join(30)
        assert not watch.drain()
