"""Services, over a real bus from a made-up systemd; tests/vm asks the real one."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from reconciler.drivers import systemd1
from reconciler.drivers.systemd1 import Systemd1, services
from reconciler.errors import DriverError
from reconciler.resource import Cancellable, Watching
from reconciler.resources.report import Source
from tests.bus import FakeProgram, PrivateBus, Refusal, Reply, program, readable

SOURCE: Source = Systemd1()  # holds the driver to its port, for the type checker
WATCHING: Watching = Systemd1()
CANCELLABLE: Cancellable = Systemd1()

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
ROW = "a(ssssssouso)"


def unit(name: str, loaded: str, active: str, low: str) -> tuple[Any, ...]:
    return (name, f"The {name}", loaded, active, low, "", f"{PATH}/unit/x", 0, "", "/")


UNITS = [
    unit("ssh.service", "loaded", "active", "running"),
    unit("getty@tty1.service", "loaded", "active", "running"),
    unit("apt-daily.service", "loaded", "inactive", "dead"),
    unit("modprobe@drm.service", "loaded", "inactive", "dead"),
    unit("web.service", "loaded", "failed", "failed"),
    unit("remount.service", "loaded", "active", "exited"),
    unit("plymouth.service", "not-found", "inactive", "dead"),
    unit("gone.service", "not-found", "active", "running"),
]
TOLD = {
    "counts": {"active": 4, "inactive": 2, "failed": 1},
    "failed": ["web"],
    "units": {
        "getty@tty1": "running",
        "gone": "running",
        "remount": "exited",
        "ssh": "running",
        "web": "failed",
    },
}


def test_services() -> None:
    assert services(UNITS) == TOLD
    assert services([]) == {"counts": {}, "failed": [], "units": {}}


def test_very_many_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd1, "_UNITS_MAX", 2)
    monkeypatch.setattr(systemd1, "_FAILED_MAX", 1)
    broken = [unit(f"b{number}.service", "loaded", "failed", "failed") for number in range(5)]
    told = services([*broken, unit("x" * 1000 + ".service", "loaded", "active", "running")])
    assert told["counts"] == {"active": 1, "failed": 5}
    assert (told["failed"], told["units"]) == (["b0"], {"b0": "failed", "b1": "failed"})


class FakeSystemd:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.broken = False

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        self.heard.append(method)
        match method:
            case "Subscribe" if self.heard.count("Subscribe") > 1:
                raise Refusal(f"{NAME}.AlreadySubscribed", "already")
            case "Subscribe":
                return "", ()
            case "ListUnitsByPatterns" if self.broken:
                raise Refusal("org.freedesktop.DBus.Error.AccessDenied", "not yours")
            case "ListUnitsByPatterns":
                assert body == ([], ["*.service"])
                return ROW, (UNITS,)
            case _:
                assert (method, body) == ("Get", (f"{NAME}.Manager", "SystemState"))
                return "v", (("s", "degraded"),)


@pytest.fixture
def systemd(system_bus: PrivateBus) -> FakeSystemd:
    return FakeSystemd()


@pytest.fixture
def guest(systemd: FakeSystemd) -> Iterator[FakeProgram]:
    with program(NAME, systemd.answer) as fake:
        yield fake


@pytest.fixture
def driver(guest: FakeProgram) -> Iterator[Systemd1]:
    with closing(Systemd1()) as driver:
        yield driver


def test_reads_and_reads_again(driver: Systemd1, systemd: FakeSystemd) -> None:
    assert driver.read("services") == {"state": "degraded", **TOLD}
    assert driver.read("services") == {"state": "degraded", **TOLD}
    assert systemd.heard.count("Subscribe") == 2  # else a new connection would hear nothing


def test_says_why_not(driver: Systemd1, systemd: FakeSystemd) -> None:
    systemd.broken = True
    with pytest.raises(DriverError, match="not yours"):
        driver.read("services")


@pytest.mark.parametrize(("kind", "wakes"), [("Service", True), ("Timer", False)])
def test_wakes(driver: Systemd1, guest: FakeProgram, kind: str, wakes: bool) -> None:
    (watch,) = driver.watches()
    driver.read("services")  # begins the watch
    assert not watch.drain()
    changed = "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as"
    guest.emit(f"{PATH}/unit/x", *changed, f"{NAME}.{kind}", {"Result": ("s", "success")}, [])
    if not wakes:
        # What comes after it has come in its place: nothing is waited for in vain.
        assert driver.read("services")
        assert not watch.drain()
        return
    assert readable(watch.fileno())
    assert watch.drain()
