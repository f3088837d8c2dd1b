"""Real desktops: logged in by document, locked by a real locker, switched and sent away.

The same way through greetd with a Wayland compositor and through LightDM with an X11 session.
What the screen showed lies under `build/screens`.
"""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.desktop import DESKTOP
from tests.vm.guest import boot_once
from tests.vm.image import Image, product
from tests.vm.product import again, signal_agent
from tests.vm.screen import Desktop
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

PASSWORDS = {"alice": "wonder land", "bob": "builder's"}
# As the guest's own configuration says; see tests/vm/desktop_rootfs.
TERMINAL = (0x20, 0x30, 0x50)
LOCKER = (0x80, 0x30, 0x30)
TYPES = {"greetd": "wayland", "lightdm": "x11"}
GREETER = "loginctl show-seat seat0 -P ActiveSession | xargs loginctl show-session | grep -x Class=greeter"
# Units of sessions that have ended are gone, and with them what they did to the screen.
NOTHING_OPENS = "! systemctl list-units --all --no-legend 'guest-reconciler-login-*' | grep -v running"
LOGINS = "guest-reconciler-login-*"
SEAT0 = "org.freedesktop.login1 /org/freedesktop/login1/seat/seat0 org.freedesktop.login1.Seat"
LOCKERS = {"greetd": "swayidle", "lightdm": "xss-lock"}


@pytest.fixture(scope="module")
def image() -> Image:
    return product(DESKTOP)


@pytest.fixture(scope="module")
def booted(image: Image) -> Path:
    return boot_once(image, Desktop)


@pytest.fixture
def guest(image: Image, booted: Path, request: pytest.FixtureRequest) -> Iterator[Desktop]:
    with Desktop(image, booted) as guest:
        for user, password in PASSWORDS.items():
            guest.run(f"chpasswd <<'END'\n{user}:{password}\nEND")
        yield guest
        if getattr(request.node, "failed", False) and not guest.is_off():
            guest.screenshot(f"failed-{request.node.name}")
            print(guest.run("journalctl -b --no-pager -n 80; loginctl", check=False).out)


@pytest.fixture(params=["greetd", "lightdm"])
def manager(request: pytest.FixtureRequest, guest: Desktop) -> str:
    """A display manager whose greeter has the screen."""
    name = str(request.param)
    guest.run(f"systemctl start {name}")
    guest.wait_until(GREETER)
    return name


def apply(host: Host, user: str, password: str = "", **more: Any) -> int:
    """A login of the user, as the next generation."""
    document = {"name": user, "state": "logged-in", "credential": {"fromFile": f"secrets/{user}"}} | more
    secret = b64encode((password or PASSWORDS[user]).encode()).decode()
    generation: int = host.call("spec")["generation"] + 1
    secrets = {"user": {"credential": secret}}
    host.call("apply", generation=generation, spec={"user": document}, secrets=secrets)
    return generation


def log_in(host: Host, user: str, password: str = "", *, reason: str = "InSync", **more: Any) -> None:
    """Apply it, and wait until this is what the guest makes of it."""
    wanted = {"observedGeneration": apply(host, user, password, **more), "reason": reason}
    host.until(lambda _: wanted.items() <= host.condition("user").items())


def session(guest: Desktop, user: str) -> dict[str, str]:
    """What logind says of the user's only session; empty without one."""
    listed = guest.text(f"loginctl list-sessions --no-legend | awk '$3 == \"{user}\" {{print $1}}'")
    text = guest.text(f"loginctl show-session {listed}") if listed else ""
    return dict(line.split("=", 1) for line in text.splitlines())


def wait_ready(guest: Desktop, manager: str, user: str) -> None:
    """Until the session has drawn its screen, and its locker listens."""
    guest.wait_until(f"pgrep -u {user} -x {LOCKERS[manager]}", 60)
    guest.wait_until(f"pgrep -u {user} -x sleep", 60)  # after the last line of show-session
    guest.wait_corner(TERMINAL)


