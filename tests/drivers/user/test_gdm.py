"""GDM's door over a real bus, against a made-up greeter; tests/vm/test_gnome.py asks the real one."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jeepney import HeaderFields, MatchRule
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from guest_runtime.pam_token import pam_sm_authenticate
from reconciler.drivers.user import gdm
from reconciler.drivers.user.gdm import Gdm
from reconciler.errors import DriverError
from reconciler.facilities.login_grant import Grant
from reconciler.resources.user import Way
from reconciler.subjects.seating import Door, Entry
from tests.bus import START_S, PrivateBus, Refusal, Reply, program
from tests.drivers.user.display_unit import FakeUnit
from tests.guest_runtime.test_pam_token import FakePam, authenticate

WAY: Way = Gdm()  # holds the driver to its port, for the type checker

OPEN = Door(way="gdm", seat="seat0", graphical=True)
LOGIN1 = "/org/freedesktop/login1"


class Greeter:
    """GNOME's shell on a login screen: each token begins PAM's service, whose module answers."""

    def __init__(self, pam_socket: str, *, deaf_to: int = 0, listens: bool = True) -> None:
        self.users: list[str | None] = []
        self.told = 0
        self._pam_socket, self._deaf_to = pam_socket, deaf_to
        self._connection = open_dbus_connection("SYSTEM")
        if listens:
            self.listen()
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def listen(self) -> None:
        """As a proxy of GLib's does."""
        rule = MatchRule(
            type="signal", interface="org.ovirt.vdsm.Credentials", path="/org/ovirt/vdsm/Credentials"
        )
        self._connection.send(message_bus.AddMatch(rule))

    def _hear(self) -> None:
        while not self.users:
            try:
                message = self._connection.receive(timeout=START_S)
            except (TimeoutError, OSError):
                return
            if message.header.fields.get(HeaderFields.member) == "UserAuthenticated":
                self._take(message.body[0])

    def _take(self, token: str) -> None:
        self.told += 1
        if self.told > self._deaf_to:
            pam = FakePam(token)
            pam_sm_authenticate(pam, 0, [], self._pam_socket)
            self.users.append(pam.user)

    def close(self) -> None:
        self._connection.sock.shutdown(2)
        self._thread.join(START_S)
        self._connection.close()


@dataclass
class FakeGdm:
    """It and logind, in as far as the driver asks them."""

    sessions: dict[str, str] = field(default_factory=lambda: {"c1": "greeter"})  # id -> class
    may_create: bool = True
    looks: int = 0
    service: str = "gdm-launch-environment"
    taken: bool = False  # somebody else has the screen
    on_list: Callable[[], object] = lambda: None
    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def login1(self, path: str, method: str, body: tuple[Any, ...]) -> Reply:
        if method == "ListSessions":
            self.on_list()
            uid = os.geteuid()
            rows = [(name, uid, "x", "seat0", f"{LOGIN1}/session/{name}") for name in self.sessions]
            return "a(susso)", ([*rows, ("9", uid, "ssh", "", f"{LOGIN1}/session/_39")],)
        if method == "GetAll" and path.endswith("seat0"):
            self.looks += 1
            front = "2" if self.looks > 2 else "c1"
            return "a{sv}", ({"ActiveSession": ("(so)", (front, f"{LOGIN1}/session/{front}"))},)
        if method == "GetAll":
            name = path.rpartition("/")[2]
            kind = self.sessions.get(name, "user")
            user = "alice" if name == "2" else "gdm"
            texts = {"Class": kind, "State": "active", "Name": user, "Service": self.service}
            facts = {"Active": ("b", not self.taken)}
            return "a{sv}", ({key: ("s", text) for key, text in texts.items()} | facts,)
        self.heard.append((method, *body))
        return "", ()

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply:
        if not self.may_create:
            raise Refusal("org.freedesktop.DBus.Error.AccessDenied", "Not here")
        self.heard.append((path, method, *body))
        self.sessions["c2"] = "greeter"
        return "o", ("/org/gnome/DisplayManager/Displays/2",)


