"""One document that says all at once, on a real guest, in the order that is written down."""

from base64 import b64encode
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import session_of
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
ORDER = ["hostname", "files", "run", "session", "user", "filesystems"]


def test_all_at_once_comes_about_in_the_order_that_a_dry_run_shows(guest: Guest, host: Host) -> None:
    guest.run(f"echo 'bob:{PASSWORD}' | chpasswd")
    alice = session_of(guest)

    plans = host.call("plan", spec=ALL)["kinds"]
    assert shown(plans) == ORDER

    generation = host.call("spec")["generation"] + 1
    host.call("apply", generation=generation, spec=ALL, secrets=SECRETS)
    host.until(lambda status: status["phase"] == "Holding" and status["observedGeneration"] == generation)
    assert guest.text("hostname; cat /etc/motd; ls /run/ran").split() == [
        "all-at-once",
        "welcome",
        "/run/ran",
    ]
    # By the guest's own accounts: locked before bob came, and frozen after.
    told = [(event["kind"], event["reason"]) for event in host.call("events")["events"]]
    steps = [("session", "SessionLocked"), ("user", "InSync"), ("filesystems", "InSync")]
    places = [told.index(step) for step in steps]
    assert places == sorted(places), told
    assert guest.text(f"loginctl show-session {alice} -P LockedHint") == "yes"
    assert host.status["observed"]["filesystems"]["freeze"]["mounts"] == ["/data"]

    # Who came after the lock is told of, and not locked out.
    bob = guest.text("loginctl list-sessions --no-legend | awk '$3 == \"bob\" {print $1}'")
    assert guest.text(f"loginctl show-session {bob} -P LockedHint") == "no"
    session = host.reason("session", "Drifted")
    assert f"not locked: {bob} (bob" in session["message"]
    assert "not repaired" in session["message"]


def test_what_is_switched_off_is_not_frozen_before(guest: Guest, host: Host) -> None:
    spec = {"power": "off", "filesystems": FREEZE, "session": LOCK}
    assert shown(host.call("plan", spec=spec)["kinds"]) == ["session", "power"]
    host.apply(spec)
    with pytest.raises(ConnectionError):
        host.until(lambda status: status["phase"] == "Holding")
    guest.wait_off()
    assert not [
        event for event in host.events if event["kind"] == "filesystems" and event["reason"] == "InSync"
    ]


def shown(plans: dict[str, Any]) -> list[str]:
    """Kinds in the order of their phases, as `apply --dry-run` shows them."""
    phases = ["release", "change", "people", "content", "programs", "tasks", "leave", "enter", "hold"]
    acts = [(phases.index(act["phase"]), kind) for kind, plan in plans.items() for act in plan["actions"]]
    return list(dict.fromkeys(kind for _, kind in sorted(acts)))
