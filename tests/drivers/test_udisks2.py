"""The health of disks, over a real bus from a made-up udisks."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from reconciler.drivers import udisks2
from reconciler.drivers.udisks2 import Udisks2, health
from reconciler.errors import DriverError, Unsupported
from reconciler.resource import Cancellable, Json
from reconciler.resources.report import Source
from tests.bus import PrivateBus, Refusal, Reply, program

SOURCE: Source = Udisks2()  # holds the driver to its port, for the type checker
CANCELLABLE: Cancellable = Udisks2()

NAME = "org.freedesktop.UDisks2"
PATH = "/org/freedesktop/UDisks2"


def drive(id: str, **interfaces: Json) -> dict[str, Json]:
    return {f"{PATH}/drives/{id}": {f"{NAME}.Drive": {"Serial": ("s", id)}} | named(interfaces)}


def block(name: str, drive: str, **interfaces: Json) -> dict[str, Json]:
    about = {"Device": ("ay", f"/dev/{name}\0".encode()), "Drive": ("o", f"{PATH}/drives/{drive}")}
    return {f"{PATH}/block_devices/{name}": {f"{NAME}.Block": about} | named(interfaces)}


def named(interfaces: dict[str, Json]) -> dict[str, Json]:
    return {f"{NAME}.{name.replace('__', '.')}": values for name, values in interfaces.items()}


ATA = {
    "SmartSupported": ("b", True),
    "SmartUpdated": ("t", 1_700_000_000),
    "SmartFailing": ("b", False),
    "SmartTemperature": ("d", 310.15),
    "SmartPowerOnSeconds": ("t", 36_000_000),
    "SmartNumBadSectors": ("x", 3),
    "SmartSelftestStatus": ("s", "success"),
}
NVME = {
    "SmartUpdated": ("t", 1_700_000_000),
    "SmartCriticalWarning": ("as", ["spare"]),
    "SmartTemperature": ("q", 320),
    "SmartPowerOnHours": ("t", 42),
}
OBJECTS = {
    f"{PATH}/Manager": named({"Manager": {"Version": ("s", "2.10.1")}}),
    **drive("wd", Drive__Ata=ATA),
    **block("sda1", "wd", Partition={"Number": ("u", 1)}),
    **block("sda", "wd"),
    **drive("samsung", NVMe__Controller=NVME),
    **block("nvme0n1", "samsung"),
    **drive("asleep", Drive__Ata={"SmartSupported": ("b", True), "SmartUpdated": ("t", 0)}),
    **block("sdb", "asleep"),
    **drive("virtual"),
    **block("vda", "virtual"),
    **drive("unplugged", Drive__Ata=ATA),
}
READ_AT = "2023-11-14T22:13:20Z"
TOLD = {
    "nvme0n1": {
        "failing": True,
        "readAt": READ_AT,
        "warnings": ["spare"],
        "powerOnHours": 42,
        "temperatureC": 47,
    },
    "sda": {
        "failing": False,
        "readAt": READ_AT,
        "temperatureC": 37,
        "powerOnHours": 10_000,
        "badSectors": 3,
        "selfTest": "success",
    },
}


def test_health(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health(OBJECTS) == TOLD
    monkeypatch.setattr(udisks2, "_DISKS_MAX", 1)
    assert health(OBJECTS).keys() == {"sda"}


def test_unknown_figures_are_left_out() -> None:
    known = {
        "SmartUpdated": ("t", 1_700_000_000),
        "SmartNumBadSectors": ("x", -1),
        "SmartTemperature": ("d", 0.0),
    }
    disks = health({**drive("wd", Drive__Ata=known), **block("sda", "wd")})
    assert disks == {"sda": {"failing": False, "readAt": READ_AT}}


@pytest.fixture
def driver(system_bus: PrivateBus) -> Iterator[Udisks2]:
    with closing(Udisks2()) as driver:
        yield driver


def test_asks_udisks(driver: Udisks2) -> None:
    def answer(path: str, method: str, body: tuple[Any, ...]) -> Reply:
        assert (path, method) == (PATH, "GetManagedObjects")
        return "a{oa{sa{sv}}}", (OBJECTS,)

    with program(NAME, answer):
        assert driver.read("smart") == TOLD


def test_does_not_start_it(driver: Udisks2) -> None:
    with pytest.raises(Unsupported, match="does not run"):
        driver.read("smart")


def test_says_why_not(driver: Udisks2) -> None:
    def refuse(path: str, method: str, body: tuple[Any, ...]) -> Reply:
        raise Refusal("org.freedesktop.DBus.Error.AccessDenied", "not yours")

    with program(NAME, refuse), pytest.raises(DriverError, match="not yours"):
        driver.read("smart")
