"""Who is there, over a real bus from a made-up logind; tests/vm asks the real one, and PAM."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from reconciler.drivers.user import logind
from reconciler.drivers.user.logind import Logind
from reconciler.errors import DriverError
from reconciler.facilities.pam import Inquiry
from reconciler.resource import Cancellable, Watching
from reconciler.resources.user import Facility, Logins
from reconciler.secret import Secret
from reconciler.subjects.seating import Login
from tests.bus import PrivateBus, Refusal, Reply, program, readable
from tests.drivers.logind_fake import NAME, NO_SESSION, FakeLogind, FakeSession

FACILITY: Facility = Logind()  # hold the driver to its ports, for the type checker
LOGINS: Logins = Logind()
WATCHING: Watching = Logind()
CANCELLABLE: Cancellable = Logind()


class Guest(FakeLogind):
    """With what only this driver asks; sessions may be stubborn, or come late."""

    stubborn = False
    coming: FakeSession | None = None  # after the next look

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method == "GetSession":
            if body[0] not in self.sessions:
                raise Refusal(NO_SESSION, f"No session '{body[0]}' known")
            return "o", (f"/org/freedesktop/login1/session/_3{body[0]}",)
        if method == "TerminateSession" and self.stubborn:
            self.heard.append((method, *body))
            return "", ()
        reply = super().answer(path, method, body)
        if method == "KillSession":
            self.sessions.pop(body[0])
        if method == "ListSessions" and self.coming:
            self.sessions["9"], self.coming = self.coming, None
        return reply


@pytest.fixture
def guest(system_bus: PrivateBus) -> Iterator[Guest]:
    fake = Guest()
    with program(NAME, fake.answer) as fake.program:
        yield fake


@pytest.fixture
def driver(guest: Guest) -> Iterator[Logind]:
    with closing(Logind()) as driver:
        yield driver


def test_sees_people_and_nobody_else(guest: Guest, driver: Logind) -> None:
    guest.sessions = {
        "2": FakeSession("alice", 1000, type="wayland", locked=True),
        "4": FakeSession("bob", 1001, seat="", tty="pts/0", state="online"),
        "5": FakeSession("gdm", 120, group="greeter"),
        "6": FakeSession("carol", 1002, state="closing"),
    }
    driver.forbidden_users = ("b*",)
    assert driver.logins("alice") == (
        Login(id="2", user="alice", seat="seat0", tty="tty2", type="wayland", active=True, locked=True),
        Login(id="4", user="bob", tty="pts/0", forbidden=True),
    )


def test_sees_those_at_seats_and_the_user_first(
    guest: Guest, driver: Logind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logind, "_LOGINS_MAX", 2)
    guest.sessions = {str(n): FakeSession("bob", 1001, seat="") for n in range(40)}
    guest.sessions |= {"50": FakeSession("alice", 1000, seat=""), "51": FakeSession("carol", 1002)}
    assert [login.id for login in driver.logins("alice")] == ["51", "50"]


def test_nobody_is_overlooked_whose_session_cannot_be_read(
    guest: Guest, driver: Logind, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}

    def refused(path: str) -> None:
        raise Refusal("org.freedesktop.DBus.Error.LimitsExceeded", "too many calls")

    def gone(path: str) -> None:
        raise Refusal("org.freedesktop.DBus.Error.UnknownObject", "no such object")

    monkeypatch.setattr(guest, "_properties", refused)
    with pytest.raises(DriverError, match="too many calls"):
        driver.logins("bob")
    monkeypatch.setattr(guest, "_properties", gone)
    assert driver.logins("bob") == ()


def test_locks_and_waits_for_the_locker(guest: Guest, driver: Logind) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}
    assert driver.lock("2", 1.0)
    assert guest.sessions["2"].locked
    assert driver.lock("7", 1.0)  # who is gone sees nothing any more


def test_a_deaf_locker_is_said(guest: Guest, driver: Logind, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}
    monkeypatch.setattr(guest, "_session", lambda method, id: None)
    assert not driver.lock("2", 0.0)


def test_what_cannot_be_seen_is_not_taken_for_locked(
    guest: Guest, driver: Logind, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}
    monkeypatch.setattr(guest, "_properties", lambda path: {"Name": ("s", "alice")})  # no hint at all
    assert not driver.lock("2", 0.0)

    def refused(path: str) -> None:
        raise Refusal("org.freedesktop.DBus.Error.LimitsExceeded", "too many calls")

    monkeypatch.setattr(guest, "_properties", refused)
    with pytest.raises(DriverError, match="too many calls"):
        driver.lock("2", 0.0)


def test_ends_politely_and_then_kills(guest: Guest, driver: Logind) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000), "3": FakeSession("bob", 1001)}
    driver.end("2", 1.0)
    assert guest.heard == [("TerminateSession", "2")]
    guest.stubborn = True
    driver.end("3", 0.0)
    assert guest.heard[-1] == ("KillSession", "3", "all", 9)
    assert guest.sessions == {}
    guest.stubborn = False
    driver.end("3", 0.0)  # gone already


def test_says_who_does_not_die(guest: Guest, driver: Logind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logind, "_DEATH_S", 0.0)
    monkeypatch.setattr(driver, "_ended", lambda session, within_s: False)
    guest.sessions = {"2": FakeSession("alice", 1000)}
    guest.stubborn = True
    with pytest.raises(DriverError, match="cannot end session 2"):
        driver.end("2", 0.0)


def test_awaits_who_was_let_in(guest: Guest, driver: Logind) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000), "3": FakeSession("bob", 1001)}
    assert driver.await_login("alice", "seat0", frozenset({"2"}), 0.0) == ""
    guest.sessions["8"] = FakeSession("alice", 1000, tty="tty5", state="opening")
    assert driver.await_login("alice", "seat0", frozenset({"2"}), 0.0) == ""
    guest.coming = FakeSession("alice", 1000, tty="tty5")
    assert driver.await_login("alice", "seat0", frozenset({"2"}), 10.0) == "9"


def test_activates(guest: Guest, driver: Logind) -> None:
    driver.activate("2")
    assert guest.heard == [("ActivateSession", "2")]


def test_wakes_for_logins(guest: Guest, driver: Logind) -> None:
    guest.sessions = {"2": FakeSession("alice", 1000)}
    (watch,) = driver.watches()
    driver.logins("alice")
    watch.drain()
    driver.end("2", 1.0)
    assert readable(watch.fileno())
    assert watch.drain()


@pytest.mark.parametrize(
    ("patterns", "trusted"),
    [
        pytest.param((), False, id="none"),
        pytest.param(("kiosk",), True, id="by name"),
        pytest.param(("ki*",), False, id="not by pattern"),
        pytest.param(("other",), False, id="another"),
    ],
)
def test_trusts_whom_the_policy_names(patterns: tuple[str, ...], trusted: bool) -> None:
    driver = Logind()
    driver.passwordless_users = patterns
    assert driver.trusted("kiosk") is trusted


def test_asks_pam(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Inquiry, object]] = []

    def judged(inquiry: Inquiry, take: object) -> str:
        asked.append((inquiry, take))
        return "ok"

    def take() -> Secret:
        raise AssertionError("not by us")

    monkeypatch.setattr(logind, "judged", judged)
    assert LOGINS.check("alice", "tty2", take) == "ok"
    assert LOGINS.check("alice", "", None) == "ok"
    assert asked == [
        (Inquiry(user="alice", credential=True, tty="tty2"), take),
        (Inquiry(user="alice", credential=False), None),
    ]
