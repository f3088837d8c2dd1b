"""A real login session: locked, unlocked and sent away through logind."""

import time

import pytest

from tests.vm.guest import Guest
from tests.vm.product import session_of
from tests.vm.wire import Host

pytestmark = pytest.mark.vm


def is_locked(guest: Guest, session: str) -> bool:
    return guest.text(f"loginctl show-session {session} -P LockedHint") == "yes"


def test_a_session_locks_and_unlocks(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    status = host.converge({"session": "locked"})
    assert is_locked(guest, session)
    assert status["observed"]["session"]["sessions"][session]["user"] == "alice"
    host.converge({"session": "unlocked"})
    assert not is_locked(guest, session)


def test_who_unlocks_is_not_fought(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.converge({"session": "locked"})
    guest.run(f"loginctl unlock-session {session}")
    assert host.reason("session", "Drifted")["status"] == "False"
    time.sleep(3)
    assert not is_locked(guest, session)


def test_locked_until_insists(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.converge({"session": {"state": "locked", "lockedUntil": "2099-01-01T00:00:00Z"}})
    guest.run(f"loginctl unlock-session {session}")
    host.reason("session", "Drifted", 20)
    host.reason("session", "InSync")
    assert is_locked(guest, session)


def test_a_session_is_ended(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.apply({"session": {"state": "ended", "user": "alice"}})
    guest.wait_until(f"! loginctl show-session {session}")


def test_a_login_is_noticed_without_a_question(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.converge({"session": "unlocked"})
    guest.run(f"loginctl lock-session {session}")
    host.until(lambda status: status["observed"]["session"]["sessions"][session]["locked"], 5)
