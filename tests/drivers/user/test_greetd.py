"""greetd's door: what it has systemd start, over a real bus; tests/vm/test_desktop.py starts it."""

import os
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.drivers.user import greetd
from reconciler.drivers.user.greetd import Greetd, desktop_entry, first_session, quoted, without_fields
from reconciler.errors import DriverError, Unsupported
from reconciler.resources.user import Way
from reconciler.subjects.seating import Door, Entry
from tests.bus import PrivateBus, program
from tests.drivers.user.display_unit import FakeUnit

WAY: Way = Greetd()  # holds the driver to its port, for the type checker

OPEN = Door(way="greetd", seat="seat0", graphical=True)
SWAY = """\
[Desktop Entry]
Name=Sway
Name[de]=Wiegen
Exec=sway
Type=Application
DesktopNames=sway;wlroots;

[Desktop Action other]
Exec=other
"""
PLAIN = "[Desktop Entry]\nExec=plain\n"
STARTED = "env XDG_CURRENT_DESKTOP=sway:wlroots sway"


@pytest.fixture
def unit(system_bus: PrivateBus) -> Iterator[FakeUnit]:
    fake = FakeUnit("greetd.service")
    with program("org.freedesktop.systemd1", fake.answer):
        yield fake


@pytest.fixture
def door(unit: FakeUnit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Greetd]:
    for name in ("run", "sessions"):
        (tmp_path / name).mkdir()
    (tmp_path / "sessions/sway.desktop").write_text(SWAY)
    (tmp_path / "active").write_text("tty7\n")
    monkeypatch.setattr(greetd, "_RUN", str(tmp_path / "run"))
    monkeypatch.setattr(greetd, "_PROGRAMS", ("/nonexistent", "/bin/true"))
    monkeypatch.setattr(greetd, "_FOREGROUND", str(tmp_path / "active"))
    monkeypatch.setattr(greetd, "_COMMANDS", str(tmp_path / "environments"))
    monkeypatch.setattr(greetd, "_SESSIONS", str(tmp_path / "sessions"))
    monkeypatch.setattr(greetd, "_CONFIGURED", str(tmp_path / "config.toml"))
    monkeypatch.setattr(greetd, "free_terminal", lambda: 9)
    monkeypatch.setattr(greetd, "_START_S", 0)
    monkeypatch.setattr(greetd, "_SWITCH_S", 0.2)

    def run() -> None:
        (config,) = (tmp_path / "run").glob("*.toml")
        config.with_suffix(".ran").touch()

    unit.on_start = run
    with closing(Greetd()) as driver:
        yield driver


def test_has_a_door_where_greetd_runs(unit: FakeUnit, door: Greetd) -> None:
    assert door.doors() == (OPEN,)
    unit.state = "activating"
    assert door.doors() == (replace(OPEN, shut="greetd is just starting", opening=True),)
    unit.state = "inactive"
    assert door.doors() == ()


def test_has_nothing_to_start(unit: FakeUnit, door: Greetd, tmp_path: Path) -> None:
    (tmp_path / "sessions/sway.desktop").unlink()
    assert "there is no session in" in door.doors()[0].shut
    unit.state = "activating"
    assert not door.doors()[0].opening  # as it does not help to wait
    unit.state = "active"
    with pytest.raises(Unsupported, match="cannot log in alice: there is no session in"):
        door.enter(Entry("alice", OPEN))
    assert unit.started == []


def test_starts_a_greetd_for_one_session(unit: FakeUnit, door: Greetd, tmp_path: Path) -> None:
    door.enter(Entry("alice", OPEN))
    ((name, mode, properties, others),) = unit.started
    assert (name[:23], name[-8:], mode, others) == ("guest-reconciler-login-", ".service", "fail", [])
    found = {key: value for key, (_, value) in properties}
    ((program_path, argv, _),) = found["ExecStart"]
    assert (program_path, argv[:2]) == ("/bin/true", ["/bin/true", "--config"])
    assert found["Environment"] == ["XDG_SESSION_TYPE=wayland", "XDG_SESSION_DESKTOP=sway"]
    base = argv[2].removesuffix(".toml")
    for step in ("ExecStartPre", "ExecStopPost"):
        ((_, script, _),) = found[step]
        assert script[3:] == ["sh", "9", "7", base]

    config = tomllib.loads(Path(argv[2]).read_text())
    assert config["initial_session"] == {"user": "alice", "command": STARTED}
    assert config["default_session"] == {"user": "alice", "command": "/bin/false"}
    assert config["terminal"] == {"vt": 9, "switch": False}
    assert config["general"]["runfile"] == f"{base}.ran"
    assert stat.S_IMODE(os.stat(argv[2]).st_mode) == 0o600


def begun(unit: FakeUnit) -> int:
    """Run what systemd waits for after greetd has started; its exit code."""
    ((_, _, properties, _),) = unit.started
    ((_, argv, may_fail),) = dict(properties)["ExecStartPost"][1]
    assert not may_fail  # so the unit is stopped
    return subprocess.run(argv, timeout=30, check=False).returncode


