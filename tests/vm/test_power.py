"""Power for real: off, a restart and a sleep that happen once, and what stands in their way."""

import time

import pytest

from tests.vm.guest import Guest
from tests.vm.product import again, session_of
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

REBOOT = {"power": {"state": "running", "reboot": {"token": "kernel-1"}}}
STILL_S = 8  # a second reboot would begin within a second of the agent's start


def test_off_is_off_and_a_guest_started_again_stays_on(guest: Guest, host: Host) -> None:
    host.apply({"power": "off"})
    guest.wait_off(90)
    guest.start()
    guest.wait_up()
    with again(guest, host) as later:
        assert later.reason("power", "StartedAgain")["status"] == "False"
        time.sleep(STILL_S)
        assert not guest.is_off()


def test_a_token_reboots_once(guest: Guest, host: Host) -> None:
    host.apply(REBOOT)
    guest.wait_boots(2)
    with again(guest, host) as later:
        later.reason("power", "InSync")
        # The same token in another document is the same wish.
        later.converge({**REBOOT, "hostname": "web-01"})
        time.sleep(STILL_S)
    assert len(guest.boots()) == 2


def test_a_block_inhibitor_is_respected_and_said(guest: Guest, host: Host) -> None:
    guest.run(
        "systemd-run --quiet --unit=holder systemd-inhibit --what=shutdown --who=backup --why=busy sleep 1000"
    )
    guest.wait_until("systemd-inhibit --list --no-legend | grep -q backup")
    host.apply({"power": "off"})
    assert "backup" in host.reason("power", "Inhibited")["message"]
    guest.run("systemctl stop holder")
    guest.wait_off(90)


def test_who_is_logged_in_is_told(guest: Guest, host: Host) -> None:
    assert session_of(guest)
    seen = guest.begin("until grep -q 'back at noon' /dev/vcs1; do sleep 0.02; done; echo seen")
    host.apply({"power": {"state": "halted", "message": "back at noon"}})
    assert guest.finish(seen).out == "seen"
    guest.wait_console("System halted", 90)
    assert not guest.is_off()


def test_a_stop_that_hangs_is_cut_short(guest: Guest, host: Host) -> None:
    stubborn = "--unit=stubborn --property=TimeoutStopSec=infinity --property=KillMode=process"
    guest.run(f"systemd-run --quiet {stubborn} python3 -BIS /opt/tests/stubborn.py /run/stubborn")
    guest.wait_until("test -e /run/stubborn")
    host.apply({"power": {"state": "off", "deadline": "5s"}})
    guest.wait_off(90)
    assert "stubborn.service" in guest.console.read_text(errors="replace")


def test_what_the_kernel_cannot_is_said(guest: Guest, host: Host) -> None:
    host.apply({"power": {"hibernate": {"token": "deep-1"}}})
    assert "cannot hibernate" in host.reason("power", "Unsupported")["message"]


def test_a_token_suspends_once(guest: Guest, host: Host) -> None:
    host.apply({"power": {"suspend": {"token": "nap-1"}}})
    guest.wait_status("suspended")
    guest.qmp("system_wakeup")
    guest.wait_status("running")
    with again(guest, host) as later:
        later.reason("power", "InSync")
        time.sleep(STILL_S)
    assert guest.qmp("query-status")["status"] == "running"
