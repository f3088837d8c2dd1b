"""What holds for every kind there is, on a real guest: nothing is half done, and a rehearsal does nothing."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.documents import normalise, read
from reconciler.documents.kinds import every_kind
from reconciler.errors import InvalidSpec
from reconciler.resource import Json
from tests.documents.values import specs
from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, agent, configure
from tests.vm.wire import Host, Refused

pytestmark = pytest.mark.vm

EXAMPLES = Path(__file__).parents[2] / "examples"
# One guest takes them all: it must be the same afterwards, so none can spoil it for the next.
UNHURRIED = settings(
    max_examples=120,
    deadline=None,
    phases=[Phase.generate],  # no shrinking: each document takes tens of milliseconds
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)
STATE = "/var/lib/guest-reconciler"
REHEARSED = f"/usr/bin/guest-reconciler run $GUEST_RECONCILER_CHANNELS --state-dir {STATE} --rehearse"
ROOTS = "/ /srv /data /boot/efi /run /run/lock /run/user/1000 /tmp /dev/shm"
# What the guest itself writes as time goes by, and what the agent keeps.
OWN = (
    *(STATE, "/run/guest-reconciler", "/var/log", "/run/log", "/run/systemd/journal"),
    *("/var/lib/systemd", "/var/lib/private", "/run/systemd/netif", "/run/udev/queue"),
    # Of services that systemd starts when they are asked for, as this test does.
    *("/run/systemd/units", "/run/systemd/propagate", "/tmp/systemd-private-*", "/var/tmp/systemd-private-*"),
)
# A folder by its name alone: whatever is written in it stands on a line of its own.
MANIFEST = (
    f"find {ROOTS} -ignore_readdir_race -xdev \\( "
    + " -o ".join(f"-path '{path}'" for path in OWN)
    + " \\) -prune -o -type d -printf '%p %m %u %g\\n' -o -printf '%p %m %u %g %s %T@ %C@ %l\\n'"
)
# Services that answer for a while once they are asked come and go.
KERNEL = """
hostname; cat /sys/devices/system/cpu/online /proc/mounts /proc/sys/kernel/random/boot_id
timedatectl show -P Timezone
systemctl list-units --no-legend --plain --state=active --type=service,socket,mount,timer | cut -d' ' -f1 |
    grep -vE 'systemd-(hostname|timedate|locale)d'
loginctl list-sessions --no-legend
"""
# How far the wall clock is ahead of the boot clock, and the RTC of the wall clock, in seconds.
AHEAD = """python3 -BI -c '
import time
rtc = int(open("/sys/class/rtc/rtc0/since_epoch").read())
now = time.time()
print(now - time.clock_gettime(time.CLOCK_BOOTTIME), rtc - now)'
"""
RESTS_WITHIN_S = 2.0  # the RTC counts whole seconds, and an emulated one is read a second late at times
INVALID = -32602


def looked_at(generation: int, status: dict[str, Json]) -> bool:
    """Some kinds go on waiting: for a host's time, for a credential."""
    unseen = [each for each in status["conditions"] if each["reason"] == "NotSeenYet"]
    return status["observedGeneration"] == generation and not unseen


class Snapshot:
    """The guest as an acting agent would change it: a line for each thing, and its clocks."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._things, self._ahead_s = self._look()
        self._agent = agent(guest)

    def _look(self) -> tuple[set[str], list[float]]:
        things = [*self._guest.text(MANIFEST).splitlines(), *self._guest.text(KERNEL).splitlines()]
        return set(things), [float(word) for word in self._guest.text(AHEAD).split()]

    def check(self) -> None:
        """Nothing has changed since, and the agent has not stumbled."""
        journal = f"journalctl -b -u {UNIT} | grep -A20 Traceback"
        assert self._guest.run(journal, check=False).out == ""
        assert agent(self._guest) == self._agent
        things, ahead_s = self._look()
        assert things ^ self._things == set()
        assert ahead_s == pytest.approx(self._ahead_s, abs=RESTS_WITHIN_S)


@pytest.fixture
def rehearsing(guest: Guest) -> Iterator[Host]:
    configure(guest, "ExecStart=", f"ExecStart={REHEARSED}")
    with again(guest) as host:
        yield host


def test_no_document_makes_it_stumble_and_none_is_acted_on_in_a_rehearsal(
    guest: Guest, rehearsing: Host
) -> None:
    before = Snapshot(guest)
    accepted = 0

    @UNHURRIED
    @given(specs(every_kind()))
    def try_one(spec: Json) -> None:
        nonlocal accepted
        try:
            plans = rehearsing.call("plan", spec=spec)["kinds"]
            number = rehearsing.apply(spec)
            accepted += 1
        except Refused as refused:
            if refused.code != INVALID:
                raise
            return
        rehearsing.until(partial(looked_at, number))
        for plan in plans.values():
            assert "cannot go on" not in plan["message"], plan
        for condition in rehearsing.status["conditions"]:
            assert "cannot follow" not in condition["message"], condition
            assert "cannot go on" not in condition["message"], condition

    try_one()
    for example in sorted(EXAMPLES.glob("*.yaml")):
        for document in read(example.read_text()):
            number = rehearsing.apply(dict(document.normal))
            rehearsing.until(partial(looked_at, number))
    assert accepted > 20
    before.check()


def is_refused(spec: Json) -> bool:
    try:
        normalise(spec)
    except InvalidSpec:
        return True
    return False


def test_of_a_document_that_is_refused_nothing_is_acted_on(guest: Guest, host: Host) -> None:
    """Nothing else may be sent here: this agent would restart the guest, or freeze its disks."""
    host.converge({"hostname": "web-01"})
    in_force, before = host.call("spec"), Snapshot(guest)
    # Much of what is refused is refused for one thing in it, and the rest could be done.
    almost = specs(every_kind()).map(lambda spec: {**spec, "sesion": "locked"})

    @UNHURRIED
    @given(st.one_of(specs(every_kind()), almost).filter(is_refused))
    def try_one(spec: Json) -> None:
        with pytest.raises(Refused) as refused:
            host.call("apply", generation=in_force["generation"] + 1, spec=spec)
        assert refused.value.code == INVALID

    try_one()
    assert host.call("spec") == in_force
    host.until(lambda status: status.get("refusal", {}).get("reason") == "InvalidSpec")
    before.check()
