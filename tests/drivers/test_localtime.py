"""The timezone, with zones given by rule so that no database is needed."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.localtime import Localtime
from reconciler.resource import Watching
from reconciler.resources.report import Source

SOURCE: Source = Localtime()  # holds the driver to its port, for the type checker
WATCHING: Watching = Localtime()


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the zone of this process by a POSIX rule; see tzset(3)."""
    yield lambda rule: monkeypatch.setenv("TZ", rule)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        pytest.param("UTC0", {"abbreviation": "UTC", "utcOffset": 0, "dst": False}, id="utc"),
        pytest.param(
            "IST-5:30", {"abbreviation": "IST", "utcOffset": 19800, "dst": False}, id="half an hour"
        ),
        pytest.param("PST8", {"abbreviation": "PST", "utcOffset": -28800, "dst": False}, id="west"),
        pytest.param(
            "XST-1XDT,0/0,J365/25", {"abbreviation": "XDT", "utcOffset": 7200, "dst": True}, id="summer time"
        ),
    ],
)
def test_offset(tmp_path: Path, zone: Callable[[str], None], rule: str, told: dict[str, Any]) -> None:
    zone(rule)
    assert Localtime(str(tmp_path)).read("timezone") == {"name": "UTC"} | told


@pytest.mark.parametrize(
    ("link", "written", "name"),
    [
        pytest.param("/usr/share/zoneinfo/Europe/Berlin", None, "Europe/Berlin", id="link"),
        pytest.param("../usr/share/zoneinfo/Etc/UTC", "old\n", "Etc/UTC", id="relative link"),
        pytest.param("", "America/New_York\n", "America/New_York", id="a copy, on Debian"),
        pytest.param("", None, None, id="a copy, elsewhere"),
        pytest.param("/srv/zone", "Asia/Tokyo\n", "Asia/Tokyo", id="a link to somewhere else"),
        pytest.param(None, None, "UTC", id="nothing"),
    ],
)
def test_name(tmp_path: Path, link: str | None, written: str | None, name: str | None) -> None:
    if link:
        (tmp_path / "localtime").symlink_to(link)
    elif link is not None:
        (tmp_path / "localtime").write_bytes(b"TZif2")
    if written is not None:
        (tmp_path / "timezone").write_text(written)
    assert Localtime(str(tmp_path)).read("timezone").get("name") == name


@pytest.mark.parametrize("how", ["renamed into place", "made anew"])
def test_another_zone_wakes(tmp_path: Path, how: str) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    watch: Any = Localtime(str(tmp_path)).watches()[0]
    with closing(watch):
        if how == "renamed into place":
            (tmp_path / "fresh").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
            assert not watch.drain()
            os.rename(tmp_path / "fresh", tmp_path / "localtime")
            assert watch.drain()
        else:
            (tmp_path / "localtime").unlink()
            assert watch.drain()
            (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
            assert watch.drain()


def test_a_new_zone_is_seen_without_a_restart(tmp_path: Path, zone: Callable[[str], None]) -> None:
    zone("UTC0")
    driver = Localtime(str(tmp_path))
    assert driver.read("timezone")["utcOffset"] == 0
    zone("IST-5:30")
    assert driver.read("timezone")["utcOffset"] == 19800
