"""A shutdown by programs that are made up and note how they were called."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers import fill
from reconciler.drivers.shutdown import Shutdown
from reconciler.errors import DriverError, Unsupported
from reconciler.facilities import login1
from reconciler.resources.power import Power, Switch

SWITCH: Switch = Shutdown()  # holds the driver to its port, for the type checker


def put(folder: Path, program: str, status: int = 0) -> None:
    path = folder / program
    path.write_text(f'#!/bin/sh\necho "{program} $*" >> {folder}/called\nexit {status}\n')
    path.chmod(0o755)


def called(folder: Path) -> list[str]:
    path = folder / "called"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("verb", "message", "line"),
    [
        pytest.param("off", "", "shutdown -P now", id="off"),
        pytest.param("halt", "", "shutdown -H now", id="halt"),
        pytest.param("reboot", "Back soon", "shutdown -r now Back soon", id="reboot, and say why"),
    ],
)
def test_begins_with_shutdown(tmp_path: Path, verb: Any, message: str, line: str) -> None:
    put(tmp_path, "shutdown")
    driver = Shutdown((str(tmp_path),))
    assert driver.machine().state == "running"
    driver.bring(verb, message=message, heed=True, deadline_s=None)
    assert called(tmp_path) == [line]
    assert driver.machine().state == "shutting-down"


def test_a_shutdown_that_comes_to_nothing_is_over_some_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "shutdown")
    driver, now_s = Shutdown((str(tmp_path),)), 1000.0
    monkeypatch.setattr(driver, "boot_clock_s", lambda: now_s)
    driver.bring("off", message="", heed=True, deadline_s=None)
    now_s = 1299.0
    assert driver.machine().state == "shutting-down"
    now_s = 1300.0
    assert driver.machine().state == "running"


def test_begins_with_busybox(tmp_path: Path) -> None:
    put(tmp_path, "poweroff")
    driver = Shutdown((str(tmp_path),))
    driver.bring("off", message="", heed=True, deadline_s=None)
    assert called(tmp_path) == ["poweroff "]
    assert "reboot" not in driver.machine().able


@pytest.mark.parametrize(
    ("programs", "verb", "how", "why"),
    [
        pytest.param([], "off", {}, "neither logind nor a program", id="no program"),
        pytest.param(["shutdown"], "suspend", {}, "neither logind nor a program", id="sleep"),
        pytest.param(["poweroff"], "off", {"message": "Bye"}, "cannot tell anybody", id="nobody to tell"),
        pytest.param(["shutdown"], "off", {"deadline_s": 5}, "cannot set a deadline", id="no deadline"),
    ],
)
def test_says_what_it_cannot(tmp_path: Path, programs: list[str], verb: Any, how: Any, why: str) -> None:
    for name in programs:
        put(tmp_path, name)
    with pytest.raises(Unsupported, match=why):
        Shutdown((str(tmp_path),)).bring(verb, **{"message": "", "heed": True, "deadline_s": None} | how)
    assert called(tmp_path) == []


def test_a_program_that_fails_has_begun_nothing(tmp_path: Path) -> None:
    put(tmp_path, "shutdown", status=1)
    driver = Shutdown((str(tmp_path),))
    with pytest.raises(DriverError, match="cannot off: "):
        driver.bring("off", message="", heed=True, deadline_s=None)
    assert driver.machine().state == "running"


def test_observes_the_same_twice() -> None:
    first, second = Shutdown().machine(), Shutdown().machine()
    assert first == second
    assert first.boot_id
    assert first.booted_at < "9999"


def test_stands_in_where_there_is_no_logind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login1, "_BOOTED", "/missing")
    assert isinstance(fill(Power), Shutdown)
