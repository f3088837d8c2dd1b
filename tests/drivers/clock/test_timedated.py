"""Zone, NTP and RTC over a real bus and in a folder of our own; tests/vm asks the real daemons."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.clock import timedated
from reconciler.drivers.clock.timedated import Files, Timedated
from reconciler.errors import DriverError, Unsupported
from reconciler.facilities import timex
from reconciler.resource import Cancellable, Watching
from reconciler.resources.clock import Clock, Clocks
from reconciler.subjects.timekeeping import Ntp
from reconciler.subjects.units import object_path
from tests.bus import FakeProgram, PrivateBus, Refusal, Reply, program, readable

PORTS: tuple[Clocks, ...] = (Timedated(), Files())  # hold the drivers to their port, for the type checker
WATCHING: tuple[Watching, ...] = (Timedated(), Files())
CANCELLABLE: Cancellable = Timedated()

CHRONY, TIMESYNCD = "chrony.service", "systemd-timesyncd.service"
# leap, version, mode, stratum, precision, root delay, root dispersion, reference, the four times,
# ignored, packets, jitter: all times in microseconds
MESSAGE = (0, 4, 4, 2, -20, 20_000, 5_000, b"\x7f\0\0\1", 1000, 9000, 9500, 3500, False, 3, 100)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    for name in ("etc", "zoneinfo/Asia", "rtc", "run/systemd/ntp-units.d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "zoneinfo/Asia/Tokyo").write_text("TZif")
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    (tmp_path / "rtc/since_epoch").write_text("0\n")
    return tmp_path / "etc"


def folders(etc: Path) -> dict[str, str]:
    return {"etc": str(etc), "zones": str(etc.parent / "zoneinfo"), "rtc": str(etc.parent / "rtc")}


def files(etc: Path) -> Files:
    return Files(**folders(etc))


def test_reads_the_clock(etc: Path) -> None:
    reading = files(etc).read("Asia/Tokyo")
    assert (reading.zone, reading.zone_exists, reading.rtc_local) == ("Europe/Berlin", True, False)
    assert reading.rtc_ahead_s == pytest.approx(-reading.wall_s, abs=60)
    assert reading.ntp is None
    assert not files(etc).read("Asia").zone_exists  # a folder is none
    assert files(etc).read(None).zone_exists


@pytest.mark.parametrize(
    ("localtime", "timezone", "zone"),
    [
        pytest.param("link", "", "Europe/Berlin", id="a link"),
        pytest.param("copy", "Asia/Tokyo\n", "Asia/Tokyo", id="a copy, and Debian's name"),
        pytest.param("copy", "", "", id="a copy"),
        pytest.param("", "", "UTC", id="nothing"),
    ],
)
def test_the_zone(etc: Path, localtime: str, timezone: str, zone: str) -> None:
    if localtime != "link":
        (etc / "localtime").unlink()
    if localtime == "copy":
        (etc / "localtime").write_text("TZif")
    if timezone:
        (etc / "timezone").write_text(timezone)
    assert files(etc).read(None).zone == zone


def test_a_guest_without_an_rtc(etc: Path) -> None:
    (etc.parent / "rtc/since_epoch").unlink()
    assert files(etc).read(None).rtc_ahead_s is None


def test_an_rtc_in_local_time(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "adjtime").write_text("0.0 0 0.0\n0\nLOCAL\n")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    try:
        assert timedated._ahead_s(9 * 3600 + 1000, 1000.5, local=True) == 0.0
        assert files(etc).read(None).rtc_local
    finally:
        monkeypatch.undo()
        time.tzset()


def test_sets_the_zone_without_timedated(etc: Path) -> None:
    driver = files(etc)
    (etc / "timezone").write_text("Europe/Berlin\n")
    driver.set_zone("Asia/Tokyo")
    assert os.readlink(etc / "localtime").endswith("/zoneinfo/Asia/Tokyo")
    assert (etc / "timezone").read_text() == "Asia/Tokyo\n"
    assert driver.read(None).zone == "Asia/Tokyo"
    with pytest.raises(Unsupported):
        driver.set_ntp(True)


def test_an_rtc_in_local_time_goes_with_the_zone(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bool] = []
    monkeypatch.setattr(timex, "set_rtc", lambda *, local: written.append(local))
    files(etc).set_zone("Asia/Tokyo")
    assert written == []
    (etc / "adjtime").write_text("0.0 0 0.0\n0\nLOCAL\n")
    files(etc).set_zone("Europe/Berlin")
    assert written == [True]
    (etc.parent / "rtc/since_epoch").unlink()
    files(etc).set_zone("Asia/Tokyo")
    assert written == [True]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, "0.0 0 0.0\n0\nLOCAL\n", id="absent"),
        pytest.param("1.5 7 0.0\n", "1.5 7 0.0\n0\nLOCAL\n", id="a line"),
        pytest.param("1.5 7 0.0\n8\nUTC\n", "1.5 7 0.0\n8\nLOCAL\n", id="the drift is kept"),
    ],
)
def test_sets_the_mode_of_the_rtc_without_timedated(
    etc: Path, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    written: list[bool] = []
    monkeypatch.setattr(timex, "set_rtc", lambda *, local: written.append(local))
    if before is not None:
        (etc / "adjtime").write_text(before)
    files(etc).set_rtc_mode(True)
    assert (etc / "adjtime").read_text() == after
    assert written == [True]


def test_what_the_kernel_refuses_is_said(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: float) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(timex, "step", refuse)
    with pytest.raises(DriverError, match="cannot step the clock: Operation not permitted"):
        files(etc).step(1.0)


def test_a_slew_goes_to_the_kernel(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timex, "slew", lambda by_s: by_s / 2)
    assert files(etc).slew(0.5) == 0.25


def test_wakes_when_the_zone_is_another_one(etc: Path) -> None:
    steps, names = files(etc).watches()
    try:
        (etc / "other").write_text("x")
        assert not names.drain()
        (etc / "localtime").unlink()
        (etc / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
        assert readable(names.fileno())
        assert names.drain()
    finally:
        for watch in (steps, names):
            watch.close()  # type: ignore[attr-defined]


@dataclass
class Guest:
    """systemd, timedated and timesyncd, made up."""

    states: dict[str, str] = field(default_factory=lambda: {TIMESYNCD: "inactive"})  # of what is installed
    message: tuple[Any, ...] = ()
    etc: Path | None = None
    known: dict[str, Any] = field(default_factory=dict)  # what timedated has read or set since it started
    heard: list[tuple[Any, ...]] = field(default_factory=list)
    programs: dict[str, FakeProgram] = field(default_factory=dict)

    def timedated(self, path: str, method: str, body: tuple[Any, ...]) -> Reply:
        self.heard.append((method, *body))
        if body[0] == "Asia/Refused":
            raise Refusal("org.freedesktop.DBus.Error.InvalidArgs", "Invalid or not installed time zone")
        if self.etc and self.known.get(method) != body[0]:
            self.known[method] = body[0]
            if method == "SetTimezone":
                (self.etc / "localtime").unlink()
                (self.etc / "localtime").symlink_to(f"/usr/share/zoneinfo/{body[0]}")
            elif method == "SetLocalRTC":
                (self.etc / "adjtime").write_text(f"0.0 0 0\n0\n{'LOCAL' if body[0] else 'UTC'}\n")
        if method == "SetNTP":
            self.states[TIMESYNCD] = "active" if body[0] else "inactive"
        return "", ()

    def systemd(self, path: str, method: str, body: tuple[Any, ...]) -> Reply:
        if method == "Subscribe":
            return "", ()
        if method == "StopUnit":
            self.known.clear()
            self.heard.append((method, body[0]))
            return "o", ("/org/freedesktop/systemd1/job/1",)
        if body[0] == ["systemd-timedated.service"]:
            return "a(ssssssouso)", ([(body[0][0], "", "loaded", "inactive", "", "", "/", 0, "", "/")],)
        assert method == "ListUnitsByNames"
        rows = [(unit, self.states.get(unit)) for unit in body[0]]
        return "a(ssssssouso)", (
            [
                (unit, "", "loaded" if state else "not-found", state or "inactive", "", "", "/", 0, "", "/")
                for unit, state in rows
            ],
        )

    def timesyncd(self, path: str, method: str, body: tuple[Any, ...]) -> Reply:
        assert method == "GetAll"
        found: dict[str, tuple[str, Any]] = {"ServerName": ("s", "ntp.example.org")}
        if self.message:
            found["NTPMessage"] = ("(uuuuittayttttbtt)", self.message)
        return "a{sv}", (found,)


@pytest.fixture
def guest(system_bus: PrivateBus) -> Iterator[Guest]:
    made_up = Guest()
    with ExitStack() as stack:
        stack.enter_context(program("org.freedesktop.timedate1", made_up.timedated))
        made_up.programs["systemd"] = stack.enter_context(
            program("org.freedesktop.systemd1", made_up.systemd)
        )
        stack.enter_context(program("org.freedesktop.timesync1", made_up.timesyncd))
        yield made_up


@pytest.fixture
def driver(guest: Guest, etc: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Timedated]:
    run = etc.parent / "run"
    (run / "systemd/ntp-units.d/80-timesync.list").write_text(f"# ours\n{TIMESYNCD}\n")
    (run / "systemd/ntp-units.d/50-chrony.list").write_text(f"{CHRONY}\n")
    monkeypatch.setattr(timedated, "_NTP_UNITS", (str(run),))
    with closing(Timedated(**folders(etc))) as made:
        yield made


@pytest.mark.parametrize(
    ("states", "ntp"),
    [
        pytest.param({}, None, id="none is installed"),
        pytest.param({TIMESYNCD: "inactive"}, Ntp(service=TIMESYNCD, active=False), id="off"),
        pytest.param({TIMESYNCD: "deactivating"}, Ntp(service=TIMESYNCD, active=False), id="about to be off"),
        pytest.param({CHRONY: "activating"}, Ntp(service=CHRONY, active=True), id="chrony"),
        pytest.param(
            {CHRONY: "inactive", TIMESYNCD: "inactive"},
            Ntp(service=CHRONY, active=False),
            id="the first of the list is the one that would be started",
        ),
        pytest.param(
            {CHRONY: "inactive", TIMESYNCD: "active"}, Ntp(service=TIMESYNCD, active=True), id="who runs"
        ),
    ],
)
def test_which_ntp_service(guest: Guest, driver: Timedated, states: dict[str, str], ntp: Ntp | None) -> None:
    guest.states = states
    assert driver.read(None).ntp == ntp


def test_how_far_the_server_is(guest: Guest, driver: Timedated) -> None:
    guest.states[TIMESYNCD] = "active"
    guest.message = MESSAGE
    ntp = driver.read(None).ntp
    # Half of 20 ms and 5 ms to the server's source, half of the 2 ms there and back that are not its own.
    assert ntp == Ntp(service=TIMESYNCD, active=True, server="ntp.example.org", distance_s=0.016)


def test_sets_through_timedated(guest: Guest, driver: Timedated, etc: Path) -> None:
    guest.etc = etc
    driver.set_zone("Asia/Tokyo")
    driver.set_ntp(True)
    assert driver.read(None).ntp == Ntp(service=TIMESYNCD, active=True)
    driver.set_ntp(False)
    driver.set_rtc_mode(True)
    assert guest.heard == [
        ("SetTimezone", "Asia/Tokyo", False),
        ("SetNTP", True, False),
        ("SetNTP", False, False),
        ("SetLocalRTC", True, False, False),
    ]
    with pytest.raises(DriverError, match="cannot SetTimezone: Invalid or not installed"):
        driver.set_zone("Asia/Refused")


def test_a_timedated_that_has_missed_a_change_by_hand_is_ended(
    guest: Guest, driver: Timedated, etc: Path
) -> None:
    guest.etc = etc
    guest.known = {"SetTimezone": "Asia/Tokyo", "SetLocalRTC": True}
    driver.set_zone("Asia/Tokyo")
    assert driver.read(None).zone == "Asia/Tokyo"
    again = ("SetTimezone", "Asia/Tokyo", False)
    assert guest.heard == [again, ("StopUnit", "systemd-timedated.service"), again]
    guest.known = {"SetLocalRTC": True}
    driver.set_rtc_mode(True)
    assert driver.read(None).rtc_local


def test_lists_are_read_as_timedated_does(tmp_path: Path) -> None:
    for root, name, text in (
        ("lib", "50-chrony.list", CHRONY),
        ("lib", "80-timesync.list", f"{TIMESYNCD}\n{CHRONY}"),
        ("etc", "50-chrony.list", "\n# nobody wants it\nntpsec.service\n"),
        ("etc", "README", "text"),
    ):
        folder = tmp_path / root / "systemd/ntp-units.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    roots = (str(tmp_path / "etc"), str(tmp_path / "none"), str(tmp_path / "lib"))
    assert timedated._candidates(roots) == ["ntpsec.service", TIMESYNCD, CHRONY]


def test_only_systemds_own_signals_wake(driver: Timedated, guest: Guest) -> None:
    path = object_path(TIMESYNCD)
    _, _, watch, _ = driver.watches()
    driver.read(None)
    watch.drain()
    body: tuple[Any, ...] = ("org.freedesktop.systemd1.Unit", {"ActiveState": ("s", "active")}, [])
    signal = (path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", *body)
    with program("org.example.Liar", guest.systemd) as liar:
        liar.emit(*signal)
        driver.read(None)  # whatever has come from the bus by now is taken in
        assert not watch.drain()
    guest.programs["systemd"].emit(*signal)
    assert readable(watch.fileno())
    assert watch.drain()


def test_who_waits_for_a_service_can_be_cut_short(
    driver: Timedated, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def ntp() -> Ntp:
        looked.set()
        return Ntp(service=TIMESYNCD, active=False)

    monkeypatch.setattr(driver, "_ntp", ntp)  # no call on the bus, which would be cut short by itself
    failures: list[str] = []
    waiting = threading.Thread(target=lambda: failures.append(_failure(lambda: driver.set_ntp(True))))
    waiting.start()
    assert looked.wait(10)
    driver.cancel()
    waiting.join(5)
    assert failures == ["cannot wait for the clock's services any longer"]
    assert Clock.act_deadline_s >= 2 * timedated._CALL_S + timedated._SWITCH_S + 4.0


def _failure(do: Callable[[], None]) -> str:
    try:
        do()
    except DriverError as error:
        return str(error)
    return ""


def test_available_where_systemd_and_its_daemon_are(
    system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(timedated, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(timedated, "_ACTIVATION", str(tmp_path))
    assert Timedated.available()
    monkeypatch.setattr(timedated, "_ACTIVATION", f"{tmp_path}/missing")
    assert not Timedated.available()
    assert Files.available()
