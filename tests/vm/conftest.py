"""Guests for the tests: one boot for all of them, and each goes on from there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.guest import Guest, boot_once
from tests.vm.image import Image, product
from tests.vm.wire import Host


@pytest.fixture(autouse=True)
def _no_host_stays() -> Iterator[None]:
    yield
    Host.close_all()


@pytest.fixture(scope="session")
def image() -> Image:
    return product()


@pytest.fixture(scope="session")
def booted(image: Image) -> Path:
    return boot_once(image)


@pytest.fixture
def guest(image: Image, booted: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest of one's own, a second after its boot. Its journal is shown when the test fails."""
    with Guest(image, booted) as guest:
        yield guest
        if getattr(request.node, "failed", False) and not guest.is_off():
            print(guest.run("journalctl -b --no-pager -u guest-reconciler -n 60", check=False).out)
            print(guest.console.read_text(errors="replace")[-2000:])


@pytest.fixture
def host(guest: Guest) -> Iterator[Host]:
    """A host that has said hello and follows the guest's status."""
    with Host(guest.channel) as host:
        yield host


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # pragma: no cover
    report = yield
    if call.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report
