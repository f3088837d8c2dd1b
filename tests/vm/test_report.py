"""The inventory of a real guest, against what its own tools say."""

from functools import partial
from shlex import quote
from typing import Any

import pytest

from tests.vm.guest import MAC, Guest
from tests.vm.product import again, configure
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

STACK = """
echo secret >/run/key
cryptsetup -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luksFormat /dev/vdd /run/key
cryptsetup open --key-file /run/key /dev/vdd inner
vgcreate -q pool /dev/mapper/inner && lvcreate -q -L 64M -n one pool && lvcreate -q -L 64M -n two pool
mdadm --create /dev/md0 --run --level=1 --metadata=1.0 --raid-devices=2 /dev/pool/one /dev/pool/two
mkfs.ext4 -q /dev/md0 && mkdir -p /mnt/deep && mount /dev/md0 /mnt/deep
"""
METRICS = r"""
mkdir -p /var/lib/guest-reconciler/metrics
echo 'orders 42' >/var/lib/guest-reconciler/metrics/shop.prom
printf '#!/bin/sh\necho depth 7\n' >/etc/guest-reconciler/metrics.exec.d/queue
chmod 755 /etc/guest-reconciler/metrics.exec.d/queue
cat >/run/collectd.conf <<'END'
LoadPlugin load
LoadPlugin unixsock
Interval 1
<Plugin unixsock>
  SocketFile "/var/run/collectd-unixsock"
</Plugin>
END
systemd-run --quiet collectd -f -C /run/collectd.conf
"""
RPM = r"""
cat >/tmp/thing.spec <<'END'
Name: thing
Version: 1.2
Release: 3
Summary: A thing
License: Apache-2.0
Vendor: Some Maker
BuildArch: noarch
%description
A thing.
%files
END
rpmbuild --quiet --define '_topdir /tmp/rpm' -bb /tmp/thing.spec
rpm --dbpath /var/lib/rpm --nodeps -i /tmp/rpm/RPMS/noarch/thing-1.2-3.noarch.rpm
"""

# Databases as their own tools write them: none of these is in Debian's smallest guest.
APPS = r"""
mkdir -p /lib/apk/db /var/lib/flatpak/repo /var/lib/snapd/snaps /snap/lxd/26200/meta
printf 'P:musl\nV:1.2.4-r2\nA:x86_64\n\n' >/lib/apk/db/installed
maps=/var/lib/flatpak/app/org.gnome.Maps/x86_64/stable
mkdir -p $maps/0123456789abcdef && ln -s 0123456789abcdef $maps/active
printf 'version: 5.19\n' >/snap/lxd/26200/meta/snap.yaml
ln -s 26200 /snap/lxd/current
"""
LISTENERS = """
import socket, time
held = [socket.create_server(("127.0.0.1", 8125)), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)]
held[1].bind(("::1", 8126))
time.sleep(600)
"""


def inventory(host: Host, *items: str) -> dict[str, Any]:
    return dict(host.converge({"report": list(items)})["inventory"])


def has_metric(word: str, status: dict[str, Any]) -> bool:
    return word in str(status.get("inventory", {}).get("metrics"))


def test_memory_and_kernel(guest: Guest, host: Host) -> None:
    seen = inventory(host, "memory", "kernel", "os", "cpus", "load", "swap", "timezone")
    total_kib = int(guest.text("awk '/MemTotal/ {print $2}' /proc/meminfo"))
    assert seen["memory"]["total"] == total_kib << 10
    assert guest.text("uname -r") in str(seen["kernel"])
    assert "bookworm" in str(seen["os"])


def test_interfaces_have_both_families(guest: Guest, host: Host) -> None:
    nic = inventory(host, "nics")["nics"]["eth0"]
    assert nic["mac"] == MAC
    for family in ("inet", "inet6"):
        address = guest.text(
            f"ip -o -f {family} address show eth0 | awk '{{print $4}}' | head -n1 | cut -d/ -f1"
        )
        assert address in str(nic[family])


def test_an_address_that_comes_is_noticed(guest: Guest, host: Host) -> None:
    inventory(host, "nics")
    guest.run("ip address add 192.0.2.7/24 dev eth0")
    host.until(lambda status: "192.0.2.7" in str(status["inventory"].get("nics")), 10)


def test_packages_of_dpkg_and_rpm(guest: Guest, host: Host) -> None:
    guest.run(RPM, 120)
    configure(guest)  # whether there is a database is looked at when the agent starts
    with again(guest, host) as later:
        apps = inventory(later, "apps")["apps"]
    assert len(apps["dpkg"]) == int(guest.text("dpkg-query -f '${Status}\\n' -W | grep -c installed$"))
    assert apps["dpkg"]["udev"]["version"] == guest.text("dpkg-query -f '${Version}' -W udev")
    (thing,) = [value for name, value in apps["rpm"].items() if name.startswith("thing")]
    assert thing["version"].startswith("1.2")
    assert thing["vendor"] == "Some Maker"


