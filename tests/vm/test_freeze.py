"""Freezing real disks: what a writer in the guest feels, whatever dies meanwhile."""

from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import (
    UNIT,
    again,
    configure,
    felt,
    guardian,
    signal_agent,
    start_writer,
)
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

DATA = "/data"
LEASE_S = 4


def frozen(lease: str = "60s", mounts: tuple[str, ...] = (DATA,)) -> dict[str, Any]:
    return {"filesystems": {"state": "frozen", "lease": lease, "mounts": list(mounts)}}


def held(status: dict[str, Any]) -> dict[str, Any]:
    return dict(status["observed"]["filesystems"]["freeze"])


def test_a_real_disk_freezes_and_thaws(guest: Guest, host: Host) -> None:
    status = host.converge(frozen())
    assert status["phase"] == "Holding"
    assert held(status)["mounts"] == [DATA]
    touch = guest.begin("touch /data/late; echo written")
    with pytest.raises(TimeoutError):
        guest.finish(touch, 1)
    status = host.converge({"filesystems": "thawed"})
    assert guest.finish(touch).out == "written"
    assert status["observed"]["filesystems"]["lastFreeze"]["ended"] == "Thawed"


def test_the_other_disks_stay_writable(guest: Guest, host: Host) -> None:
    host.converge(frozen())
    assert guest.text("touch /srv/now /var/now; echo written") == "written"
    host.converge({"filesystems": "thawed"})


def test_it_thaws_when_the_agent_is_killed(guest: Guest, host: Host) -> None:
    start_writer(guest)
    host.converge(frozen())
    killed_s = signal_agent(guest, "KILL")
    assert 0 <= felt(guest)[1] - killed_s < 1
    with again(guest, host) as later:
        # Started anew, it does not freeze again for the same document.
        assert later.reason("filesystems", "LeaseEnded")["status"] == "False"
        guest.run("touch /data/free", 5)


def test_it_thaws_at_the_end_of_the_lease_when_the_agent_is_stopped(guest: Guest, host: Host) -> None:
    start_writer(guest)
    until_s = held(host.converge(frozen(f"{LEASE_S}s")))["until"]
    signal_agent(guest, "STOP")
    assert -0.1 < felt(guest)[1] - until_s < 1
    signal_agent(guest, "CONT")
    assert host.reason("filesystems", "LeaseEnded")["observedGeneration"] > 0


def test_it_thaws_at_the_end_of_the_lease_when_the_host_is_gone(guest: Guest, host: Host) -> None:
    start_writer(guest)
    until_s = held(host.converge(frozen(f"{LEASE_S}s")))["until"]
    host.close()
    assert -0.1 < felt(guest)[1] - until_s < 1


@pytest.mark.parametrize("step", [pytest.param("+1 hour", id="forth"), pytest.param("-1 day", id="back")])
def test_the_lease_does_not_hear_of_the_wall_clock(guest: Guest, host: Host, step: str) -> None:
    start_writer(guest)
    until_s = held(host.converge(frozen(f"{LEASE_S}s")))["until"]
    guest.run(f"date -s '{step}'")
    assert -0.1 < felt(guest)[1] - until_s < 1


def test_a_lease_is_renewed(guest: Guest, host: Host) -> None:
    start_writer(guest)
    status = host.converge(frozen(f"{LEASE_S}s"))
    first = held(status)
    renewed = host.call(
        "renew", kind="filesystems", generation=status["observedGeneration"], lease=2 * LEASE_S
    )
    assert renewed["epoch"] == first["epoch"]
    host.reason("filesystems", "LeaseEnded")
    assert felt(guest)[1] - first["until"] > LEASE_S / 2


def test_it_thaws_when_the_unit_is_stopped(guest: Guest, host: Host) -> None:
    start_writer(guest)
    host.converge(frozen())
    guest.run(f"systemctl stop {UNIT}", 30)
    felt(guest)
    guest.run("touch /data/free", 5)