@pytest.fixture
def unit(system_bus: PrivateBus) -> Iterator[FakeUnit]:
    fake = FakeUnit("gdm.service")
    with program("org.freedesktop.systemd1", fake.answer):
        yield fake


@pytest.fixture
def manager(unit: FakeUnit) -> Iterator[FakeGdm]:
    fake = FakeGdm()
    with (
        program("org.freedesktop.login1", fake.login1),
        program("org.gnome.DisplayManager", fake.answer),
    ):
        yield fake


@pytest.fixture
def pam_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tmp_path / "pam.sock")
    monkeypatch.setattr(gdm, "Grant", partial(Grant, path=path))
    monkeypatch.setattr(gdm, "_AGAIN_S", 0.2)
    monkeypatch.setattr(gdm, "_COMES_S", 0.05)
    monkeypatch.setattr(gdm, "GREETER_S", 5.0)
    monkeypatch.setattr(gdm, "FRONT_S", 5.0)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest's PAM: our rules, and the module among those of its architecture."""
    rules, folder = tmp_path / "gdm-ovirtcred", tmp_path / "lib/x86_64-linux-gnu/security"
    script = tmp_path / "pam-token.py"
    script.touch()
    rules.write_text(f"# rules\nauth requisite pam_python.so {script}\n")
    (tmp_path / "gdm-password").touch()
    monkeypatch.setattr(gdm, "_PAM", (str(tmp_path),))
    folder.mkdir(parents=True)
    (folder / "pam_python.so").touch()
    monkeypatch.setattr(gdm, "_RULES", str(rules))
    monkeypatch.setattr(gdm, "_FOLDERS", (str(tmp_path / "nowhere"), str(tmp_path / "lib")))
    return tmp_path


@pytest.fixture
def door(system_bus: PrivateBus) -> Iterator[Gdm]:
    with closing(Gdm()) as driver:
        yield driver


def test_has_a_door(unit: FakeUnit, installed: Path, door: Gdm) -> None:
    assert door.doors() == (OPEN,)


@pytest.mark.parametrize(
    ("state", "job", "doors"),
    [
        pytest.param("inactive", 0, 0, id="not wanted"),
        pytest.param("inactive", 7, 1, id="queued at boot"),
        pytest.param("activating", 7, 1, id="starting"),
    ],
)
def test_waits_for_one_that_is_about_to_run(
    unit: FakeUnit, installed: Path, door: Gdm, state: str, job: int, doors: int
) -> None:
    unit.state, unit.job = state, job
    starting = replace(OPEN, shut="GDM is just starting", opening=True)
    assert list(door.doors()) == [starting] * doors


def test_says_what_is_not_installed(unit: FakeUnit, installed: Path, door: Gdm) -> None:
    (installed / "lib/x86_64-linux-gnu/security/pam_python.so").unlink()
    assert door.doors() == (replace(OPEN, shut="PAM's module pam_python is not installed (libpam-python)"),)
    (installed / "gdm-password").unlink()
    assert "PAM has no rules gdm-password" in door.doors()[0].shut
    (installed / "pam-token.py").unlink()
    assert "pam-token.py, which" in door.doors()[0].shut
    (installed / "gdm-ovirtcred").write_text("#auth requisite pam_python.so /usr/lib/pam-token.py\n")
    assert "does not name pam-token" in door.doors()[0].shut
    (installed / "gdm-ovirtcred").write_text("auth required pam_ovirt_cred.so\n")
    assert "does not name pam-token" in door.doors()[0].shut
    unit.state = "activating"
    assert not door.doors()[0].opening
    (installed / "gdm-ovirtcred").unlink()
    assert "does not name pam-token" in door.doors()[0].shut


