"""logind's driver over a real bus, against a made-up logind; tests/vm asks the real one."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers import fill, logind
from reconciler.drivers.logind import LogindPower, LogindSessions
from reconciler.errors import DriverError, Unsupported
from reconciler.facilities import login1
from reconciler.resource import Cancellable, Past, Watching
from reconciler.resources.power import Inhibitor, Power, Scheduled, Switch
from reconciler.resources.session import Desired, Session, Sessions
from reconciler.subjects.logins import Login, Station
from tests.bus import PrivateBus, Refusal, Reply, program, readable
from tests.drivers.logind_fake import NAME, NO_SESSION, UNKNOWN, FakeLogind, FakeSession

SESSIONS: Sessions = LogindSessions()  # hold the drivers to their ports, for the type checker
SWITCH: Switch = LogindPower()
WATCHING: tuple[Watching, ...] = (LogindSessions(), LogindPower())
CANCELLABLE: tuple[Cancellable, ...] = (LogindSessions(), LogindPower())

INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"


@pytest.fixture
def guest(system_bus: PrivateBus) -> Iterator[FakeLogind]:
    fake = FakeLogind()
    with program(NAME, fake.answer) as fake.program:
        yield fake


@pytest.fixture
def sessions(guest: FakeLogind) -> Iterator[LogindSessions]:
    with closing(LogindSessions()) as driver:
        yield driver


@pytest.fixture
def power(guest: FakeLogind) -> Iterator[LogindPower]:
    with closing(LogindPower()) as driver:
        yield driver


@pytest.fixture
def units(guest: FakeLogind) -> Iterator[list[tuple[Any, ...]]]:
    """What systemd is asked for; it has no timer to stop, as is the rule."""
    heard: list[tuple[Any, ...]] = []

    def answer(path: str, method: str, body: tuple[Any, ...]) -> Reply:
        heard.append((method, *body))
        if method == "StopUnit":
            raise Refusal("org.freedesktop.systemd1.NoSuchUnit", "not loaded")
        return "o", ("/org/freedesktop/systemd1/job/1",)

    with program("org.freedesktop.systemd1", answer):
        yield heard


def test_sees_sessions(guest: FakeLogind, sessions: LogindSessions) -> None:
    guest.sessions = {
        "2": FakeSession("alice", 1000, type="wayland", locked=True),
        "c1": FakeSession("gdm", 120, group="greeter", idle_since_us=1_767_225_600_000_000),
        "4": FakeSession("bob", 1001, seat="", tty="pts/0", state="online", service="sshd", host="192.0.2.7"),
    }
    guest.sessions["4"].since_us = 1_767_225_600_000_000
    guest.sessions["4"].awake_us = 12_500_000
    screen = Login(id="2", user="alice", uid=1000, seat="seat0", tty="tty2", service="login")
    ssh = Login(id="4", user="bob", uid=1001, tty="pts/0", remote=True, state="online", service="sshd")
    idle = "2026-01-01T00:00:00Z"
    assert sessions.sessions() == (
        replace(screen, type="wayland", locked=True, scope="session-2.scope"),
        replace(
            screen, id="c1", user="gdm", uid=120, group="greeter", idle_since=idle, scope="session-c1.scope"
        ),
        replace(ssh, scope="session-4.scope", host="192.0.2.7", since="2026-01-01T00:00:00Z", since_s=12.5),
    )


def test_sees_the_machine_around_them(guest: FakeLogind, sessions: LogindSessions) -> None:
    assert sessions.station() == Station()
    guest.lid_closed = True
    soon = sessions.station()  # it was asked just now
    assert soon == Station(again_s=soon.again_s)
    assert 0 < soon.again_s - sessions.clocks()[0] <= 5.0
    sessions._station = replace(soon, again_s=0.0)
    assert sessions.station() == Station(lid_closed=True, mains=False, idle_since="2026-01-01T00:00:00Z")


def test_marks_whom_the_policy_forbids(guest: FakeLogind, sessions: LogindSessions) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000), "3": FakeSession("root", 0)}
    sessions.forbidden_users = ("ro*",)
    assert {login.user: login.forbidden for login in sessions.sessions()} == {"alice": False, "root": True}


def test_locks_unlocks_and_ends(guest: FakeLogind, sessions: LogindSessions) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}
    sessions.lock("2")
    assert sessions.sessions()[0].locked
    sessions.unlock("2")
    assert not sessions.sessions()[0].locked
    sessions.end("2")
    assert sessions.sessions() == ()
    sessions.end("2")  # gone already is as well
    with pytest.raises(DriverError, match="cannot LockSession: No session '2' known"):
        sessions.lock("2")


def test_wakes_for_locks_logins_and_logouts(guest: FakeLogind, sessions: LogindSessions) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}
    (watch,) = sessions.watches()
    sessions.sessions()
    watch.drain()
    for act in (sessions.lock, sessions.unlock, sessions.end):
        act("2")
        assert readable(watch.fileno())
        assert watch.drain()
    assert guest.program is not None
    guest.program.emit("/org/freedesktop/login1", f"{NAME}.Manager", "SessionNew", "so", "9", "/x")
    assert readable(watch.fileno())
    assert watch.drain()


def test_a_kind_on_top_of_it(guest: FakeLogind, sessions: LogindSessions) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000), "c1": FakeSession("gdm", 120, group="greeter")}
    kind, desired = Session(sessions), Desired(state="locked")
    observed = kind.observe(desired, Past(generation=1))
    for action in kind.plan(desired, kind.diff(desired, observed)):
        kind.act(action)
    observed = kind.observe(desired, Past(generation=1))
    assert kind.verdict(desired, observed, kind.diff(desired, observed)).ready
    assert [id for id, session in guest.sessions.items() if session.locked] == ["2"]


def test_clocks(sessions: LogindSessions) -> None:
    boot_clock_s, now = sessions.clocks()
    assert boot_clock_s > 0
    assert now.endswith("Z")
    assert len(now) == 20


def test_sees_the_machine(guest: FakeLogind, power: LogindPower) -> None:
    guest.can = {"CanHibernate": "na", "CanSuspend": "no", "CanHalt": "challenge"}
    guest.inhibitors = [
        ("shutdown:sleep", "backup", "writing", "block", 0, 77),
        ("handle-lid-switch", "shell", "docked", "block", 1000, 78),
    ]
    guest.scheduled = ("reboot", 1_767_225_600_000_000)
    machine = power.machine()
    assert machine.able == {"off", "reboot", "halt"}
    assert machine.inhibitors == (
        Inhibitor(("handle-lid-switch",), "shell", "docked", "block", "uid 1000"),
        Inhibitor(("shutdown", "sleep"), "backup", "writing", "block", "root"),
    )
    assert machine.scheduled == Scheduled("reboot", "2026-01-01T00:00:00Z")
    assert machine.state == "running"
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert machine.boot_id == file.read().strip()
    assert power.machine() == machine


def test_nothing_is_scheduled_as_a_rule(guest: FakeLogind, power: LogindPower) -> None:
    assert power.machine().scheduled is None


@pytest.mark.parametrize(
    ("verb", "heed", "heard"),
    [
        pytest.param("off", True, ("PowerOffWithFlags", 1), id="off"),
        pytest.param("halt", True, ("HaltWithFlags", 1), id="halt"),
        pytest.param("reboot", True, ("RebootWithFlags", 1), id="reboot"),
        pytest.param("suspend", True, ("SuspendWithFlags", 1), id="suspend"),
        pytest.param("hibernate", False, ("HibernateWithFlags", 16), id="hibernate, heeding nobody"),
    ],
)
def test_brings(guest: FakeLogind, power: LogindPower, verb: Any, heed: bool, heard: object) -> None:
    power.bring(verb, message="", heed=heed, deadline_s=None)
    assert guest.heard == [heard]


def test_a_shutdown_is_seen_and_wakes(guest: FakeLogind, power: LogindPower) -> None:
    watch, _ = power.watches()
    power.machine()
    watch.drain()
    power.bring("off", message="Bye", heed=True, deadline_s=None)
    assert guest.heard[0] == ("SetWallMessage", "Bye", True)
    assert readable(watch.fileno())
    assert watch.drain()
    assert power.machine().state == "shutting-down"


def test_an_announced_shutdown_wakes(
    power: LogindPower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shutdown"
    monkeypatch.setattr(logind, "_SCHEDULED", str(folder))
    _, watch = power.watches()
    folder.mkdir()  # by logind, for the first one
    (folder / "scheduled.new").write_text("USEC=1\n")
    watch.drain()
    (folder / "scheduled.new").rename(folder / "scheduled")
    assert readable(watch.fileno())
    assert watch.drain()
    (folder / "scheduled").unlink()
    assert readable(watch.fileno())
    assert watch.drain()
    watch.close()  # type: ignore[attr-defined]


def test_older_logind(guest: FakeLogind, power: LogindPower) -> None:
    guest.refuses = {"RebootWithFlags": (UNKNOWN, "no such method")}
    power.bring("reboot", message="", heed=True, deadline_s=None)
    assert guest.heard == [("Reboot", False)]


def test_logind_that_knows_no_flag_to_skip_inhibitors(guest: FakeLogind, power: LogindPower) -> None:
    real, flags = guest.answer, []

    def answer(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method == "PowerOffWithFlags":
            flags.append(body[0])
            if body[0] not in (0, 1):
                raise Refusal(INVALID, "Invalid flags parameter")
        return real(path, method, body)

    assert guest.program is not None
    guest.program._answer = answer
    power.bring("off", message="", heed=False, deadline_s=None)
    assert flags == [16, 0]


@pytest.mark.parametrize(
    ("can", "why"),
    [
        pytest.param("na", "the hardware or its kernel cannot", id="na"),
        pytest.param("no", "logind forbids it", id="no"),
    ],
)
def test_cannot(guest: FakeLogind, power: LogindPower, can: str, why: str) -> None:
    guest.can = {"CanSuspend": can}
    with pytest.raises(Unsupported, match=f"cannot suspend: {why}"):
        power.bring("suspend", message="", heed=True, deadline_s=None)
    assert guest.heard == []


def test_logind_that_has_never_heard_of_it(guest: FakeLogind, power: LogindPower) -> None:
    guest.refuses = {"CanHalt": (UNKNOWN, "no such method")}
    with pytest.raises(Unsupported, match="logind does not know how"):
        power.bring("halt", message="", heed=True, deadline_s=None)


def test_inhibited_just_now(guest: FakeLogind, power: LogindPower) -> None:
    guest.refuses = {"PowerOffWithFlags": (DENIED, "Access denied to root due to active block inhibitor")}
    with pytest.raises(DriverError, match="cannot off: somebody inhibits it"):
        power.bring("off", message="", heed=True, deadline_s=None)


def test_a_lost_answer_is_no_failure(guest: FakeLogind, power: LogindPower) -> None:
    guest.silent = {"PowerOffWithFlags"}
    asked = threading.Event()
    real = guest.answer

    def answer(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method == "PowerOffWithFlags":
            asked.set()
        return real(path, method, body)

    assert guest.program is not None
    guest.program._answer = answer
    thread = threading.Thread(
        target=power.bring, args=("off",), kwargs={"message": "", "heed": True, "deadline_s": None}
    )
    thread.start()
    assert asked.wait(10)
    power.cancel()
    thread.join(10)
    assert not thread.is_alive()


def test_a_deadline_is_set_before_anything_is_stopped(
    guest: FakeLogind, power: LogindPower, units: list[tuple[Any, ...]]
) -> None:
    power.bring("off", message="", heed=True, deadline_s=90)
    assert guest.heard == [("PowerOffWithFlags", 1)]
    (stop, start) = units
    assert stop[0] == "StopUnit"
    method, timer, mode, properties, ((service, how),) = start
    assert (method, timer, mode) == ("StartTransientUnit", "guest-reconciler-deadline.timer", "replace")
    assert service == "guest-reconciler-deadline.service"
    assert dict(properties)["TimersMonotonic"] == ("a(st)", [("OnActiveSec", 90_000_000)])
    assert dict(properties)["DefaultDependencies"] == dict(how)["DefaultDependencies"] == ("b", False)
    signature, ((shell, (*_, script), _),) = dict(how)["ExecStart"]
    assert (signature, shell) == ("a(sasb)", "/bin/sh")
    assert script.endswith("exec /bin/systemctl --force poweroff")


def test_of_a_refused_shutdown_nothing_is_left(
    guest: FakeLogind, power: LogindPower, units: list[tuple[Any, ...]]
) -> None:
    guest.refuses = {"HaltWithFlags": ("org.freedesktop.login1.OperationInProgress", "busy")}
    with pytest.raises(DriverError, match="cannot HaltWithFlags: busy"):
        power.bring("halt", message="Bye", heed=True, deadline_s=1)
    assert guest.heard == [("SetWallMessage", "Bye", True), ("SetWallMessage", "", True)]
    assert [method for method, *_ in units] == ["StopUnit", "StartTransientUnit", "StopUnit"]


def test_without_systemd_there_is_no_deadline(guest: FakeLogind, power: LogindPower) -> None:
    with pytest.raises(DriverError, match="cannot set a deadline for off"):
        power.bring("off", message="", heed=True, deadline_s=1)
    assert guest.heard == []


def test_fills_both_ports_where_systemd_runs_and_a_bus_is(
    system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    monkeypatch.setattr(login1, "_BOOTED", str(tmp_path))
    assert isinstance(fill(Session), LogindSessions)
    assert isinstance(fill(Power), LogindPower)
    monkeypatch.setattr(login1, "_BOOTED", f"{tmp_path}/missing")
    with pytest.raises(Unsupported, match="cannot do session: this guest has no logind on the system bus"):
        fill(Session)


def test_no_such_session_is_named_as_logind_does() -> None:
    assert NO_SESSION == "org.freedesktop.login1.NoSuchSession"
