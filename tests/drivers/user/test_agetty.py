"""Consoles over a real bus from a made-up systemd; tests/vm logs in on real ones."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.user import agetty
from reconciler.drivers.user.agetty import Agetty
from reconciler.errors import DriverError
from reconciler.resource import Cancellable
from reconciler.resources.user import Way
from reconciler.subjects.seating import Door, Entry
from tests.bus import PrivateBus, Refusal, Reply, program

WAY: Way = Agetty()  # hold the driver to its port, for the type checker
CANCELLABLE: Cancellable = Agetty()

NAME = "org.freedesktop.systemd1"
BOB = Entry("bob", Door(way="agetty", seat="seat0", tty="tty4"))


class Systemd:
    """Two prompts: nobody's on tty1, and one on tty3 that alice has answered."""

    def __init__(self) -> None:
        self.started: list[tuple[Any, ...]] = []
        self.full = self.hangs = False

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if self.hangs:
            return None
        if method == "ListUnitsByPatterns":
            assert body == (["active"], ["getty@tty*.service"])
            units = [(f"getty@{tty}.service", f"/unit/{tty}") for tty in ("tty1", "tty3", "tty9")]
            rows = [(name, "", "loaded", "active", "running", "", at, 0, "", "/") for name, at in units]
            return "a(ssssssouso)", (rows,)
        if method == "GetAll" and path != "/unit/tty9":
            return "a{sv}", ({"MainPID": ("u", int(path[-1]))},)
        if method == "StartTransientUnit" and not self.full:
            self.started.append(body)
            return "o", ("/org/freedesktop/systemd1/job/1",)
        raise Refusal(f"{NAME}.UnitExists", "Unit guest-reconciler-tty4.service already exists.")


class Taken(list[set[int]]):
    """What the kernel says at each look; the last of it for ever."""

    def pop(self, _: Any = 0) -> set[int]:
        return super().pop(0) if len(self) > 1 else self[0]


@pytest.fixture
def systemd(system_bus: PrivateBus) -> Iterator[Systemd]:
    fake = Systemd()
    with program(NAME, fake.answer):
        yield fake


@pytest.fixture
def taken() -> Taken:
    return Taken([{0, 1, 3, 7}])


@pytest.fixture
def driver(
    systemd: Systemd, taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Agetty]:
    """On a guest whose kernel says which terminals are open, at first tty1, tty3 and tty7."""
    for pid, program_name in {"1": "agetty", "3": "login"}.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{program_name}\n")

    def ioctl(fd: int, request: int, data: bytes) -> bytes:
        assert (request, len(data)) == (0x5603, 6)
        return agetty._VT_STAT.pack(1, 0, sum(1 << number for number in taken.pop(0)))

    monkeypatch.setattr("reconciler.drivers.user.agetty.fcntl.ioctl", ioctl)
    with closing(Agetty("/dev/null", str(tmp_path))) as agetty_driver:
        yield agetty_driver


def test_tells_free_consoles_from_those_with_a_prompt_or_somebody(driver: Agetty) -> None:
    doors = {door.tty: door for door in driver.doors()}
    assert list(doors) == [f"tty{number}" for number in range(1, 13)]
    assert doors["tty1"] == Door(way="agetty", seat="seat0", tty="tty1", prompt=True)
    assert doors["tty2"] == Door(way="agetty", seat="seat0", tty="tty2")
    assert doors["tty3"].shut == doors["tty7"].shut == "in use"


def test_a_guest_without_virtual_terminals_has_no_consoles(tmp_path: Path) -> None:
    assert Agetty(str(tmp_path / "none")).doors() == ()


def test_lets_in_by_a_unit_of_systemds(driver: Agetty, systemd: Systemd) -> None:
    driver.enter(BOB)
    ((unit, mode, terms, others),) = systemd.started
    assert (unit, mode, others) == ("guest-reconciler-tty4.service", "fail", [])
    found = {name: value for name, (_, value) in terms}
    ((program_path, arguments, _),) = found["ExecStart"]
    assert arguments == [program_path, "--autologin", "bob", "tty4", "linux"]
    assert (found["TTYPath"], found["UtmpIdentifier"]) == ("/dev/tty4", "tty4")
    assert found["Conflicts"] == found["OnSuccess"] == ["getty@tty4.service"]


def test_waits_until_a_console_is_let_go_of(driver: Agetty, systemd: Systemd, taken: Taken) -> None:
    taken[:] = [{4}, {4}, {1}]
    driver.enter(BOB)
    assert len(systemd.started) == 1


def test_hangs_up_on_nobody(
    driver: Agetty, systemd: Systemd, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agetty, "_FREE_S", 0.0)
    taken[:] = [{4}]  # who has come since the look
    with pytest.raises(DriverError, match="cannot log in bob on tty4: in use"):
        driver.enter(BOB)
    assert systemd.started == []


def test_a_systemd_that_hangs_costs_no_look(
    driver: Agetty, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agetty, "_ANSWER_S", 0.1)
    systemd.hangs = True
    assert {door.tty for door in driver.doors() if door.shut} == {"tty1", "tty3", "tty7"}


def test_says_why_it_cannot(driver: Agetty, systemd: Systemd) -> None:
    systemd.full = True
    with pytest.raises(DriverError, match="cannot log in bob on tty4: cannot StartTransientUnit"):
        driver.enter(BOB)