def test_lets_in_who_was_judged(manager: FakeGdm, pam_socket: str, door: Gdm) -> None:
    with closing(Greeter(pam_socket)) as greeter:
        door.enter(Entry("alice", OPEN))
    assert (greeter.users, greeter.told) == (["alice"], 1)
    assert manager.heard == [("ActivateSession", "c1")]
    assert manager.looks == 3  # till alice's session has the screen: nobody else may bring it there


def test_asks_for_a_greeter_where_a_session_has_the_screen(
    manager: FakeGdm, pam_socket: str, door: Gdm
) -> None:
    manager.sessions = {"2": "user"}
    with closing(Greeter(pam_socket, deaf_to=2)) as greeter:  # as one that is just starting
        door.enter(Entry("alice", OPEN))
    assert (greeter.users, greeter.told) == (["alice"], 3)
    factory = "/org/gnome/DisplayManager/LocalDisplayFactory"
    assert manager.heard == [(factory, "CreateTransientDisplay")]


@pytest.mark.root  # the bus tells nobody else what others wait for
def test_waits_until_the_greeter_listens(
    manager: FakeGdm, pam_socket: str, door: Gdm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gdm, "_AGAIN_S", START_S)
    with closing(Greeter(pam_socket, listens=False)) as greeter:
        looks = iter([None, None, None, greeter.listen])
        manager.on_list = lambda: (next(looks, None) or (lambda: None))()
        door.enter(Entry("alice", OPEN))
    assert (greeter.users, greeter.told) == (["alice"], 1)


@pytest.mark.parametrize(
    "manager_says",
    [
        pytest.param({"taken": True}, id="somebody has taken the screen meanwhile"),
        pytest.param({"service": "login"}, id="a session that only calls itself a greeter's"),
    ],
)
def test_tells_nobody_but_a_greeter_that_has_the_screen(
    manager: FakeGdm,
    pam_socket: str,
    door: Gdm,
    monkeypatch: pytest.MonkeyPatch,
    manager_says: dict[str, Any],
) -> None:
    monkeypatch.setattr(gdm, "GREETER_S", 0.5)
    vars(manager).update(manager_says)
    with closing(Greeter(pam_socket)) as greeter:
        with pytest.raises(DriverError, match="did not ask"):
            door.enter(Entry("alice", OPEN))
        assert greeter.told == 0


def test_who_asks_without_the_token_changes_nothing(manager: FakeGdm, pam_socket: str, door: Gdm) -> None:
    """Any user can have GDM begin the service, and answer what he likes."""
    manager.on_list = lambda: Path(pam_socket).exists() and authenticate(FakePam("guess:alice"), pam_socket)
    with closing(Greeter(pam_socket, deaf_to=1)) as greeter:
        door.enter(Entry("alice", OPEN))
    assert (greeter.users, greeter.told) == (["alice"], 2)


def test_gives_the_name_back(manager: FakeGdm, pam_socket: str, door: Gdm) -> None:
    with closing(Greeter(pam_socket)):
        door.enter(Entry("alice", OPEN))
    with program("org.ovirt.vdsm.Credentials", manager.answer), pytest.raises(DriverError, match="another"):
        door.enter(Entry("alice", OPEN))


def test_says_that_no_greeter_asked(
    manager: FakeGdm, pam_socket: str, door: Gdm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gdm, "GREETER_S", 0.2)
    with pytest.raises(DriverError, match="cannot log in alice: GDM's greeter did not ask"):
        door.enter(Entry("alice", OPEN))


def test_says_why_there_is_no_greeter(manager: FakeGdm, pam_socket: str, door: Gdm) -> None:
    manager.sessions, manager.may_create = {}, False
    with pytest.raises(DriverError, match=r"cannot log in alice: .*Not here"):
        door.enter(Entry("alice", OPEN))


def test_is_there_where_gdm_is(system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdm, "_PROGRAMS", ("/nonexistent", __file__))
    assert Gdm.available()
    monkeypatch.setattr(gdm, "_PROGRAMS", ("/nonexistent",))
    assert not Gdm.available()
