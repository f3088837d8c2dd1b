"""Tasks over a real bus, from a made-up systemd that really starts what it is asked to."""

import getpass
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.run import systemd1
from reconciler.drivers.run.systemd1 import Systemd1
from reconciler.errors import DriverError, Forbidden
from reconciler.resource import Cancellable, Watching
from reconciler.resources.run import Commands
from reconciler.subjects.task import Outcome, Task
from tests.bus import PrivateBus, Refusal, Reply, program, readable

COMMANDS: Commands = Systemd1()  # holds the driver to its port, for the type checker
WATCHING: Watching = Systemd1()
CANCELLABLE: Cancellable = Systemd1()

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
ME = getpass.getuser()
ECHO = Task(name="echo", token="1", argv=("/bin/echo", "a b"), user=ME)
SECRET = "hunter2-of-the-tests"


class FakeSystemd:
    """Starts units' programs; `result` is what it says of them, as if it had looked."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, Any]] = {}
        self.shown: list[Any] = []  # what anybody may read of a unit
        self.refuses = ""  # the name of an error
        self.silent = False
        self.slow = False  # neither an answer nor a unit as yet
        self.starts = True
        self.result = "success"
        self.threads: list[threading.Thread] = []

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        match method:
            case "StartTransientUnit":
                return self.start(*body)
            case "GetUnit" if body[0] in self.units:
                return "o", (f"{PATH}/unit/x",)
            case "GetUnit":
                raise Refusal(f"{NAME}.NoSuchUnit", "not loaded")
            case _:
                assert (method, body) == ("GetAll", (f"{NAME}.Unit",))
                return "a{sv}", ({"ActiveState": ("s", "active"), "Job": ("(uo)", (0, "/"))},)

    def start(self, unit: str, mode: str, properties: list[Any], _: list[Any]) -> Reply | None:
        assert mode == "fail"
        if self.refuses or unit in self.units:
            raise Refusal(self.refuses or f"{NAME}.UnitExists", "it does not want to")
        self.shown.append((unit, properties))
        if self.slow:
            return None
        found = {name: value for name, (_, value) in properties}
        self.units[unit] = found
        if self.starts:
            self.threads.append(threading.Thread(target=self.live, args=(unit,)))
            self.threads[-1].start()
        return None if self.silent else ("o", (f"{PATH}/job/1",))

    def live(self, unit: str) -> None:
        for phase in ("ExecStart", "ExecStopPost"):
            ((_, argv, _),) = self.units[unit][phase]
            subprocess.run(argv, env={**os.environ, "SERVICE_RESULT": self.result}, timeout=60, check=False)
        del self.units[unit]

    def settle(self) -> None:
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def systemd(system_bus: PrivateBus) -> Iterator[FakeSystemd]:
    fake = FakeSystemd()
    with program(NAME, fake.answer):
        yield fake
        fake.settle()


@pytest.fixture
def driver(systemd: FakeSystemd, tmp_path: Path) -> Iterator[Systemd1]:
    with closing(at(tmp_path)) as driver:
        yield driver


def at(folder: Path) -> Systemd1:
    return Systemd1(str(folder / "runs"), str(folder / "kept"))


def start(driver: Systemd1, task: Task, secret: bytes = b"") -> None:
    driver.start(task, secret, (task,))


def outcome(driver: Systemd1, task: Task) -> Outcome | None:
    return driver.runs((task,)).get(task.name)


def seen(driver: Systemd1, task: Task) -> Outcome:
    return driver.runs((task,))[task.name]


def test_a_task_begins_ends_and_is_kept(driver: Systemd1, systemd: FakeSystemd, tmp_path: Path) -> None:
    (watch,) = driver.watches()
    assert outcome(driver, ECHO) is None
    start(driver, ECHO)
    assert readable(watch.fileno(), 60)
    systemd.settle()
    assert watch.drain()
    found = seen(driver, ECHO)
    assert (found.reason, found.exit_code, found.kept) == ("Succeeded", 0, False)
    assert found.stdout
    assert found.stdout.head == "a b\n"
    driver.keep(ECHO)
    assert outcome(driver, ECHO) == replace(found, kept=True)
    assert os.listdir(tmp_path / "runs") == []
    driver.keep(ECHO)  # by an agent that was killed before it knew
    assert outcome(driver, ECHO) == replace(found, kept=True)
    assert outcome(driver, replace(ECHO, token="2")) is None


def test_while_it_runs(driver: Systemd1, systemd: FakeSystemd) -> None:
    systemd.starts = False
    start(driver, ECHO)
    found = seen(driver, ECHO)
    assert (found.reason, bool(found.started_at)) == ("Running", True)


def test_whatever_happens_it_does_not_begin_twice(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path
) -> None:
    start(driver, ECHO)
    systemd.settle()
    start(driver, ECHO)
    driver.keep(ECHO)
    with closing(at(tmp_path)) as another:  # with all else forgotten
        start(another, ECHO)
    assert len(systemd.shown) == 1


def test_a_unit_that_is_there_already_is_this_one(driver: Systemd1, systemd: FakeSystemd) -> None:
    systemd.refuses = f"{NAME}.UnitExists"
    start(driver, ECHO)
    assert seen(driver, ECHO).reason == "Lost"  # as far as anybody can tell


def test_without_an_answer_it_may_have_begun(
    driver: Systemd1, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd1, "_START_S", 0.2)
    systemd.silent = True
    start(driver, ECHO)
    systemd.settle()
    assert seen(driver, ECHO).reason == "Succeeded"


def test_a_unit_that_systemd_has_not_answered_for_may_still_come(
    driver: Systemd1, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd1, "_START_S", 0.2)
    systemd.slow = True
    start(driver, ECHO)
    start(driver, replace(ECHO, name="other"))
    found = seen(driver, ECHO)
    assert (found.reason, found.beginning) == ("Running", True)
    monkeypatch.setattr(systemd1, "_BEGIN_S", 0.0)
    assert seen(driver, ECHO).reason == "Lost"
    unit, properties = systemd.shown[0]
    systemd.units[unit] = {name: value for name, (_, value) in properties}
    found = seen(driver, ECHO)
    assert (found.reason, found.beginning) == ("Running", False)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        pytest.param(replace(ECHO, user="nobody-like-this"), "no user", id="user"),
        pytest.param(replace(ECHO, group="nogroup-like-this"), "no group", id="group"),
        pytest.param(replace(ECHO, argv=("/does/not/exist",)), "no program", id="program"),
        pytest.param(replace(ECHO, argv=("/usr/bin",)), "no program", id="a folder"),
        pytest.param(replace(ECHO, cwd="/does/not/exist"), "no folder", id="folder"),
    ],
)
def test_what_cannot_begin_has_not_begun(
    driver: Systemd1, systemd: FakeSystemd, task: Task, why: str
) -> None:
    with pytest.raises(DriverError, match=f"cannot run echo: there is {why}"):
        start(driver, task)
    assert outcome(driver, task) is None
    assert systemd.shown == []


def test_what_systemd_refuses_has_not_begun(driver: Systemd1, systemd: FakeSystemd, tmp_path: Path) -> None:
    systemd.refuses = "org.freedesktop.DBus.Error.AccessDenied"
    with pytest.raises(DriverError, match="it does not want to"):
        start(driver, ECHO)
    assert outcome(driver, ECHO) is None
    assert (os.listdir(tmp_path / "runs"), os.listdir(tmp_path / "kept")) == ([], [])
    systemd.refuses = ""
    start(driver, ECHO)
    systemd.settle()
    assert outcome(driver, ECHO)


def test_what_cannot_be_written_down_does_not_begin(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("")
    with pytest.raises(DriverError, match="cannot run echo: File exists"):
        start(driver, ECHO)
    assert systemd.shown == []


def test_a_secret_is_in_no_file_and_in_nothing_that_others_see(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path
) -> None:
    task = Task(name="login", token="1", argv=("/usr/bin/wc", "-c"), user=ME, secret=True)
    start(driver, task, SECRET.encode())
    systemd.settle()
    found = seen(driver, task)
    assert found.stdout
    assert found.stdout.head == f"{len(SECRET)}\n"
    assert SECRET not in repr(systemd.shown)
    assert [path.name for path in (tmp_path / "runs").glob("*.input")] == []
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(SECRET in text for text in written)


def test_nothing_of_a_task_is_in_what_others_see_of_its_unit(driver: Systemd1, systemd: FakeSystemd) -> None:
    task = replace(ECHO, argv=("/bin/sh",), script="echo s1", environment=(("X", "s2"),), stdin="s3")
    start(driver, task)
    systemd.settle()
    assert not any(word in repr(systemd.shown) for word in ("s1", "s2", "s3"))


def test_a_secret_that_nobody_comes_for_is_dropped(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd1, "_START_S", 0.2)
    systemd.starts = False
    start(driver, replace(ECHO, secret=True), SECRET.encode())
    assert [path.name for path in (tmp_path / "runs").glob("*.input")] == []


def test_where_its_socket_is_gone_it_has_begun_all_the_same(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = systemd1._hand_over

    def tidy(listener: socket.socket, secret: bytes) -> None:
        hand_over(listener, secret)
        for path in (tmp_path / "runs").glob("*.input"):
            path.unlink()

    monkeypatch.setattr(systemd1, "_hand_over", tidy)
    start(driver, replace(ECHO, secret=True), SECRET.encode())
    systemd.settle()
    assert seen(driver, ECHO).reason == "Succeeded"


def test_a_socket_that_cannot_be_closed_to_others_is_taken_away(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(DriverError, match="Operation not permitted"):
        start(driver, replace(ECHO, secret=True), SECRET.encode())
    assert os.listdir(tmp_path / "runs") == []
    assert systemd.shown == []


@pytest.mark.parametrize(
    ("end", "word", "reason", "words"),
    [
        pytest.param("kill -TERM $PPID; kill -TERM $$", "timeout", "DeadlinePassed", "deadline", id="late"),
        pytest.param("kill -TERM $PPID; kill -TERM $$", "success", "Stopped", "from outside", id="stopped"),
        pytest.param("kill -TERM $PPID; kill -TERM $$", "oom-kill", "Stopped", "oom-kill", id="memory"),
        pytest.param("exit 0", "timeout", "Succeeded", "exit code 0", id="what it left was killed"),
        pytest.param("kill -KILL $PPID; sleep 0.1", "signal", "Lost", "without a result", id="no relay"),
    ],
)
def test_how_it_ended(
    driver: Systemd1, systemd: FakeSystemd, end: str, word: str, reason: str, words: str
) -> None:
    task = replace(ECHO, argv=("/bin/sh",), script=end)
    systemd.result = word
    start(driver, task)
    systemd.settle()
    assert (seen(driver, task).reason, words in str(seen(driver, task))) == (reason, True)


def test_after_another_boot_what_ran_is_lost_and_what_is_kept_is_known(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(ECHO, token="2")
    for task in (ECHO, other):
        start(driver, task)
    systemd.settle()
    driver.keep(ECHO)
    subprocess.run(["rm", "-r", tmp_path / "runs"], check=True)
    monkeypatch.setattr(systemd1, "boot_id", lambda: "the next")
    known, lost = outcome(driver, ECHO), outcome(driver, other)
    assert known
    assert lost
    assert (known.reason, lost.reason) == ("Succeeded", "Lost")
    assert "the guest went down" in str(lost)
    start(driver, other)
    assert len(systemd.shown) == 2


def test_what_is_kept_is_read_once_unless_it_changes(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(driver, ECHO)
    systemd.settle()
    driver.keep(ECHO)
    known = outcome(driver, ECHO)
    with monkeypatch.context() as blind:
        blind.setattr(systemd1, "_read", None)
        assert outcome(driver, ECHO) == known
    (record,) = (tmp_path / "kept").iterdir()
    record.write_text(record.read_text().replace('"exit_code": 0', '"exit_code": 37'))
    assert seen(driver, ECHO).exit_code == 37
    record.unlink()
    assert outcome(driver, ECHO) is None


def test_a_record_that_makes_no_sense_is_none(driver: Systemd1, systemd: FakeSystemd, tmp_path: Path) -> None:
    start(driver, ECHO)
    systemd.settle()
    (record,) = (tmp_path / "kept").iterdir()
    record.write_text("{")
    assert outcome(driver, ECHO) is None
    start(driver, ECHO)
    assert len(systemd.shown) == 1  # whatever it was, it began


def test_room_is_made_by_the_oldest_that_nobody_wants(
    driver: Systemd1, systemd: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd1, "_KEPT_MAX", 2)
    tasks = [replace(ECHO, token=str(number)) for number in range(5)]
    for number, task in enumerate(tasks):
        driver.start(task, b"", (tasks[0], task))
        systemd.settle()
        with suppress(FileNotFoundError):
            for path in (tmp_path / "kept").glob(f"{systemd1._id(task)}.json"):
                os.utime(path, (number, number))
    known = [task.token for task in tasks if outcome(driver, task)]
    assert known == ["0", "2", "3", "4"]  # the first is wanted, the last has just begun
    kept = [json.loads(path.read_text()) for path in (tmp_path / "kept").iterdir()]
    assert {record["token"] for record in kept if "result" in record} == {"2", "3"}


def test_a_link_around_the_policy_is_seen(tmp_path: Path, system_bus: PrivateBus) -> None:
    driver = at(tmp_path)
    link, folder = tmp_path / "link", tmp_path / "folder"
    link.symlink_to("/bin/echo")
    folder.symlink_to("/etc")
    disguised = replace(ECHO, argv=(str(link),))
    inside = replace(ECHO, cwd=str(folder))
    driver.check((ECHO, disguised, inside))
    driver.forbidden_commands = ("/bin/echo",)
    with pytest.raises(Forbidden, match=r"forbid\.commands"):
        driver.check((disguised,))
    driver.forbidden_commands, driver.forbidden_paths = (), ("/etc",)
    with pytest.raises(Forbidden, match=r"forbid\.paths"):
        driver.check((inside,))


def test_the_policys_users_are_asked_about(tmp_path: Path) -> None:
    driver = at(tmp_path)
    driver.check((ECHO,))
    driver.forbidden_users = (ME,)
    with pytest.raises(Forbidden, match=rf"cannot manage run of {ME}: .* \(forbid\.users\)"):
        driver.check((ECHO,))


def test_names_of_files_and_units_are_short_and_of_one_task() -> None:
    longest = [Task(name="n" * 48, token=mark * 128, argv=("/x",)) for mark in "~/?a"]
    ids = {systemd1._id(task) for task in longest}
    assert len(ids) == len(longest)
    assert all(len(f"{id}.closed.part") <= 255 and len(systemd1._unit(id)) <= 255 for id in ids)
    assert not any("/" in id for id in ids)
