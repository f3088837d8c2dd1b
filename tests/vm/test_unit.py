"""The installed unit: how it starts, what it may do, and what brings it back."""

from collections.abc import Callable

import pytest

from reconciler.resources import names
from reconciler.subjects.items import KEPT
from tests.vm.guest import PORT, Guest
from tests.vm.product import UNIT, again, agent, configure
from tests.vm.wire import Host

Record = Callable[[str, object], None]
pytestmark = pytest.mark.vm

EXPOSURE_MAX = 5.9  # as measured; what is left is what freezing, accounts, files and the clock take
USUAL = {  # the kinds that are always awake
    "filesystems": "thawed",
    "hostname": "web-01",
    "power": "running",
    "report": sorted(KEPT.keys() - {"smart"}),  # its disks have none
    "session": "unlocked",
}
EVERYTHING = USUAL | {
    "accounts": {"alice": {"comment": "Alice"}},
    "clock": {"ntp": True},
    "cpus": "all",
    "files": {"/etc/motd": "hello"},
    "memory-blocks": "all",
    "run": {"nothing": {"command": ["/bin/true"], "token": "1"}},
    "services": {"systemd-journald": "running"},
    "user": "bob logged-out",
}
WAKEUPS_MAX = 2  # a minute, in a guest that has what its document says


def shown(guest: Guest, name: str) -> str:
    return guest.text(f"systemctl show -P {name} {UNIT}")


def test_it_is_ready_when_it_says_so(guest: Guest) -> None:
    assert shown(guest, "Type") == "notify"
    assert shown(guest, "ActiveState") == "active"
    assert shown(guest, "NRestarts") == "0"


def test_the_unit_has_no_fault(guest: Guest) -> None:
    assert guest.run(f"systemd-analyze verify {UNIT}").out == ""


def test_the_port_starts_it(guest: Guest) -> None:
    assert guest.run(f"systemctl is-enabled {UNIT}", check=False).out == "disabled"
    guest.run(f"systemctl stop {UNIT}")
    guest.qmp("device_del", id="channel-port")
    guest.wait_until(f"! test -e /dev/virtio-ports/{PORT}")
    assert shown(guest, "ActiveState") == "inactive"
    guest.qmp("device_add", driver="virtserialport", id="channel-port", chardev="channel", name=PORT)
    guest.wait_until(f"systemctl is-active -q {UNIT}")


def test_the_watchdog_ends_a_stopped_loop(guest: Guest) -> None:
    configure(guest, "WatchdogSec=3s")
    before = agent(guest)
    guest.run(f"kill -STOP {before}")
    guest.wait_until(f"journalctl -u {UNIT} | grep -q watchdog")
    with again(guest) as host:
        host.converge({"hostname": "back"})
    assert agent(guest) != before


def test_a_living_loop_feeds_the_watchdog(guest: Guest) -> None:
    configure(guest, "WatchdogSec=2s")
    before = agent(guest)
    guest.run("sleep 8")
    assert agent(guest) == before


def test_it_comes_back_when_it_is_killed(guest: Guest, host: Host) -> None:
    host.converge({"hostname": "web-01"})
    generation = host.status["observedGeneration"]
    guest.run(f"kill -9 {agent(guest)}")
    with again(guest, host) as later:
        assert later.hello["generation"] == generation
        later.converge({"hostname": "web-02"})


def test_the_sandbox_is_as_tight_as_it_was(guest: Guest, record_property: Record) -> None:
    line = guest.text(f"systemd-analyze security --no-pager {UNIT} | tail -n1")
    exposure = float(line.rpartition(": ")[2].split()[0])
    record_property("exposure", exposure)
    assert exposure <= EXPOSURE_MAX


def test_it_sees_the_mounts_of_the_guest(guest: Guest) -> None:
    assert guest.text(f"readlink /proc/{agent(guest)}/ns/mnt") == guest.text("readlink /proc/1/ns/mnt")


@pytest.mark.parametrize(
    ("spec", "most_mib"),
    [
        # 15.9 as measured, and one run differs from the next by a tenth or two; 16 is the aim.
        pytest.param(USUAL, 16.5, id="the usual kinds and every item"),
        pytest.param(EVERYTHING, 20, id="every kind and item"),
    ],
)
def test_it_is_small(
    guest: Guest, host: Host, record_property: Record, spec: dict[str, object], most_mib: float
) -> None:
    host.converge(spec, 300)
    rss = f"awk '/VmRSS/ {{print $2}}' /proc/{agent(guest)}/status"
    record_property("rss_kib_at_once", int(guest.text(rss)))
    # The process that reads documents leaves after 30 s, and then the daemon gives back what it can.
    guest.wait_until(f"! pgrep -P {agent(guest)} -f validator", 60)
    guest.run("sleep 5")
    rss_kib = int(guest.text(rss))
    record_property("rss_kib", rss_kib)
    print(f"resident: {rss_kib / 1024:.1f} MiB")
    assert rss_kib <= most_mib * 1024


def test_every_kind_is_measured() -> None:
    assert EVERYTHING.keys() == set(names())


def test_a_quiet_guest_is_left_alone(guest: Guest, host: Host, record_property: Record) -> None:
    host.converge({"hostname": "web-01", "session": "unlocked"})
    count = f"awk '/^voluntary/ {{sum += $2}} END {{print sum}}' /proc/{agent(guest)}/task/*/status"
    guest.run("sleep 45", 75)  # the child that validates ends after 30 s, hostnamed too
    before = int(guest.text(count))
    guest.run("sleep 60", 90)
    wakeups = int(guest.text(count)) - before
    record_property("wakeups_a_minute", wakeups)
    assert wakeups <= WAKEUPS_MAX


def test_check_says_what_this_guest_can_do(guest: Guest) -> None:
    ran = guest.run("guest-reconciler check", check=False)
    for kind in ("filesystems", "hostname", "power", "report", "session"):
        assert kind in ran.out


def test_a_policy_forbids(guest: Guest) -> None:
    guest.run("printf 'forbid:\\n  kinds: [hostname]\\n' >/etc/guest-reconciler/policy.yaml")
    configure(guest)
    with again(guest) as host:
        host.apply({"hostname": "never"})
        assert host.reason("hostname", "Forbidden")["status"] == "False"
    assert guest.text("hostname") == "guest"
