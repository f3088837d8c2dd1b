"""Units over a real bus, from a made-up systemd; tests/vm asks the real one."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from reconciler.drivers.services import systemd1
from reconciler.drivers.services.systemd1 import Systemd1Units
from reconciler.errors import DriverError, Forbidden, OutcomeUnknown
from reconciler.facilities.dbus import Bus
from reconciler.resource import Cancellable, Watching
from reconciler.resources.services import Units
from reconciler.subjects.unit_past import End
from reconciler.subjects.units import Unit, object_path
from tests.bus import PrivateBus, program, readable
from tests.drivers.services.systemd_fake import NAME, ROOT, FakeSystemd, FakeUnit

UNITS: Units = Systemd1Units()  # holds the driver to its port, for the type checker
WATCHING: Watching = Systemd1Units()
CANCELLABLE: Cancellable = Systemd1Units()


@pytest.fixture
def systemd(system_bus: PrivateBus) -> Iterator[FakeSystemd]:
    fake = FakeSystemd()
    with program(NAME, fake.answer) as fake.program, closing(fake):
        yield fake


@pytest.fixture
def driver(systemd: FakeSystemd) -> Iterator[Systemd1Units]:
    with closing(Systemd1Units()) as driver:
        yield driver


def look(driver: Systemd1Units, *names: str, follow: bool = True) -> tuple[Unit, ...]:
    return driver.units(names, follow=follow)


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
        since_us=since_us, restarts=4,
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


def test_asks_for_many_at_once(
    driver: Systemd1Units, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"unit{number}.service" for number in range(50)]
    systemd.units = {name: FakeUnit("failed", "failed", job="start") for name in names}
    turns: list[str] = []
    exchange = Bus._exchange

    def counted(bus: Bus, messages: Sequence[Any], method: str, timeout_s: float) -> list[Any]:
        turns.append(method)
        return exchange(bus, messages, method, timeout_s)

    monkeypatch.setattr(Bus, "_exchange", counted)
    assert [unit.name for unit in look(driver, *names)] == names
    # 32 at a time, of 50 units and six properties of each service.
    assert Counter(turns) == {"Subscribe": 1, "LoadUnit": 2, "GetAll": 2, "GetUnitFileState": 2, "Get": 14}


def test_what_is_up_tells_how_often_it_came_back_and_how_it_reloaded(
    driver: Systemd1Units, systemd: FakeSystemd
) -> None:
    more = {"ReloadResult": ("s", "exit-code")}
    systemd.units = {
        "web.service": FakeUnit("active", "running", more=more),
        "a.socket": FakeUnit("active", "running"),
    }
    told = [(unit.restarts, unit.reloaded) for unit in look(driver, "web.service", "a.socket")]
    assert told == [(4, "exit-code"), (0, "success")]


def test_one_that_systemd_does_not_take_costs_no_other(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.units = {"web.service": FakeUnit()}
    systemd.impossible = {"a@.b.service"}
    bad, web = look(driver, "a@.b.service", "web.service")
    assert (bad.load, bad.trouble) == ("error", "cannot LoadUnit: Unit name a@.b.service is not valid.")
    assert (web.id, web.load) == ("web.service", "loaded")


def test_one_that_goes_in_the_middle_costs_this_look(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.refuses = {"GetAll": "Unknown object"}
    with pytest.raises(DriverError, match=r"^cannot look at units: one has gone just now$"):
        look(driver, "web.service")


def changed(systemd: FakeSystemd, unit: str, kind: str = "Unit") -> None:
    assert systemd.program is not None
    properties = "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as"
    systemd.program.emit(object_path(unit), *properties, f"{NAME}.{kind}", {"SubState": ("s", "dead")}, [])


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
    assert driver.job("restart", "web.service", reset=False) == End(outcome)
    assert systemd.heard == [("Ref",), ("RestartUnit", "web.service", "replace")]


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_condition_that_is_not_met_is_told(driver: Systemd1Units, systemd: FakeSystemd, verb: Any) -> None:
    condition = ("ConditionPathExists", False, True, "/x", -1)
    systemd.units = {"web.service": FakeUnit("active", "running", conditions=[condition])}
    # Also of a restart, which has stopped it.
    end = driver.job(verb, "web.service", reset=False)
    assert end == End("skipped", "ConditionPathExists=!/x")
    assert end.why == "its conditions are not met: ConditionPathExists=!/x"
    systemd.units["web.service"].conditions = []
    assert driver.job(verb, "web.service", reset=False) == End("done")


@pytest.mark.parametrize("failing", ["refuses", "silent_after_a_job"])
def test_what_is_not_told_after_a_job_does_not_undo_it(
    driver: Systemd1Units, systemd: FakeSystemd, failing: str
) -> None:
    setattr(systemd, failing, {"GetAll": "it was collected"})
    assert driver.job("restart", "web.service", reset=False) == End("done")
    assert systemd.heard == [("Ref",), ("RestartUnit", "web.service", "replace")]


@pytest.mark.parametrize("method", ["Subscribe", "LoadUnit", "Ref", "ResetFailedUnit"])
def test_no_answer_before_the_job_means_that_nothing_was_done(
    driver: Systemd1Units, systemd: FakeSystemd, method: str
) -> None:
    systemd.silent = {method}
    with pytest.raises(DriverError, match=r"^cannot restart web\.service: it did not answer$") as caught:
        driver.job("restart", "web.service", reset=True)
    assert caught.type is DriverError
    assert ("RestartUnit", "web.service", "replace") not in systemd.heard


def test_no_answer_to_the_job_itself_leaves_it_unknown(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.silent = {"RestartUnit"}
    with pytest.raises(OutcomeUnknown, match=r"^cannot tell what became of restart web\.service: "):
        driver.job("restart", "web.service", reset=False)
    assert systemd.heard[-1] == ("RestartUnit", "web.service", "replace")


def test_a_job_that_takes_long_is_left_to_itself(
    driver: Systemd1Units, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd1, "_JOB_S", 0.3)
    systemd.outcome = ""
    assert driver.job("start", "web.service", reset=True) == End("")
    assert [method for method, *_ in systemd.heard] == ["ResetFailedUnit", "Ref", "StartUnit"]


def test_a_bus_that_goes_away_ends_the_wait(
    driver: Systemd1Units, systemd: FakeSystemd, system_bus: PrivateBus
) -> None:
    systemd.outcome = ""
    stopped = threading.Timer(0.2, system_bus.stop)
    stopped.start()
    assert driver.job("stop", "web.service", reset=False) == End("")
    stopped.join()


def test_says_why_not(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.refuses = {"StartUnit": "by dependency only", "MaskUnitFiles": "File exists"}
    with pytest.raises(DriverError, match=r"^cannot start web\.service: by dependency only$"):
        driver.job("start", "web.service", reset=False)
    with pytest.raises(DriverError, match=r"^cannot mask web\.service: File exists$"):
        driver.change_file("mask", "web.service", runtime=False, reload=True)


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
    driver.change_file(verb, "web.service", runtime=runtime, reload=False)
    assert systemd.heard == [heard]
    driver.change_file(verb, "web.service", runtime=runtime, reload=True)
    assert systemd.heard == [heard, heard, ("Reload",)]


def test_one_that_fails_last_does_not_keep_systemd_from_reloading(
    driver: Systemd1Units, systemd: FakeSystemd
) -> None:
    systemd.refuses = {"MaskUnitFiles": "File exists"}
    with pytest.raises(DriverError, match="File exists"):
        driver.change_file("mask", "web.service", runtime=False, reload=True)
    assert systemd.heard == [("Reload",)]
    systemd.refuses = {"Reload": "no"}
    with pytest.raises(DriverError, match=r"^cannot have systemd reload: no$"):
        driver.change_file("mask", "web.service", runtime=False, reload=True)
    systemd.refuses, systemd.silent = {}, {"Reload"}
    driver.change_file("mask", "web.service", runtime=False, reload=True)  # the next look waits for it


def test_what_has_nothing_to_install_is_not_enabled(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    systemd.carries = False
    with pytest.raises(DriverError, match=r"no \[Install\] section"):
        driver.change_file("enable", "web.service", runtime=False, reload=True)


@pytest.mark.parametrize(
    ("name", "units", "paths"),
    [
        pytest.param("web.service", ["web"], [], id="short"),
        pytest.param("web.service", ["w*.service"], [], id="a pattern of full names"),
        pytest.param("httpd.service", ["web"], [], id="by another name"),
        pytest.param("httpd.service", ["httpd"], [], id="an alias"),
        pytest.param("srv-data.mount", [], ["/srv"], id="a mount below"),
        pytest.param("srv.mount", [], ["/srv/data"], id="a mount above"),
    ],
)
def test_what_the_policy_forbids_is_not_managed(
    driver: Systemd1Units, systemd: FakeSystemd, name: str, units: list[str], paths: list[str]
) -> None:
    systemd.aliases = {"httpd.service": "web.service"}
    systemd.units = {"web.service": FakeUnit()}
    driver.forbidden_units, driver.forbidden_paths = tuple(units), tuple(paths)
    with pytest.raises(Forbidden, match=r"forbidden by the guest's policy \(forbid\."):
        look(driver, "cron.service", name)
    look(driver, "cron.service")


def test_a_caller_that_the_policy_forbids_is_not_stopped(driver: Systemd1Units, systemd: FakeSystemd) -> None:
    driver.forbidden_units = ("*.socket",)
    with pytest.raises(Forbidden):
        driver.job("stop", "web.socket", reset=False)
    assert systemd.heard == []


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
