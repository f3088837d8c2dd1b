"""What the tests ask of the product inside a guest, in shell words."""

import time

from tests.vm.guest import Guest
from tests.vm.wire import Host

UNIT = "guest-reconciler.service"
GAPS = "/run/gaps"


def agent(guest: Guest) -> str:
    """The daemon's process id."""
    return guest.text(f"systemctl show -P MainPID {UNIT}")


def guardian(guest: Guest) -> str:
    """The freeze guardian's process id."""
    return guest.text(f"pgrep -P {agent(guest)} -f guard")


def signal_agent(guest: Guest, signal: str) -> float:
    """Send a signal; when, in seconds of the guest's boot clock."""
    out = guest.text(
        f"pid=$(systemctl show -P MainPID {UNIT}); cut -d' ' -f1 /proc/uptime; kill -{signal} $pid"
    )
    return float(out)


def start_writer(guest: Guest, path: str = "/data/felt") -> None:
    guest.run(f"systemd-run --quiet python3 -B /opt/tests/writer.py {path} {GAPS}")
    guest.wait_until(f"test -e {path}")


def felt(guest: Guest, timeout: float = 30) -> tuple[float, float]:
    """The last time that the writer was kept from writing: from when to when, on the boot clock."""
    began, ended = guest.wait_until(f"tail -n1 {GAPS} | grep .", timeout).split()
    return float(began), float(ended)


def configure(guest: Guest, *lines: str) -> None:
    """Add lines to the unit's [Service] and start it anew."""
    folder = f"/run/systemd/system/{UNIT}.d"
    text = "\\n".join(["[Service]", *lines])
    guest.run(f"mkdir -p {folder}; printf '{text}\\n' >{folder}/test.conf; systemctl daemon-reload")
    guest.run(f"systemctl restart {UNIT}")


def session_of(guest: Guest, user: str = "alice") -> str:
    return guest.text(f"loginctl list-sessions --no-legend | awk '/{user} .*tty1/ {{print $1}}'")


def again(guest: Guest, before: Host | None = None, timeout: float = 180) -> Host:
    """A new connection, to an agent that may be about to start; QEMU serves one at a time."""
    if before:
        before.close()
    deadline = time.monotonic() + timeout
    while True:
        try:
            return Host(guest.channel)
        except (ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