def test_a_day_at_a_desktop(guest: Desktop, manager: str) -> None:
    with Host(guest.channel) as host:
        before = guest.text("loginctl list-sessions --no-legend")
        log_in(host, "alice", "wrong", reason="WrongPassword")
        assert guest.text("loginctl list-sessions --no-legend") == before

        log_in(host, "alice")
        alice = session(guest, "alice")
        wanted = {"Class": "user", "Seat": "seat0", "Type": TYPES[manager], "Active": "yes", "Remote": "no"}
        assert {key: alice[key] for key in wanted} == wanted
        wait_ready(guest, manager, "alice")
        guest.screenshot(f"{manager}-1-alice")

        host.converge({"session": "locked"})
        assert session(guest, "alice")["LockedHint"] == "yes"
        guest.wait_corner(LOCKER)
        guest.screenshot(f"{manager}-2-locked")

        host.converge({"session": "unlocked"})
        assert session(guest, "alice")["LockedHint"] == "no"
        guest.wait_corner(TERMINAL)

        # The screen goes to bob; alice's session is kept, and locked before.
        log_in(host, "bob")
        bob, kept = session(guest, "bob"), session(guest, "alice")
        assert (bob["Active"], bob["Type"]) == ("yes", TYPES[manager])
        assert (kept["Id"], kept["Active"], kept["LockedHint"]) == (alice["Id"], "no", "yes")
        wait_ready(guest, manager, "bob")
        guest.screenshot(f"{manager}-3-bob")

        host.converge({"user": "alice logged-out"})
        assert session(guest, "alice") == {}
        guest.wait_until(NOTHING_OPENS)
        assert session(guest, "bob")["Active"] == "yes"
        host.converge({"user": "bob logged-out"})
        assert session(guest, "bob") == {}
        guest.wait_until(NOTHING_OPENS)
        guest.wait_until(GREETER)
        guest.wait_drawn()
        guest.screenshot(f"{manager}-4-greeter")


@pytest.mark.parametrize("manager", ["greetd"], indirect=True)
def test_a_session_without_a_locker_keeps_the_screen(guest: Desktop, manager: str) -> None:
    """What is reported is what the session says: nobody takes the wish to lock for a lock."""
    with Host(guest.channel) as host:
        log_in(host, "alice")
        wait_ready(guest, manager, "alice")
        guest.run(f"pkill -x {LOCKERS[manager]}")
        host.apply({"session": "locked"})
        host.reason("session", "NotConfirmed")
        assert session(guest, "alice")["LockedHint"] == "no"
        log_in(host, "bob", reason="SeatBusy")
        assert session(guest, "bob") == {}
        log_in(host, "bob", "wrong", reason="WrongPassword", replace=True)
        assert session(guest, "alice")["State"] == "active"
        log_in(host, "bob", replace=True)
        assert session(guest, "alice") == {}


@pytest.mark.parametrize("manager", ["greetd"], indirect=True)
def test_a_door_that_nobody_watches_any_more_is_shut(guest: Desktop, manager: str) -> None:
    """A second greetd whose terminal is not in front ends in time, without the agent that has started it."""
    front = guest.text("cat /sys/class/tty/tty0/active").removeprefix("tty")
    folder = "/run/systemd/system/guest-reconciler-login-.service.d"
    away = f"/usr/bin/busctl call {SEAT0} SwitchTo u {front}"
    guest.run(f"mkdir -p {folder}; printf '[Service]\\nExecStartPre={away}\\n' >{folder}/away.conf")
    guest.run("systemctl daemon-reload")
    with Host(guest.channel) as host:
        apply(host, "alice")
        guest.wait_until(f"systemctl list-units --all --no-legend '{LOGINS}' | grep start-post")
        signal_agent(guest, "KILL")
        with again(guest, host) as host:
            host.reason("user", "OutcomeUnknown")
            guest.wait_until(f"! systemctl list-units --all --no-legend '{LOGINS}' | grep .", 60)
            assert session(guest, "alice") == {}
