"""Who is logged in, over a real bus from a made-up logind; tests/vm asks the real one."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from reconciler.drivers import login1
from reconciler.drivers.login1 import Login1, session, user
from reconciler.errors import DriverError
from reconciler.resource import Cancellable, Json, Watching
from reconciler.resources.report import Source
from tests.bus import FakeProgram, PrivateBus, Refusal, Reply, program, readable

SOURCE: Source = Login1()  # holds the driver to its port, for the type checker
WATCHING: Watching = Login1()
CANCELLABLE: Cancellable = Login1()

NAME = "org.freedesktop.login1"
PATH = "/org/freedesktop/login1"
NOON_US = 1_767_268_800_000_000

SCREEN = {
    "Name": ("s", "alice"),
    "User": ("(uo)", (1000, f"{PATH}/user/_1000")),
    "Seat": ("(so)", ("seat0", f"{PATH}/seat/seat0")),
    "TTY": ("s", "tty2"),
    "Display": ("s", ":0"),
    "Type": ("s", "x11"),
    "Class": ("s", "user"),
    "State": ("s", "active"),
    "Active": ("b", True),
    "Remote": ("b", False),
    "LockedHint": ("b", True),
    "IdleHint": ("b", True),
    "IdleSinceHint": ("t", NOON_US),
    "Timestamp": ("t", NOON_US - 3_600_000_000),
}
SSH = {
    **SCREEN,
    "Name": ("s", "bob"),
    "User": ("(uo)", (1001, f"{PATH}/user/_1001")),
    "Seat": ("(so)", ("", "/")),
    "TTY": ("s", "pts/0"),
    "Display": ("s", ""),
    "Type": ("s", "tty"),
    "Remote": ("b", True),
    "RemoteHost": ("s", "192.0.2.9"),
    "LockedHint": ("b", False),
    "IdleHint": ("b", False),
}
ALICE = {
    "UID": ("u", 1000),
    "State": ("s", "active"),
    "Linger": ("b", False),
    "Timestamp": ("t", NOON_US),
    "Sessions": ("a(so)", [("2", f"{PATH}/session/_32")]),
}
SCREEN_TOLD = {
    "user": "alice",
    "uid": 1000,
    "type": "x11",
    "class": "user",
    "state": "active",
    "active": True,
    "remote": False,
    "locked": True,
    "idle": True,
    "seat": "seat0",
    "tty": "tty2",
    "display": ":0",
    "since": "2026-01-01T11:00:00Z",
    "idleSince": "2026-01-01T12:00:00Z",
}


class FakeLogind:
    def __init__(self) -> None:
        self.sessions = {"2": ("_32", 1000, "alice", SCREEN), "5": ("_35", 1001, "bob", SSH)}
        self.users: dict[str, tuple[int, Any]] = {"alice": (1000, ALICE)}
        self.gone: set[str] = set()
        self.denied: set[str] = set()
        self.silent = False

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if self.silent:
            return None
        if method == "ListSessions":
            rows = [
                (id, uid, name, "", f"{PATH}/session/{last}")
                for id, (last, uid, name, _) in self.sessions.items()
            ]
            return "a(susso)", (rows,)
        if method == "ListUsers":
            return "a(uso)", ([(uid, name, f"{PATH}/user/_{uid}") for name, (uid, _) in self.users.items()],)
        if path in self.gone:
            raise Refusal("org.freedesktop.DBus.Error.UnknownObject", "gone")
        if path in self.denied:
            raise Refusal("org.freedesktop.DBus.Error.AccessDenied", "not now")
        found = {f"{PATH}/session/{last}": known for last, _, _, known in self.sessions.values()}
        found |= {f"{PATH}/user/_{uid}": known for uid, known in self.users.values()}
        return "a{sv}", (found[path],)


@pytest.fixture
def logind(system_bus: PrivateBus) -> FakeLogind:
    return FakeLogind()


@pytest.fixture
def guest(logind: FakeLogind) -> Iterator[FakeProgram]:
    with program(NAME, logind.answer) as fake:
        yield fake


@pytest.fixture
def driver(guest: FakeProgram) -> Iterator[Login1]:
    with closing(Login1()) as driver:
        yield driver


def test_sessions(driver: Login1) -> None:
    told = driver.read("sessions")
    assert list(told) == ["2", "5"]
    assert told["2"] == SCREEN_TOLD
    bob = told["5"]
    assert (bob["user"], bob["remote"], bob["remoteHost"], bob["tty"]) == ("bob", True, "192.0.2.9", "pts/0")
    assert not {"seat", "display", "idleSince"} & set(bob)


def test_users(driver: Login1) -> None:
    assert driver.read("users") == {
        "alice": {
            "uid": 1000,
            "state": "active",
            "lingering": False,
            "sessions": ["2"],
            "since": "2026-01-01T12:00:00Z",
        }
    }


def test_a_session_that_ends_while_it_is_listed_is_left_out(driver: Login1, logind: FakeLogind) -> None:
    logind.gone.add(f"{PATH}/session/_32")
    assert list(driver.read("sessions")) == ["5"]


def test_one_that_cannot_be_seen_does_not_pass_for_one_that_ended(driver: Login1, logind: FakeLogind) -> None:
    logind.denied.add(f"{PATH}/session/_32")
    with pytest.raises(DriverError, match="cannot GetAll: not now"):
        driver.read("sessions")


def test_nobody(driver: Login1, logind: FakeLogind) -> None:
    logind.sessions.clear()
    logind.users.clear()
    assert (driver.read("sessions"), driver.read("users")) == ({}, {})


def test_very_many_are_bounded(driver: Login1, logind: FakeLogind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login1, "_LOGINS_MAX", 1)
    assert list(driver.read("sessions")) == ["2"]


def test_a_logind_that_hangs_is_not_waited_for(
    driver: Login1, logind: FakeLogind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login1, "_DEADLINE_S", 0.2)
    logind.silent = True
    began_s = time.monotonic()
    with pytest.raises(DriverError):
        driver.read("sessions")
    assert time.monotonic() - began_s < 3


def test_no_logind(system_bus: PrivateBus) -> None:
    with closing(Login1()) as driver, pytest.raises(DriverError):
        driver.read("users")


SESSION = "9", f"{PATH}/session/_39"
UNLOCKED: Any = f"{NAME}.Session", {"LockedHint": ("b", False)}, []
CHANGED = "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as"


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param((PATH, f"{NAME}.Manager", "SessionNew", "so", *SESSION), id="login"),
        pytest.param((PATH, f"{NAME}.Manager", "SessionRemoved", "so", *SESSION), id="logout"),
        pytest.param((f"{PATH}/session/_32", *CHANGED, *UNLOCKED), id="unlocked"),
    ],
)
def test_wakes(driver: Login1, guest: FakeProgram, signal: Any) -> None:
    (watch,) = driver.watches()
    driver.read("sessions")  # begins the watch
    assert not watch.drain()
    guest.emit(*signal)
    assert readable(watch.fileno())
    assert watch.drain()


@pytest.mark.parametrize("told", [pytest.param(session({}), id="session"), pytest.param(user({}), id="user")])
def test_a_logind_that_says_little_is_survived(told: Json) -> None:
    assert all(value is not None for value in told.values())
