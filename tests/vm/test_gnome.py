"""GDM: logged in by document through GNOME's own greeter, locked, switched and sent away.

What the screen showed lies under `build/screens`.
"""

from collections.abc import Iterator
from typing import ClassVar

import pytest

from tests.vm.desktop import GNOME
from tests.vm.image import product
from tests.vm.screen import Desktop
from tests.vm.test_desktop import GREETER, LOCKER, PASSWORDS, TERMINAL, log_in, session
from tests.vm.wire import Host

pytestmark = [pytest.mark.vm, pytest.mark.alone]  # a neighbour makes a greeter take minutes

GREETER_S = 240  # GNOME's shell draws with the processor, and that is emulated
SESSION_S = 120


class Gnome(Desktop):
    memory_mib: ClassVar[int] = 2048


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator[Gnome]:
    with Gnome(product(GNOME)) as guest:
        for user, password in PASSWORDS.items():
            guest.run(f"chpasswd <<'END'\n{user}:{password}\nEND")
        guest.run("systemctl start gdm")
        guest.wait_until(GREETER, GREETER_S)
        # From here on the greeter is a person's to use, and hears what it is told.
        guest.wait_until("journalctl -b | grep 'Registering session with GDM'", GREETER_S)
        yield guest
        if getattr(request.node, "failed", False):
            guest.screenshot(f"failed-{request.node.name}")
            print(guest.run("journalctl -b --no-pager -n 80; loginctl", check=False).out)


def wait_ready(guest: Gnome, user: str) -> None:
    """Until the session has drawn its screen, and its locker listens."""
    guest.wait_until(f"pgrep -u {user} -x xss-lock", SESSION_S)
    guest.wait_until(f"pgrep -u {user} -x sleep", SESSION_S)
    guest.wait_corner(TERMINAL)


def test_a_day_at_gdm(guest: Gnome) -> None:
    with Host(guest.channel) as host:
        guest.screenshot("gdm-0-greeter")
        log_in(host, "alice", "wrong", reason="WrongPassword")
        assert session(guest, "alice") == {}

        log_in(host, "alice")
        alice = session(guest, "alice")
        wanted = {
            "Class": "user",
            "Seat": "seat0",
            "Type": "x11",
            "Active": "yes",
            "Service": "gdm-ovirtcred",
        }
        assert {key: alice[key] for key in wanted} == wanted
        wait_ready(guest, "alice")
        guest.screenshot("gdm-1-alice")

        host.converge({"session": "locked"})
        assert session(guest, "alice")["LockedHint"] == "yes"
        guest.wait_corner(LOCKER)
        host.converge({"session": "unlocked"})

        # The screen goes to bob, by a greeter that GDM makes for it; alice's session is kept, and locked.
        log_in(host, "bob")
        bob, kept = session(guest, "bob"), session(guest, "alice")
        assert (bob["Active"], bob["Type"]) == ("yes", "x11")
        assert (kept["Id"], kept["Active"], kept["LockedHint"]) == (alice["Id"], "no", "yes")
        wait_ready(guest, "bob")
        guest.screenshot("gdm-2-bob")

        host.converge({"user": "alice logged-out"})
        assert session(guest, "alice") == {}
        # GDM shows its greeter, whichever session ends; some moments later.
        assert session(guest, "bob")["State"] in ("active", "online")
        host.converge({"user": "bob logged-out"})
        assert session(guest, "bob") == {}
        guest.wait_until(GREETER, GREETER_S)

        # The token is of no use to anybody but the one it was made for, and no password is anywhere.
        assert not guest.run("journalctl -b | grep -e \"builder's\" -e 'wonder land'", check=False).out
