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
    assert services([]) == {"counts": {}, "units": {}}


def test_very_many_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd1, "_UNITS_MAX", 2)
    broken = [unit(f"b{number}.service", "loaded", "failed", "failed") for number in range(5)]
    told = services([*broken, unit("x" * 1000 + ".service", "loaded", "active", "running")])
    assert told["counts"] == {"active": 1, "failed": 5}
    assert told["units"] == {"b0": "failed", "b1": "failed"}


class FakeSystemd:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.broken = False
        self.failed = [UNITS[4], unit("data.mount", "loaded", "failed", "failed")]
        self.since_us = 1_767_225_600_000_000

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        self.heard.append(method)
        match method:
            case "Subscribe" if self.heard.count("Subscribe") > 1:
                raise Refusal(f"{NAME}.AlreadySubscribed", "already")
            case "Subscribe":
                return "", ()
            case "ListUnitsByPatterns" if self.broken:
                raise Refusal("org.freedesktop.DBus.Error.AccessDenied", "not yours")
            case "ListUnitsByPatterns" if body == (["failed"], []):
                return ROW, (self.failed,)
            case "ListUnitsByPatterns":
                assert body == ([], ["*.service"])
                return ROW, (UNITS,)
            case "Get" if body == (f"{NAME}.Unit", "StateChangeTimestamp"):
                return "v", (("t", self.since_us),)
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
def logs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units whose last lines were read."""
    read: list[str] = []

    def last_lines(unit: str, deadline_s: float, *, ago_s: float) -> tuple[str, ...]:
        assert deadline_s > 0
        read.append(unit)
        return (f"{unit} is tired",)

    monkeypatch.setattr(systemd1, "last_lines", last_lines)
    return read


@pytest.fixture
def driver(guest: FakeProgram, logs: list[str]) -> Iterator[Systemd1]:
    with closing(Systemd1()) as driver:
        yield driver


def test_reads_and_reads_again(driver: Systemd1, systemd: FakeSystemd) -> None:
    since = "2026-01-01T00:00:00Z"
    failed = {
        "data.mount": {"since": since, "log": ["data.mount is tired"]},
        "web": {"since": since, "log": ["web.service is tired"]},
    }
    assert driver.read("services") == {"state": "degraded", **TOLD, "failed": failed}
    assert driver.read("services") == {"state": "degraded", **TOLD, "failed": failed}
    assert systemd.heard.count("Subscribe") == 2  # else a new connection would hear nothing


def test_reads_the_log_once_for_each_failure(driver: Systemd1, systemd: FakeSystemd, logs: list[str]) -> None:
    for _ in range(2):
        driver.read("services")
    assert logs == ["data.mount", "web.service"]
    del systemd.failed[0]
    driver.read("services")
    systemd.since_us += 1
    driver.read("services")
    assert logs[2:] == ["data.mount"]


@pytest.mark.parametrize(("limit", "value"), [("_LOGS_MAX", 1), ("_LOGS_S", 0.0)])
def test_only_so_many_logs_are_read(
    driver: Systemd1, logs: list[str], monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(systemd1, limit, value)
    told = driver.read("services")["failed"]
    assert len(logs) == (1 if value else 0)
    assert set(told) == {"data.mount", "web"}


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
