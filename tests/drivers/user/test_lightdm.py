"""LightDM's door over a real bus, against a made-up LightDM; tests/vm/test_desktop.py asks the real one."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.user import lightdm
from reconciler.drivers.user.lightdm import LightDm
from reconciler.errors import DriverError
from reconciler.facilities.login_grant import Grant
from reconciler.resources.user import Way
from reconciler.subjects.seating import Door, Entry
from tests.bus import PrivateBus, Refusal, Reply, program
from tests.drivers.user.display_unit import FakeUnit

WAY: Way = LightDm()  # holds the driver to its port, for the type checker

PATH = "/org/freedesktop/DisplayManager"
SEAT = f"{PATH}/Seat0"
OPEN = Door(way="lightdm", seat="seat0", graphical=True)


@dataclass
class FakeLightDm:
    """Has PAM ask the agent when it is told to switch, unless it was started before it knew of that."""

    pam_socket: str
    service: str = "guest-reconciler-lightdm"
    seats: list[str] = field(default_factory=lambda: [SEAT])
    can_switch: bool = True
    hangs: bool = False
    heard: list[tuple[Any, ...]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    asking: list[threading.Thread] = field(default_factory=list)

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if self.hangs:
            return None
        if method == "GetAll":
            found = {"Seats": ("ao", self.seats)} if path == PATH else {"CanSwitch": ("b", self.can_switch)}
            return "a{sv}", (found,)
        self.heard.append((path, method, *body))
        if not self.can_switch:
            raise Refusal("org.freedesktop.DBus.Error.Failed", "Failed to switch to user")
        self.asking.append(threading.Thread(target=self.ask, args=(body[0],)))
        self.asking[-1].start()
        return "", ()

    def ask(self, user: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.pam_socket)
            client.sendall(json.dumps({"user": user, "service": self.service}).encode() + b"\n")
            self.answers.append(client.recv(16))

    def join(self) -> list[bytes]:
        for thread in self.asking:
            thread.join()
        return self.answers


@pytest.fixture
def unit(system_bus: PrivateBus) -> Iterator[FakeUnit]:
    fake = FakeUnit("lightdm.service")
    with program("org.freedesktop.systemd1", fake.answer):
        yield fake


@pytest.fixture
def manager(unit: FakeUnit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLightDm]:
    path = str(tmp_path / "pam.sock")
    monkeypatch.setattr(lightdm, "Grant", partial(Grant, path=path, valid_s=1.0))
    fake = FakeLightDm(path)
    with program("org.freedesktop.DisplayManager", fake.answer):
        yield fake


@pytest.fixture
def door(system_bus: PrivateBus) -> Iterator[LightDm]:
    with closing(LightDm()) as driver:
        yield driver


def test_has_a_door(manager: FakeLightDm, door: LightDm) -> None:
    assert door.doors() == (OPEN,)


def test_lets_in_who_was_judged(manager: FakeLightDm, door: LightDm) -> None:
    door.enter(Entry("alice", OPEN))
    assert manager.heard == [(SEAT, "SwitchToUser", "alice", "")]
    assert manager.join() == [b"yes\n"]


def test_the_permission_is_for_lightdm_alone(manager: FakeLightDm, door: LightDm) -> None:
    manager.service = "lightdm"  # as one that was not started anew since the installation
    with pytest.raises(DriverError, match="cannot log in alice: LightDM did not ask"):
        door.enter(Entry("alice", OPEN))
    assert manager.join() == [b"no\n"]


def test_says_that_it_may_not_switch(manager: FakeLightDm, door: LightDm) -> None:
    manager.can_switch = False
    assert "allow-user-switching" in door.doors()[0].shut
    assert not door.doors()[0].opening
    with pytest.raises(DriverError, match=r"cannot log in alice: LightDM says: .*Failed to switch"):
        door.enter(Entry("alice", OPEN))


@pytest.mark.parametrize(
    ("state", "job", "doors"),
    [
        pytest.param("inactive", 0, 0, id="not wanted"),
        pytest.param("failed", 0, 0, id="failed"),
        pytest.param("inactive", 7, 1, id="queued at boot"),
        pytest.param("activating", 7, 1, id="starting"),
        pytest.param("active", 0, 1, id="not on the bus yet"),
    ],
)
def test_waits_for_one_that_is_about_to_run(
    unit: FakeUnit, door: LightDm, state: str, job: int, doors: int
) -> None:
    unit.state, unit.job = state, job
    starting = replace(OPEN, shut="LightDM is just starting", opening=True)
    assert list(door.doors()) == [starting] * doors


def test_one_that_hangs_is_out_of_order(
    manager: FakeLightDm, door: LightDm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightdm, "ANSWER_S", 0.1)
    manager.hangs = True
    assert door.doors() == (replace(OPEN, shut="LightDM does not answer"),)
    monkeypatch.setattr(lightdm, "CALL_S", 0.1)
    with pytest.raises(DriverError, match="cannot log in alice: LightDM says: cannot tell what became"):
        door.enter(Entry("alice", OPEN))


def test_waits_for_its_first_seat(manager: FakeLightDm, door: LightDm) -> None:
    manager.seats = []
    assert door.doors()[0].shut == "LightDM is just starting"
    with pytest.raises(DriverError, match="no seat yet"):
        door.enter(Entry("alice", OPEN))


def test_is_there_where_lightdm_is(system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightdm, "_PROGRAMS", ("/nonexistent", __file__))
    assert LightDm.available()
    monkeypatch.setattr(lightdm, "_PROGRAMS", ("/nonexistent",))
    assert not LightDm.available()
