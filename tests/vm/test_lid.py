"""A laptop's lid, made up by the kernel, closed under a real logind."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.vm.desktop import DESKTOP
from tests.vm.guest import boot_once
from tests.vm.image import product
from tests.vm.screen import Desktop
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

FIFO = "/run/lid"
LOGIND = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager"
CLOSED = f"busctl get-property {LOGIND} LidClosed"


@pytest.fixture
def guest() -> Iterator[Desktop]:
    image = product(DESKTOP)  # the small kernel of other guests makes up no switches
    with Desktop(image, boot_once(image, Desktop)) as guest:
        guest.run(f"modprobe uinput; mkfifo {FIFO}; systemd-run -q python3 -B /opt/tests/lid.py {FIFO}")
        # Or logind would have the guest sleep.
        guest.run("systemd-run -q systemd-inhibit --what=handle-lid-switch sleep infinity")
        guest.wait_until("systemd-inhibit --list | grep handle-lid-switch")
        guest.wait_until("grep -q 'Lid Switch' /proc/bus/input/devices")
        yield guest


def is_told(closed: bool, status: dict[str, Any]) -> bool:
    return status["observed"]["session"]["lidClosed"] is closed


def test_whether_the_lid_is_closed(guest: Desktop) -> None:
    with Host(guest.channel) as host:
        for state in ("unlocked", "locked", "unlocked"):
            closed = state == "locked"
            guest.run(f"echo {int(closed)} >{FIFO}")
            guest.wait_until(f"{CLOSED} | grep {str(closed).lower()}")
            host.converge({"session": state})  # which has it looked at
            # The look may have come too soon after another; then one more follows.
            host.until(partial(is_told, closed), 30)
