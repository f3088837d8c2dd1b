"""What many tests stand on."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus import PrivateBus

GUESTS_CPU = "CPU of guests"  # a property of a test, in seconds
HERE = Path(__file__).parent
# Files run side by side, and nobody is to wait at the end for a long one that began late.
_LONGEST_FIRST = (
    *("simulation/test_simulation.py", "guest_runtime/test_killed.py", "drivers/run/test_mortal_start.py"),
    *("documents/test_properties.py", "test_contributing.py", "test_demo.py", "host/test_client.py"),
    *("vm/test_services.py", "vm/test_desktop.py", "vm/test_power_cut.py", "vm/test_run.py"),
    *("vm/test_accounts.py", "vm/test_power.py", "vm/test_files.py", "vm/test_unit.py", "vm/test_freeze.py"),
    *("vm/test_every_kind.py", "vm/test_gnome.py", "vm/test_user.py", "vm/test_clock.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        file = str(item.path.relative_to(HERE))
        return _LONGEST_FIRST.index(file) if file in _LONGEST_FIRST else len(_LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture
def system_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    """A system bus of the test's own, which the code under test takes for the guest's."""
    bus = PrivateBus(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    bus.start()
    yield bus
    bus.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each file's guests took of the processors, which tells more than how long it took."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                total[report.fspath] += dict(report.user_properties).get(GUESTS_CPU, 0)
    if total.total():
        terminalreporter.section(f"{GUESTS_CPU}: {total.total():.0f} s")
        for path, cpu_s in total.most_common():
            terminalreporter.write_line(f"{cpu_s:6.0f} s  {path}")
