"""Units over a real bus, from a made-up systemd; tests/vm asks the real one."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.drivers.services import systemd1
from reconciler.drivers.services.systemd1 import Systemd1Units, path_of
from reconciler.errors import DriverError
from reconciler.resource import Cancellable, Watching
from reconciler.resources.services import Units
from reconciler.subjects.units import Unit
from tests.bus import FakeProgram, PrivateBus, Refusal, Reply, program, readable

UNITS: Units = Systemd1Units()  # holds the driver to its port, for the type checker
WATCHING: Watching = Systemd1Units()
CANCELLABLE: Cancellable = Systemd1Units()

NAME = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
JOB = f"{ROOT}/job/7"


@dataclass
class FakeUnit:
    active: str = "inactive"
    sub: str = "dead"
    file: str = "disabled"
    load: str = "loaded"
    job: str = ""
    triggered_by: list[str] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)
    conditions: list[tuple[str, bool, bool, str, int]] = field(default_factory=list)
    more: dict[str, tuple[str, Any]] = field(default_factory=dict)  # of its type

    def properties(self, id: str) -> dict[str, tuple[str, Any]]:
        return {
            "Id": ("s", id),
            "LoadState": ("s", self.load),
            "LoadError": ("(ss)", ("", "" if self.load == "loaded" else f"Unit {id} has a bad setting")),
            "ActiveState": ("s", self.active),
            "SubState": ("s", self.sub),
            "Job": ("(uo)", (7, JOB) if self.job else (0, "/")),
            "TriggeredBy": ("as", self.triggered_by),
            "Requires": ("as", self.requires),
            "Requisite": ("as", []),
            "BindsTo": ("as", []),
            "PartOf": ("as", []),
            "CanStart": ("b", True),
            "CanStop": ("b", True),
            "CanReload": ("b", False),
            "ConditionResult": ("b", not self.conditions),
            "ConditionTimestamp": ("t", 5 if self.conditions else 0),
            "Conditions": ("a(sbbsi)", self.conditions),
            "AssertResult": ("b", False),
            "AssertTimestamp": ("t", 0),
            "Asserts": ("a(sbbsi)", []),
            "StateChangeTimestampMonotonic": ("t", 99),
            "Result": ("s", "success"),
            "Type": ("s", "simple"),
            "RemainAfterExit": ("b", False),
            "NRestarts": ("u", 4),
            "ExecMainCode": ("i", 0),
            "ExecMainStatus": ("i", 0),
            "JobType": ("s", self.job),
            **self.more,
        }


@dataclass
class FakeSystemd:
    """Jobs end as `outcome` says, or never where it is empty."""

    units: dict[str, FakeUnit] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    own: str = "agent.service"
    outcome: str = "done"
    carries: bool = True
    refuses: dict[str, str] = field(default_factory=dict)  # methods, and why
    silent: set[str] = field(default_factory=set)
    heard: list[tuple[Any, ...]] = field(default_factory=list)
    program: FakeProgram | None = None

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method in self.refuses:
            raise Refusal(f"{NAME}.Refused", self.refuses[method])
        if method == "Subscribe":
            return "", ()
        if method in ("LoadUnit", "GetUnit", "GetUnitByPID"):
            return "o", (path_of(self.named(method, body[0])),)
        return self.tell(path, method, body) or self.act(method, body)

    def named(self, method: str, name: Any) -> str:
        if method == "GetUnitByPID":
            name = self.own
        elif method == "LoadUnit":
            name = self.aliases.get(name, name)
            self.units.setdefault(name, FakeUnit(load="not-found", file=""))
        if name not in self.units:
            raise Refusal(f"{NAME}.NoSuchUnit", f"Unit {name} not loaded.")
        return str(name)

    def tell(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        match method:
            case "GetAll":
                return "a{sv}", (self.at(path).properties(self.id_of(path)),)
            case "Get":
                return "v", (self.at(path).properties(self.id_of(path))[body[1]],)
            case "GetUnitFileState" if not self.units[body[0]].file:
                raise Refusal("org.freedesktop.DBus.Error.FileNotFound", "no such file")
            case "GetUnitFileState":
                return "s", (self.units[body[0]].file,)
            case "ListUnitsByNames":
                return "a(ssssssouso)", ([self.row(name) for name in body[0]],)
            case "ListUnitFilesByPatterns":
                assert body == ([], ["*.service"])
                return "a(ss)", ([("/lib/systemd/system/nginx.service", "disabled")],)
        return None

    def act(self, method: str, body: tuple[Any, ...]) -> Reply | None:
        self.heard.append((method, *body))
        if method in self.silent:
            return None
        if method.endswith("UnitFiles"):
            return ("ba(sss)", (self.carries, [])) if method == "EnableUnitFiles" else ("a(sss)", ([],))
        if method in ("Reload", "ResetFailedUnit", "Ref"):
            return "", ()
        threading.Thread(target=self.end, args=(body[0],)).start()
        return "o", (JOB,)

    def end(self, unit: str) -> None:
        assert self.program is not None
        # Another unit's, another job's, and this one's.
        for path, name, outcome in (
            (JOB, "x.service", "failed"),
            (f"{JOB}1", unit, "canceled"),
            (JOB, unit, ""),
        ):
            if outcome or self.outcome:
                body = (7, path, name, outcome or self.outcome)
                self.program.emit(ROOT, f"{NAME}.Manager", "JobRemoved", "uoss", *body)

    def at(self, path: str) -> FakeUnit:
        if path == JOB:
            return next(unit for unit in self.units.values() if unit.job)
        return self.units[self.id_of(path)]

    def id_of(self, path: str) -> str:
        return next((id for id in self.units if path_of(id) == path), "")

    def row(self, name: str) -> tuple[Any, ...]:
        unit = self.units[name]
        return (name, "", unit.load, unit.active, unit.sub, "", path_of(name), 0, "", "/")


@pytest.fixture
def systemd(system_bus: PrivateBus) -> Iterator[FakeSystemd]:
    fake = FakeSystemd()
    with program(NAME, fake.answer) as fake.program:
        yield fake


@pytest.fixture
def driver(systemd: FakeSystemd) -> Iterator[Systemd1Units]:
    with closing(Systemd1Units()) as driver:
        yield driver


def look(driver: Systemd1Units, *names: str, follow: bool = True) -> tuple[Unit, ...]:
    return driver.units(names, follow=follow)


def test_paths_are_systemds() -> None:
    assert path_of("getty@tty1.service") == f"{ROOT}/unit/getty_40tty1_2eservice"
    assert path_of("3-a_b.timer") == f"{ROOT}/unit/_33_2da_5fb_2etimer"


def test_sees_units(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    ended = {"Result": ("s", "exit-code"), "ExecMainCode": ("i", 1), "ExecMainStatus": ("i", 3)}
    killed = {"Result": ("s", "signal"), "ExecMainCode": ("i", 2), "ExecMainStatus": ("i", 9)}
    ran = {"Type": ("s", "oneshot"), "ExecMainCode": ("i", 1)}
    systemd.units = {
        "up.service": FakeUnit("active", "running", "enabled"),
        "web.service": FakeUnit("failed", "failed", more=ended),
        "killed.service": FakeUnit("failed", "failed", more=killed),
        "once.service": FakeUnit(more=ran, triggered_by=["once.timer", "off.timer"]),
        "once.timer": FakeUnit("active", "waiting"),
        "off.timer": FakeUnit(),
        "queued.service": FakeUnit(job="start"),
        "bad.service": FakeUnit(load="bad-setting"),
    }
    systemd.aliases = {"httpd.service": "web.service"}
    up, httpd, killed_, once, queued, bad, gone = look(
        driver, "up.service", "httpd.service", "killed.service", "once.service", "queued.service",
        "bad.service", "gone.service",
    )  # fmt: skip
    can, since_us = frozenset({"start", "stop"}), 99
    assert up == Unit(
        name="up.service", id="up.service", active="active", sub="running", file="enabled", can=can,
        since_us=since_us,
    )  # fmt: skip
    assert (httpd.name, httpd.id, httpd.result, httpd.exit) == (
        "httpd.service",
        "web.service",
        "exit-code",
        "status 3",
    )
    assert (killed_.exit, killed_.restarts) == ("signal 9", 4)
    assert (once.passing, once.ran, once.callers) == (True, True, {"once.timer": "waiting"})
    assert (queued.job, queued.passing, queued.ran) == ("start", False, False)
    assert (bad.load, bad.trouble) == ("bad-setting", "Unit bad.service has a bad setting")
    assert (gone.load, gone.file) == ("not-found", "")


def changed(systemd: FakeSystemd, unit: str, kind: str = "Unit") -> None:
    assert systemd.program is not None
    properties = "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as"
    systemd.program.emit(path_of(unit), *properties, f"{NAME}.{kind}", {"SubState": ("s", "dead")}, [])


def test_wakes_for_its_units_and_their_callers_alone(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.units = {"web.service": FakeUnit(triggered_by=["web.socket"]), "web.socket": FakeUnit()}
    (watch,) = driver.watches()
    look(driver, "web.service")
    for unit in ("web.service", "web.socket"):
        changed(systemd, unit)
        assert readable(watch.fileno())
        assert watch.drain()
    changed(systemd, "cron.service")
    changed(systemd, "web.service", "Service")
    # What comes after it has come in its place: nothing is waited for in vain.
    look(driver, "web.service")
    assert not watch.drain()
    assert systemd.program is not None
    systemd.program.emit(ROOT, f"{NAME}.Manager", "UnitFilesChanged", "")
    assert readable(watch.fileno())
    assert watch.drain()


def test_a_preview_follows_nothing_and_no_unit_is_followed_for_ever(
    driver: Systemd1Units, systemd: FakeSystemd
) -> None:
    systemd.units = {"web.service": FakeUnit()}
    (watch,) = driver.watches()
    look(driver, "web.service", follow=False)
    changed(systemd, "web.service")
    look(driver, "web.service")
    assert not watch.drain()
    assert look(driver) == ()
    changed(systemd, "web.service")
    driver.nearest("x.service")
    assert not watch.drain()


@pytest.mark.parametrize("outcome", ["done", "failed", "dependency", "timeout"])
def test_waits_for_a_job_to_end(driver: Systemd1Units, systemd: FakeSystemd, outcome: str) -> None:
    systemd.outcome = outcome
    assert driver.job("restart", "web.service", reset=False) == outcome
    assert systemd.heard == [("Ref",), ("RestartUnit", "web.service", "replace")]


def test_a_condition_that_is_not_met_is_an_error(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    condition = ("ConditionPathExists", False, True, "/x", -1)
    systemd.units = {"web.service": FakeUnit(conditions=[condition])}
    why = r"^cannot start web\.service: its condition is not met: ConditionPathExists=!/x$"
    with pytest.raises(DriverError, match=why):
        driver.job("start", "web.service", reset=False)
    systemd.units["web.service"].active = "active"
    assert driver.job("start", "web.service", reset=False) == "done"


def test_a_job_that_takes_long_is_left_to_itself(
    driver: Systemd1Units, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd1, "_JOB_S", 0.3)
    systemd.outcome = ""
    assert driver.job("start", "web.service", reset=True) == ""
    assert [method for method, *_ in systemd.heard] == ["ResetFailedUnit", "Ref", "StartUnit"]


def test_a_bus_that_goes_away_ends_the_wait(
    driver: Systemd1Units, systemd: FakeSystemd, system_bus: PrivateBus
) -> None:
    systemd.outcome = ""
    stopped = threading.Timer(0.2, system_bus.stop)
    stopped.start()
    assert driver.job("stop", "web.service", reset=False) == ""
    stopped.join()


def test_says_why_not(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.refuses = {"StartUnit": "by dependency only", "MaskUnitFiles": "File exists"}
    with pytest.raises(DriverError, match=r"^cannot start web\.service: by dependency only$"):
        driver.job("start", "web.service", reset=False)
    with pytest.raises(DriverError, match=r"^cannot mask web\.service: File exists$"):
        driver.change_file("mask", "web.service", runtime=False)


@pytest.mark.parametrize(
    ("verb", "runtime", "heard"),
    [
        pytest.param("enable", False, ("EnableUnitFiles", ["web.service"], False, False), id="enable"),
        pytest.param("disable", True, ("DisableUnitFiles", ["web.service"], True), id="disable in /run"),
        pytest.param("mask", False, ("MaskUnitFiles", ["web.service"], False, False), id="mask"),
        pytest.param("unmask", False, ("UnmaskUnitFiles", ["web.service"], False), id="unmask"),
    ],
)
def test_changes_files_and_reloads(
    driver: Systemd1Units, systemd: FakeSystemd, verb: Any, runtime: bool, heard: tuple[Any, ...]
) -> None:
    driver.change_file(verb, "web.service", runtime=runtime)
    assert systemd.heard == [heard, ("Reload",)]


def test_what_has_nothing_to_install_is_not_enabled(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.carries = False
    with pytest.raises(DriverError, match=r"no \[Install\] section"):
        driver.change_file("enable", "web.service", runtime=False)


def test_what_the_agent_stands_on(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.units = {
        "agent.service": FakeUnit(requires=["a.service"]),
        "a.service": FakeUnit(requires=["b.socket", "agent.service"]),
        "dbus.service": FakeUnit(requires=["dbus.socket"]),
        "web.service": FakeUnit(requires=["a.service"]),
    }
    own = {"agent.service", "a.service", "b.socket"}
    assert driver.vital() == own | {"dbus.service", "dbus.socket", "systemd-logind.service"}
    systemd.own = ""
    assert "a.service" not in driver.vital()


def test_the_nearest_installed_unit(driver: Systemd1Units) -> None:
    assert driver.nearest("ngnix.service") == "nginx.service"
