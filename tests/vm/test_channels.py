"""Hosts that behave badly on a real virtio port, and a real serial line."""

import json
import subprocess
import sys

import pytest

from tests.vm.guest import PORT, Guest
from tests.vm.product import UNIT, again, agent, configure
from tests.vm.wire import CLIENT, LIMITS, Host

pytestmark = pytest.mark.vm

CHANNELS = 'Environment="GUEST_RECONCILER_CHANNELS=--channel virtio-serial:{} --channel serial:/dev/ttyS1"'


def test_a_document_converges_over_virtio(guest: Guest, host: Host) -> None:
    status = host.converge({"hostname": "web-01", "report": ["memory", "nics"]})
    assert guest.text("hostnamectl --static; cat /proc/sys/kernel/hostname").split() == ["web-01"] * 2
    assert status["inventory"]["memory"]["total"] > 900 << 20
    host.converge({"hostname": "web-02"})
    assert guest.text("hostname") == "web-02"


def test_nothing_is_resent_after_a_drop(guest: Guest, host: Host) -> None:
    host.converge({"hostname": "web-01"})
    had = host.call("spec")
    host.close()
    with again(guest, host) as later:
        assert later.hello["generation"] == had["generation"]
        assert later.hello["digest"] == had["digest"]
        kept = later.call("subscribe", have={"bootId": later.hello["bootId"], "revision": later.revision})
        assert "status" not in kept


def test_drift_is_repaired(guest: Guest, host: Host) -> None:
    host.converge({"hostname": "web-01"})
    guest.run("hostnamectl set-hostname elsewhere")
    guest.wait_until("test $(hostname) = web-01")


def test_a_host_that_never_reads_blocks_nothing(guest: Guest) -> None:
    deaf = Host(guest.channel, greet=False)
    deaf.send("hello", protocols=[1], client=CLIENT, limits=LIMITS)
    deaf.send("subscribe")
    number = 1
    deaf.send("apply", generation=number, spec={"report": ["memory", "load", "services"]})
    deaf.socket.settimeout(1)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"filler": "x" * 1000}}
    try:
        for _ in range(2000):
            deaf.socket.sendall(b"\x1e" + json.dumps(ping).encode() + b"\n")
    except TimeoutError:
        pass  # the guest takes no more than it can answer: that is the point
    before = agent(guest)
    deaf.close()
    with again(guest) as host:
        host.converge({"hostname": "heard"})
    assert guest.text("hostname") == "heard"
    assert agent(guest) == before


@pytest.mark.parametrize("cut", [1, 17, 60, 100])
def test_a_host_that_goes_away_in_the_middle_of_a_message(guest: Guest, cut: int) -> None:
    rude = Host(guest.channel)
    message = {
        "jsonrpc": "2.0",
        "id": 5,
        "method": "apply",
        "params": {"generation": 1, "spec": {"hostname": "no"}},
    }
    rude.socket.sendall((b"\x1e" + json.dumps(message).encode() + b"\n")[:cut])
    rude.close()
    with again(guest) as host:
        host.converge({"hostname": "yes"})
        assert guest.text("hostname") == "yes"


def test_hosts_come_and_go(guest: Guest) -> None:
    before = agent(guest)
    # QEMU's control queue holds 32 of these news, two for each host, and drops what comes on top.
    for _ in range(8):
        Host(guest.channel, greet=False).close()
    for number in range(10):
        with Host(guest.channel) as host:
            host.converge({"hostname": f"web-{number}"})
    assert agent(guest) == before


def test_late_news_of_earlier_hosts_takes_no_answer_from_the_next(guest: Guest) -> None:
    """A guest that stood still hears of all of them at once, and of what the last one said.

    On a busy machine, as this makes it, in an order of its own.
    """
    with Host(guest.channel):
        pass  # the agent listens
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        for _ in range(200):
            guest.qmp("stop")
            for _ in range(8):
                Host(guest.channel, greet=False).close()
            last = Host(guest.channel, greet=False)
            number = last.send("hello", protocols=[1], client=CLIENT, limits=LIMITS)
            guest.qmp("cont")
            while last.receive(30).get("id") != number:
                pass
            last.call("subscribe", timeout=30)  # asked once: nothing of it may be lost either
            last.close()
    finally:
        for each in busy:
            each.kill()
            each.wait()


def test_the_client_reaches_a_guest_whose_kernel_has_lost_count_of_its_hosts(guest: Guest) -> None:
    for _ in range(30):  # more than QEMU's queue holds
        Host(guest.channel, greet=False).close()
    document = guest.folder / "web.yaml"
    document.write_text("hostname: still-reached\n")
    channel = ["-c", f"unix:{guest.channel}", "--connect-timeout", "60s"]
    line = [sys.executable, "-m", "reconciler.host", "apply", *channel, "-f", str(document), "--wait=60s"]
    ran = subprocess.run(line, capture_output=True, text=True, timeout=180)
    assert (ran.returncode, guest.text("hostname")) == (0, "still-reached"), ran.stderr


def test_a_serial_line_beside_the_virtio_port(guest: Guest) -> None:
    configure(guest, CHANNELS.format(PORT))
    with Host(guest.serial) as serial, Host(guest.channel) as virtio:
        serial.converge({"hostname": "by-wire"})
        virtio.until(lambda status: status["observedGeneration"] == serial.status["observedGeneration"])
        virtio.converge({"hostname": "by-virtio"})
    assert guest.text("hostname") == "by-virtio"


def test_the_agent_survives_a_port_that_is_pulled(guest: Guest) -> None:
    with Host(guest.channel) as host:
        host.converge({"hostname": "before"})
    guest.qmp("device_del", id="channel-port")
    guest.wait_until(f"! test -e /dev/virtio-ports/{PORT}")
    guest.qmp("device_add", driver="virtserialport", id="channel-port", chardev="channel", name=PORT)
    with again(guest) as host:
        host.converge({"hostname": "after"})
    assert guest.text(f"systemctl is-active {UNIT}") == "active"


APPLY_OVER_VSOCK = "reconciler apply --channel vsock:1:5000 -f /run/document.yaml --wait"


def test_vsock_is_for_the_host_alone(guest: Guest) -> None:
    """No hypervisor here has vsock: this is the guest's kernel, talking to itself."""
    guest.run("modprobe vsock_loopback; printf 'hostname: by-vsock\\n' >/run/document.yaml")
    configure(guest, 'Environment="GUEST_RECONCILER_CHANNELS=--channel vsock:5000"')
    assert "cannot reach the guest: the channel" in guest.run(APPLY_OVER_VSOCK, check=False).out
    guest.wait_until(f"journalctl -b -u {UNIT} | grep 'CID 1 is not the host'")
    program = "/usr/bin/python3 -BIS /opt/tests/vsock_loopback.py"
    configure(
        guest,
        "ExecStart=",
        f"ExecStart={program} run --channel vsock:5000 --state-dir /var/lib/guest-reconciler",
    )
    guest.run(APPLY_OVER_VSOCK)
    assert guest.text("hostname") == "by-vsock"
