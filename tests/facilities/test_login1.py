"""Sessions over a real bus, from a made-up logind that may refuse, or lose one meanwhile."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.facilities import login1
from reconciler.facilities.dbus import Bus, BusError
from tests.bus import PrivateBus, Refusal, Reply, program, readable
from tests.drivers.logind_fake import NAME, FakeLogind, FakeSession

DENIED = "org.freedesktop.DBus.Error.AccessDenied"


class Guest(FakeLogind):
    """Denies to say anything of a session, or loses one after the next list."""

    denied = ""
    ending = ""

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if self.denied and path.endswith(self.denied):
            raise Refusal(DENIED, "not now")
        reply = super().answer(path, method, body)
        if method == "ListSessions" and self.ending:
            del self.sessions[self.ending]
        return reply


@pytest.fixture
def guest(system_bus: PrivateBus) -> Iterator[Guest]:
    fake = Guest({"2": FakeSession("alice", 1000), "3": FakeSession("bob", 1001)})
    with program(NAME, fake.answer) as fake.program:
        yield fake


@pytest.fixture
def bus(guest: Guest) -> Iterator[Bus]:
    with closing(Bus(*login1.told("SessionNew"), login1.SESSIONS_CHANGED)) as bus:
        yield bus


def test_sees_every_session(bus: Bus) -> None:
    assert [(id, found["Name"]) for id, found in login1.sessions(bus)] == [("2", "alice"), ("3", "bob")]


def test_of_too_many_the_first_are_asked(bus: Bus) -> None:
    found = login1.sessions(bus, lambda row: row[2] != "bob", 1)
    assert [id for id, _ in found] == ["3"]


def test_one_that_ends_meanwhile_is_left_out(guest: Guest, bus: Bus) -> None:
    guest.ending = "2"
    assert [id for id, _ in login1.sessions(bus)] == ["3"]


def test_one_that_cannot_be_seen_does_not_pass_for_one_that_ended(guest: Guest, bus: Bus) -> None:
    guest.denied = "_33"
    with pytest.raises(BusError, match="cannot GetAll: not now"):
        login1.sessions(bus)


def test_hears_of_sessions_alone(guest: Guest, bus: Bus) -> None:
    watch = bus.watch()
    login1.sessions(bus)
    watch.drain()
    assert guest.program is not None
    guest.program.emit(login1.MANAGER.path, login1.MANAGER.interface, "UserNew", "uo", 1000, "/x")
    guest.program.emit(login1.MANAGER.path, login1.MANAGER.interface, "SessionNew", "so", "9", "/x")
    assert readable(watch.fileno())
    assert watch.hear() == [("9", "/x")]


def test_is_there_where_systemd_runs(
    system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(login1, "_BOOTED", str(tmp_path))
    assert login1.there()
    monkeypatch.setattr(login1, "_BOOTED", str(tmp_path / "missing"))
    assert not login1.there()
