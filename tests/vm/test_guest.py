"""The ground that the other tests stand on: a guest boots, is restored, is cut off and goes on."""

import time

import pytest

from tests.vm.guest import Guest

pytestmark = pytest.mark.vm


def test_a_restored_guest_is_a_running_debian(guest: Guest) -> None:
    assert "ID=debian" in guest.text("cat /etc/os-release").splitlines()
    assert guest.text("systemctl --failed --no-legend | grep -v guest-reconciler || true") == ""
    assert abs(float(guest.text("date +%s.%N")) - time.time()) < 30
    assert guest.text("stat -fc %T /data /srv /boot/efi").split() == ["xfs", "ext2/ext3", "msdos"]


def test_a_session_is_there_to_be_locked(guest: Guest) -> None:
    session = guest.text("loginctl list-sessions --no-legend | awk '/alice/ {print $1}'")
    guest.run(f"loginctl lock-session {session}")
    guest.wait_until(f"loginctl show-session {session} -p LockedHint --value | grep yes")


def test_each_test_has_its_own_disks(guest: Guest) -> None:
    guest.run("test ! -e /data/mine && touch /data/mine && sync /data/mine")
    with Guest(guest.image, guest.state) as other:
        other.run("test ! -e /data/mine")


def test_a_power_cut_keeps_what_was_flushed(guest: Guest) -> None:
    guest.run("echo kept >/var/kept && sync /var/kept")
    guest.kill()
    guest.start()
    guest.wait_up()
    assert guest.text("cat /var/kept") == "kept"
    assert len(set(guest.boots())) == len(guest.boots()) == 2


def test_a_blocked_command_blocks_no_other(guest: Guest) -> None:
    guest.run("fsfreeze --freeze /data")
    blocked = guest.begin("touch /data/late; echo done")
    assert guest.text("echo free") == "free"
    guest.run("fsfreeze --unfreeze /data")
    assert guest.finish(blocked).out == "done"


def test_a_writer_feels_a_freeze(guest: Guest) -> None:
    guest.run("systemd-run --quiet python3 /opt/tests/writer.py /data/felt /run/gaps")
    guest.wait_until("test -e /data/felt")
    guest.run("fsfreeze -f /data; sleep 0.5; fsfreeze -u /data")
    began, ended = map(float, guest.wait_until("grep . /run/gaps").split())
    assert 0.4 < ended - began < 10