def test_packages_of_apk_flatpak_and_snap(guest: Guest, host: Host) -> None:
    guest.run(APPS)
    configure(guest)
    with again(guest, host) as later:
        apps = inventory(later, "apps")["apps"]
    assert apps["apk"] == {"musl": {"version": "1.2.4-r2", "arch": "x86_64"}}
    assert apps["flatpak"]["org.gnome.Maps"]["commit"] == "0123456789ab"
    assert apps["snap"] == {"lxd": {"version": "5.19", "revision": "26200"}}
    assert "udev" in apps["dpkg"]


def test_who_listens(guest: Guest, host: Host) -> None:
    guest.run(f"systemd-run --quiet -p User=alice python3 -c {quote(LISTENERS)}")
    guest.wait_until("grep -q 1FBE /proc/net/udp6")
    sockets = inventory(host, "sockets")["sockets"]
    assert sockets["tcp"]["127.0.0.1:8125"] == {"uid": 1000, "programs": ["python3"]}
    assert sockets["udp"]["[::1]:8126"] == {"uid": 1000, "programs": ["python3"]}


def test_a_restart_that_becomes_due(guest: Guest, host: Host) -> None:
    assert inventory(host, "reboot", "pressure")["reboot"] == {"required": False, "why": []}
    assert host.status["inventory"]["pressure"]["cpu"]["some"]["stalledS"] >= 0
    guest.run("echo libc6 >/run/reboot-required.pkgs; touch /run/reboot-required")
    host.until(lambda status: status["inventory"].get("reboot", {}).get("required"), 30)
    assert host.status["inventory"]["reboot"]["packages"] == ["libc6"]
    guest.run("cp -r /lib/modules/$(uname -r) /lib/modules/99.$(uname -r); rm /run/reboot-required*")
    host.until(lambda status: status["inventory"].get("reboot", {}).get("kernel", "").startswith("99."), 30)


def test_what_this_guest_has_not_is_said(guest: Guest, host: Host) -> None:
    host.apply({"report": ["smart", "load"]})
    message = host.reason("report", "Unsupported")["message"]
    assert message == "cannot read smart: udisks2 does not run in this guest"
    assert host.status["inventory"].keys() == {"load"}


def test_a_container_that_begins_is_noticed(guest: Guest, host: Host) -> None:
    assert inventory(host, "containers")["containers"] == {"machines": {}}
    guest.run("printf 'NAME=web\\nCLASS=container\\nSERVICE=systemd-nspawn\\n' >/run/systemd/machines/web")
    host.until(lambda status: "web" in status["inventory"].get("containers", {}).get("machines", {}), 30)


def test_disks_behind_raid_on_lvm_on_luks(guest: Guest, host: Host) -> None:
    guest.run(STACK, 180)
    seen = inventory(host, "filesystems", "disks")
    assert seen["filesystems"]["/mnt/deep"]["disks"] == ["vdd"]
    assert seen["filesystems"]["/srv"]["disks"] == ["vdc"]
    assert seen["filesystems"]["/data"]["type"] == "xfs"
    assert set(seen["disks"]) >= {"vda", "vdb", "vdc", "vdd"}
    assert set(seen["disks"]["vdc"]["partitions"]) == {"vdc1", "vdc2"}


@pytest.mark.parametrize(
    ("driver", "bus"),
    [pytest.param("virtio-blk-pci", "virtio", id="virtio"), pytest.param("nvme", "nvme", id="nvme")],
)
def test_a_disk_that_is_plugged_in_is_told_with_its_serial_number(
    guest: Guest, host: Host, driver: str, bus: str
) -> None:
    before = inventory(host, "disks")["disks"].keys()
    guest.qmp("blockdev-add", driver="null-co", size=64 << 20, **{"node-name": "extra"})
    guest.qmp("device_add", driver=driver, id="extra", drive="extra", serial="Q-0042")
    host.until(lambda status: status["inventory"].get("disks", {}).keys() > before, 60)
    disks = host.status["inventory"]["disks"]
    (name,) = disks.keys() - before
    assert (disks[name]["serial"], disks[name]["bus"], disks[name]["size"]) == ("Q-0042", bus, 64 << 20)
    assert guest.text(f"lsblk -dno SERIAL /dev/{name}") == "Q-0042"


def test_that_stack_freezes(guest: Guest, host: Host) -> None:
    guest.run(STACK, 180)
    spec = {"filesystems": {"state": "frozen", "mounts": ["/mnt/deep"]}}
    assert host.converge(spec)["observed"]["filesystems"]["freeze"]["mounts"] == ["/mnt/deep"]
    host.converge({"filesystems": "thawed"})
    guest.run("touch /mnt/deep/free", 10)


def test_who_is_logged_in_where(guest: Guest, host: Host) -> None:
    seen = inventory(host, "users", "sessions")
    assert "alice" in str(seen["users"])
    assert "tty1" in str(seen["sessions"])


def test_metrics_from_files_programs_and_collectd(guest: Guest, host: Host) -> None:
    guest.run(METRICS)
    guest.wait_until("test -S /var/run/collectd-unixsock")
    configure(guest)
    with again(guest, host) as later:
        later.apply({"report": {"metrics": {"every": "1s"}}})
        for word in ("orders", "depth", "/load/load"):
            later.until(partial(has_metric, word), 30)
