"""What holds for every kind there is, on a real guest: nothing is half done, and a rehearsal does nothing."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from reconciler.documents import read
from reconciler.documents.kinds import every_kind
from reconciler.resource import Json
from tests.documents.values import specs
from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, agent, configure
from tests.vm.wire import Host, Refused

pytestmark = pytest.mark.vm

EXAMPLES = Path(__file__).parents[2] / "examples"
# One guest takes them all: it must be the same afterwards, so none can spoil it for the next.
UNHURRIED = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.generate],  # no shrinking: each document takes tens of milliseconds
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
STATE = "/var/lib/guest-reconciler"
REHEARSED = f"/usr/bin/guest-reconciler run $GUEST_RECONCILER_CHANNELS --state-dir {STATE} --rehearse"
# What the guest itself writes as time goes by, and what the agent keeps.
OWN = (STATE, "/var/log", "/var/lib/systemd", "/var/lib/private", "/tmp", "/var/tmp")
MANIFEST = (
    "find / /srv /data /boot/efi -xdev \\( "
    + " -o ".join(f"-path {path}" for path in OWN)
    + " \\) -prune -o -printf '%p %m %u %g %s %T@ %C@ %l\\n'"
)
KERNEL = """
hostname; cat /sys/devices/system/cpu/online /proc/mounts; uptime -s; timedatectl show -P Timezone
systemctl list-units --no-legend --plain --state=active --type=service,socket,mount,timer | cut -d' ' -f1
loginctl list-sessions --no-legend
"""
INVALID = -32602


def looked_at(generation: int, status: dict[str, Json]) -> bool:
    """Some kinds go on waiting: for a host's time, for a credential."""
    unseen = [each for each in status["conditions"] if each["reason"] == "NotSeenYet"]
    return status["observedGeneration"] == generation and not unseen


def look(guest: Guest) -> set[str]:
    """The guest as an acting agent would change it, a line for each thing."""
    return {*guest.text(MANIFEST).splitlines(), *guest.text(KERNEL).splitlines()}


@pytest.fixture
def rehearsing(guest: Guest) -> Iterator[Host]:
    configure(guest, "ExecStart=", f"ExecStart={REHEARSED}")
    with again(guest) as host:
        yield host


def test_no_document_makes_it_stumble_and_none_is_acted_on_in_a_rehearsal(
    guest: Guest, rehearsing: Host
) -> None:
    before, running = look(guest), agent(guest)
    accepted = 0

    @UNHURRIED
    @given(specs(every_kind()))
    def try_one(spec: Json) -> None:
        nonlocal accepted
        try:
            plans = rehearsing.call("plan", spec=spec)["kinds"]
            rehearsing.apply(spec)
            accepted += 1
        except Refused as refused:
            if refused.code != INVALID:
                raise
            return
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
    assert guest.run(f"journalctl -b -u {UNIT} | grep -A20 Traceback", check=False).out == ""
    assert agent(guest) == running
    assert look(guest) ^ before == set()