def test_one_that_waits_for_its_terminal_is_stopped_even_without_an_agent(
    unit: FakeUnit, door: Greetd, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit.on_start = lambda: None  # somebody has turned to another terminal before it began
    monkeypatch.setattr(greetd, "_BEGUN", greetd._BEGUN.replace(f"seq {10 * 10}", "seq 2"))
    with pytest.raises(DriverError, match=r"cannot log in alice: greetd opened no session"):
        door.enter(Entry("alice", OPEN))
    assert begun(unit) not in (0, 1)  # 1 is the greeter's, and counts as success


def test_one_that_has_ended_is_not_waited_for(
    unit: FakeUnit, door: Greetd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        for path in (tmp_path / "run").iterdir():
            path.unlink()

    monkeypatch.setattr(greetd, "_SWITCH_S", 3600.0)
    unit.on_start = end
    with pytest.raises(DriverError, match="greetd opened no session"):
        door.enter(Entry("alice", OPEN))


def test_one_that_has_begun_goes_on(unit: FakeUnit, door: Greetd) -> None:
    door.enter(Entry("alice", OPEN))
    assert begun(unit) == 0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param('[terminal]\nvt = 1\n[default_session]\nuser = "_greetd"', ("1", "_greetd"), id="all"),
        pytest.param('[terminal]\nvt = "next"\n', ("7", ""), id="chosen by itself"),
        pytest.param("[terminal]\nvt = true\n", ("7", ""), id="no number"),
        pytest.param("vt = {", ("7", ""), id="no TOML"),
        pytest.param("terminal = 1\n", ("7", ""), id="no tables"),
        pytest.param("", ("7", ""), id="nothing"),
    ],
)
def test_gives_the_screen_back_to_the_greeter(
    door: Greetd, tmp_path: Path, config: str, expected: tuple[str, str]
) -> None:
    (tmp_path / "config.toml").write_text(config)
    assert greetd.home_terminal() == expected


def test_leaves_nothing_when_systemd_refuses(unit: FakeUnit, door: Greetd, tmp_path: Path) -> None:
    unit.refuses = "no more units"
    with pytest.raises(DriverError, match=r"cannot log in alice: .*no more units"):
        door.enter(Entry("alice", OPEN))
    assert list((tmp_path / "run").iterdir()) == []


def test_leaves_nothing_when_there_is_no_bus(
    unit: FakeUnit, door: Greetd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(DriverError, match="cannot log in alice: cannot reach the system bus"):
        door.enter(Entry("alice", OPEN))
    assert list((tmp_path / "run").iterdir()) == []


def test_says_why_it_cannot_write(unit: FakeUnit, door: Greetd, tmp_path: Path) -> None:
    (tmp_path / "run").rmdir()
    (tmp_path / "run").touch()
    with pytest.raises(DriverError, match=r"cannot log in alice: .*run"):
        door.enter(Entry("alice", OPEN))
    assert unit.started == []


@pytest.mark.parametrize(
    ("offered", "entries", "expected"),
    [
        pytest.param("", {"sway": SWAY}, ("sway", STARTED), id="an entry"),
        pytest.param("# none\n\n labwc -d \nsway\n", {"sway": SWAY}, ("", "labwc -d"), id="offered"),
        pytest.param("", {}, None, id="nothing"),
        pytest.param("", {"a": "[Desktop Entry]\nExec=\n", "b": SWAY}, ("b", STARTED), id="no command"),
        pytest.param("", {"a": PLAIN, "b": SWAY}, ("a", "plain"), id="the first by name"),
        pytest.param("", {"a": PLAIN + "Hidden=true\n"}, None, id="hidden"),
        pytest.param("", {"a": PLAIN + "NoDisplay=true\n"}, None, id="not shown"),
        pytest.param("", {"a": "\x00\xff" * 10_000}, None, id="no entry at all"),
    ],
)
def test_chooses_a_session(
    tmp_path: Path, offered: str, entries: dict[str, str], expected: tuple[str, str] | None
) -> None:
    (tmp_path / "environments").write_text(offered)
    (tmp_path / "sessions").mkdir()
    for name, text in entries.items():
        (tmp_path / "sessions" / f"{name}.desktop").write_text(text)
    assert first_session(str(tmp_path / "environments"), str(tmp_path / "sessions")) == expected


def test_no_folder_is_no_session(tmp_path: Path) -> None:
    assert first_session(str(tmp_path / "none"), str(tmp_path / "neither")) is None


def test_reads_the_first_group_of_an_entry() -> None:
    assert desktop_entry(SWAY)["Exec"] == "sway"
    assert desktop_entry(SWAY)["Name"] == "Sway"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param("sway", "sway", id="none"),
        pytest.param("start %U --go %f", "start --go", id="files"),
        pytest.param("x --at 50%% y%%U", "x --at 50% y%U", id="percent signs"),
    ],
)
def test_a_session_gets_no_field_codes(command: str, expected: str) -> None:
    assert without_fields(command) == expected


def test_quotes_for_the_configuration() -> None:
    text = quoted('a "b" \\\\c')
    assert tomllib.loads(f'x = "{text}"')["x"] == 'a "b" \\\\c'
    with pytest.raises(DriverError, match="cannot tell greetd"):
        quoted('alice"\ncommand = "evil')


def test_is_there_where_greetd_is(system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greetd, "_PROGRAMS", ("/nonexistent", __file__))
    assert Greetd.available()
    monkeypatch.setattr(greetd, "_PROGRAMS", ("/nonexistent",))
    assert not Greetd.available()


def test_finds_no_terminal_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greetd, "_CONSOLE", os.devnull)
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        greetd.free_terminal()
