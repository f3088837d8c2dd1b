"""Power cuts around a restart: it happens once all the same."""

import time
from contextlib import suppress

import pytest

from tests.vm.guest import Guest
from tests.vm.product import again, agent
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

REBOOT = {"power": {"state": "running", "reboot": {"token": "kernel-1"}}}
STILL_S = 8  # a second reboot would begin within a second of the agent's start
RESTARTS_MAX = 6  # of the wait for what is one at most, as each is waited for half a minute
AT_ONCE = "True"
STATE = "/var/lib/guest-reconciler/state.json"
# Like a power cut, but at the very moment: the machine starts anew, and nothing is flushed.
CUT = """
import os, sys, time
agent = sys.argv[1]
def read(path):
    try: return open(path).read()
    except OSError: return ""
cut = os.open("/proc/sysrq-trigger", os.O_WRONLY)
open("/run/watching", "w").close()
while not ({moment}): time.sleep(0.001)
os.write(cut, b"b")
"""


# With the number of boots afterwards: the first one, that after the cut, and one that was asked for.
@pytest.mark.parametrize(
    ("moment", "boots"),
    [
        pytest.param(AT_ONCE, {2, 3}, id="soon after it is sent"),
        pytest.param(f"'kernel-1' in read('{STATE}')", {2, 3}, id="as it is stored"),
        pytest.param(f"'\"begun\"' in read('{STATE}')", {2, 3}, id="as the token is recorded"),
        pytest.param("not os.path.exists(f'/proc/{agent}')", {2}, id="as the agent ends"),
    ],
)
def test_a_power_cut_around_a_reboot_does_not_repeat_it(
    guest: Guest, host: Host, moment: str, boots: set[int]
) -> None:
    number = host.call("spec")["generation"] + 1
    cut_at(guest, moment)
    host.send("apply", generation=number, spec=REBOOT)
    guest.wait_boots(2)
    with again(guest, host) as later:
        if later.hello["generation"] < number:
            later.apply(REBOOT, number)  # as a host would: the guest never had it
    # Up again, whether or not it rebooted just now: the wish is fulfilled, and was so once.
    with in_sync(guest) as later:
        time.sleep(STILL_S)
        later.call("ping")
        assert later.condition("power")["reason"] == "InSync"
    assert len(guest.boots()) in boots


def in_sync(guest: Guest) -> Host:
    """A host of an agent that has nothing to do; the guest may be about to restart, or do so."""
    for _ in range(RESTARTS_MAX):
        later = again(guest)
        with suppress(TimeoutError):
            later.reason("power", "InSync", 30)
            return later
        later.close()
    raise TimeoutError("the guest is not as its document says")


def cut_at(guest: Guest, moment: str) -> None:
    """Have the guest's power cut as soon as a Python expression is true in it."""
    guest.run(f"cat >/run/cut.py <<'END'\n{CUT.format(moment=moment)}END")
    # Without the usual dependencies nothing ends it before the guest does.
    start = f"systemd-run --quiet --property=DefaultDependencies=no python3 /run/cut.py {agent(guest)}"
    guest.begin(start)  # of which no answer may come
    if moment != AT_ONCE:
        guest.wait_until("test -e /run/watching")
