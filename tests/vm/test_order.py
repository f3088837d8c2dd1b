"""One document that says all at once, on a real guest, in the order that is written down."""

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import again, session_of
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

PASSWORD = "let-me-in"
LOGIN = {"name": "bob", "state": "logged-in", "credential": {"fromFile": "secrets/bob"}}
LOCK = {"state": "locked"}
FREEZE = {"state": "frozen", "mounts": ["/data"], "lease": 60}
SECRETS = {"user": {"credential": b64encode(PASSWORD.encode()).decode()}}
ALL = {
    "filesystems": FREEZE,
    "user": LOGIN,
    "session": LOCK,
    "hostname": "all-at-once",
    "run": {"mark": {"shell": "touch /run/ran", "token": "1"}},
    "files": {"/etc/motd": "welcome\n"},
}
OFF = {"filesystems": FREEZE, "power": "off", "user": LOGIN, "session": LOCK}
ORDER = ["hostname", "files", "run", "session", "user", "filesystems"]
# A screen at no seat, as of a remote desktop: `user` has no reason to lock it, so only `session` does.
REMOTE = (
    "useradd -m carol; systemd-run --quiet --unit=remote -p PAMName=login -p User=carol "
    "-E XDG_SESSION_TYPE=x11 -E XDG_SESSION_CLASS=user sh -c 'python3 -B /opt/tests/locker.py; exit'"
)
HAND_OVER = ["carol is locked", "bob is let in"]


def prepare(guest: Guest) -> None:
    guest.run(f"echo 'bob:{PASSWORD}' | chpasswd; {REMOTE}")
    guest.wait_until("test -e /run/user/$(id -u carol)/locker")


def dry_run(guest: Guest, spec: dict[str, Any]) -> list[str]:
    """Kinds in the order of their acts, as `reconciler apply --dry-run` shows them."""
    document = guest.folder / "guest.yaml"
    document.write_text(json.dumps(spec))  # which is YAML, too
    argv: list[str | Path] = [
        Path(sys.executable).parent / "reconciler",
        "apply",
        "-f",
        document,
        "--dry-run",
    ]
    environment = {**os.environ, "RECONCILER_CHANNEL": f"unix:{guest.channel}"}
    shown = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout
    acts = re.findall(r"^[a-z]+: ([a-z-]+): ", shown, re.MULTILINE)
    return list(dict.fromkeys(acts))


def apply(host: Host, spec: dict[str, Any]) -> int:
    generation: int = host.call("spec")["generation"] + 1
    host.call("apply", generation=generation, spec=spec, secrets=SECRETS)
    return generation


STEPS = {
    "carol is locked": ("session", "SessionLocked", "(carol, x11)"),
    "bob is let in": ("session", "SessionOpened", "(bob, seat0 "),
    "frozen": ("filesystems", "InSync", ""),
}


def story(events: list[dict[str, Any]]) -> list[str]:
    """What of the above has happened, in the guest's own order."""
    told = [
        step
        for event in events
        for step, (kind, reason, words) in STEPS.items()
        if (event["kind"], event["reason"]) == (kind, reason) and words in event["message"]
    ]
    return list(dict.fromkeys(told))


def test_all_at_once_comes_about_in_the_order_that_a_dry_run_shows(guest: Guest) -> None:
    prepare(guest)
    alice = session_of(guest)
    assert dry_run(guest, ALL) == ORDER
    assert guest.text(f"loginctl show-session {alice} -P LockedHint") == "no"  # it did nothing

    with again(guest) as host:
        generation = apply(host, ALL)
        host.until(lambda seen: seen["phase"] == "Holding" and seen["observedGeneration"] == generation)
        assert guest.text("hostname; cat /etc/motd; ls /run/ran").split() == [
            "all-at-once",
            "welcome",
            "/run/ran",
        ]
        # By the guest's own accounts.
        assert story(host.call("events")["events"]) == [*HAND_OVER, "frozen"]
        assert guest.text(f"loginctl show-session {alice} -P LockedHint") == "yes"
        assert host.status["observed"]["filesystems"]["freeze"]["mounts"] == ["/data"]

        # Who is let in by the document is told of, and not locked out by it.
        bob = guest.text("loginctl list-sessions --no-legend | awk '$3 == \"bob\" {print $1}'")
        assert guest.text(f"loginctl show-session {bob} -P LockedHint") == "no"
        message = host.reason("session", "InSync")["message"]
        assert re.fullmatch(rf"2 sessions locked; {bob} \(bob, seat0 tty\d+\) came since", message)


def test_what_is_switched_off_is_not_frozen_before(guest: Guest) -> None:
    prepare(guest)
    assert dry_run(guest, OFF) == ["session", "user", "power"]
    with again(guest) as host:
        apply(host, OFF)
        with pytest.raises(ConnectionError):
            host.until(lambda status: status["phase"] == "Holding")
        guest.wait_off()
        assert story(host.events) == HAND_OVER  # nothing was frozen