def test_it_thaws_when_the_guardian_is_killed(guest: Guest, host: Host) -> None:
    start_writer(guest)
    host.converge(frozen())
    guest.run(f"kill -9 {guardian(guest)}")
    felt(guest)
    host.until(lambda status: "freeze" not in status["observed"]["filesystems"])
    guest.run("touch /data/free", 5)


def test_it_thaws_when_everything_of_ours_is_killed(guest: Guest, host: Host) -> None:
    start_writer(guest)
    host.converge(frozen())
    guest.run(f"systemctl kill --signal=KILL --kill-whom=all {UNIT}")
    felt(guest)
    guest.run("touch /data/free", 5)


def test_the_whole_guest_freezes_with_a_loop_mount_on_a_disk(guest: Guest, host: Host) -> None:
    guest.run("truncate -s 32M /data/inner; mkfs.ext4 -q /data/inner; mkdir /mnt/inner")
    guest.run("mount -o loop /data/inner /mnt/inner")
    start_writer(guest, "/mnt/inner/felt")
    status = host.converge({"filesystems": {"state": "frozen", "lease": "5s"}})
    assert set(held(status)["mounts"]) == {"/", "/data", "/srv", "/mnt/inner"}
    host.reason("filesystems", "LeaseEnded")
    felt(guest)
    guest.run("touch /free /data/free /srv/free /mnt/inner/free", 10)


def test_the_whole_guest_thaws_when_the_agent_is_killed(guest: Guest, host: Host) -> None:
    start_writer(guest, "/felt")
    host.converge({"filesystems": {"state": "frozen", "lease": "30s"}})
    killed_s = signal_agent(guest, "KILL")
    assert 0 <= felt(guest)[1] - killed_s < 1
    guest.run("touch /free /data/free /srv/free", 10)
    with again(guest, host) as later:
        later.reason("filesystems", "LeaseEnded")


def test_a_filesystem_that_cannot_freeze_is_named_and_nothing_is_held(guest: Guest, host: Host) -> None:
    host.apply(frozen(mounts=(DATA, "/boot/efi")))
    host.until(lambda _: "/boot/efi" in host.condition("filesystems").get("message", ""))
    assert host.condition("filesystems")["status"] == "False"
    guest.run("touch /data/free", 5)


def test_hooks_run_around_the_freeze(guest: Guest, host: Host) -> None:
    hook = "/etc/guest-reconciler/freeze.d/10-note"
    guest.run(f"printf '#!/bin/sh\\necho $1 >>/run/hooked\\n' >{hook}; chmod 755 {hook}")
    configure(guest)
    with again(guest, host) as later:
        later.converge(frozen())
        assert guest.text("cat /run/hooked") == "freeze"
        later.converge({"filesystems": "thawed"})
        guest.wait_until("grep thaw /run/hooked")


def test_a_failing_hook_refuses_the_freeze(guest: Guest, host: Host) -> None:
    hook = "/etc/guest-reconciler/freeze.d/10-no"
    guest.run(f"printf '#!/bin/sh\\nexit 3\\n' >{hook}; chmod 755 {hook}")
    configure(guest)
    with again(guest, host) as later:
        later.apply(frozen())
        later.until(lambda _: "10-no" in later.condition("filesystems").get("message", ""))
        guest.run("touch /data/free", 5)


def test_power_off_of_a_frozen_guest_thaws_first(guest: Guest, host: Host) -> None:
    host.converge(frozen())
    host.apply({"power": "off", **frozen()})
    guest.wait_off(90)


def test_unused_blocks_are_trimmed_once(guest: Guest, host: Host) -> None:
    spec = {"filesystems": {"trim": {"token": "t1", "mounts": [DATA]}}}
    first = host.converge(spec)["observed"]["filesystems"]["lastTrim"]
    assert first["token"] == "t1"
    assert first["trimmed"][DATA] > 100 << 20
    assert host.converge(spec)["observed"]["filesystems"]["lastTrim"] == first
