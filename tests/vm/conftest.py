"""Guests for the tests: one boot for all of them, and each goes on from there."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import GUESTS_CPU
from tests.vm.guest import Guest, boot_once
from tests.vm.image import Image, product
from tests.vm.wire import Host


@pytest.fixture(autouse=True)
def _alone(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """No host stays, and what a test's guests took of the processors is told at the end."""
    before_s = children_cpu_s()
    yield
    Host.close_all()
    record_property(GUESTS_CPU, children_cpu_s() - before_s)


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
