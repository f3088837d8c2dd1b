"""Real logins on text consoles: let in, refused, locked away, ended and never tried twice."""

import json
import time
from base64 import b64encode
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, session_of, signal_agent
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

# In halves wherever a shell reads it: a command line with the whole would be found by the search for it.
FIRST, SECOND = "correct", "-horse-battery"
PASSWORD = FIRST + SECOND
SEARCHED = "/proc/[0-9]*/cmdline /proc/[0-9]*/environ /var/lib/guest-reconciler /run/guest-reconciler"
PLANTED = ("/var/lib/guest-reconciler/planted", "/run/guest-reconciler/planted")
PLANT = f"""\
word=$(printf %s%s plan ted-word); cp /bin/sleep /opt/sleeps
for file in {" ".join(PLANTED)}; do printf %s "$word" >$file; done
logger "planted-in-the-journal $word"; journalctl --sync
PLANTED=$word setsid /opt/sleeps 600 >/dev/null 2>&1 </dev/null &
setsid bash -c 'exec -a "$0" /opt/sleeps 600' "$word" >/dev/null 2>&1 </dev/null &
sleep 1
"""
FAILURES = (
    "journalctl -b --no-pager -q | grep -c 'pam_unix(guest-reconciler:auth): authentication failure' || true"
)


def set_password(guest: Guest, user: str = "bob") -> None:
    script = f'import crypt; print(crypt.crypt("{FIRST}" + "{SECOND}"))'
    guest.run(f"usermod -p \"$(python3 -W ignore -c '{script}')\" {user}")


def apply(host: Host, password: str = PASSWORD, **user: Any) -> int:
    """A document of nothing but `user`, as the next generation, with its credential beside it."""
    generation: int = host.call("spec")["generation"] + 1
    document = {"state": "logged-in", "credential": {"fromFile": "secrets/bob"}} | user
    send(host, generation, document, password)
    return generation


def send(host: Host, generation: int, document: dict[str, Any], password: str) -> None:
    secrets = {"user": {"credential": b64encode(password.encode()).decode()}}
    host.call("apply", generation=generation, spec={"user": document}, secrets=secrets)


def ready(host: Host) -> dict[str, Any]:
    return host.reason("user", "InSync")


def session(guest: Guest, user: str) -> dict[str, str]:
    """What logind says of the user's only session; empty without one."""
    id = guest.text(f"loginctl list-sessions --no-legend | awk '$3 == \"{user}\" {{print $1}}'")
    if not id:
        return {}
    return dict(line.split("=", 1) for line in guest.text(f"loginctl show-session {id}").splitlines())


def places_of(guest: Guest, first: str, second: str) -> str:
    """Where a word can be read now: arguments, environments, what the agent and the journal keep."""
    guest.run(f"printf %s%s {first} {second} >/dev/shm/sought; test -s /dev/shm/sought")
    found = guest.run(f"grep -srlaf /dev/shm/sought {SEARCHED}", check=False).out
    return found + guest.run("journalctl -b --no-pager | grep -af /dev/shm/sought", check=False).out


def places_of_the_password(guest: Guest) -> str:
    """As above; another word that was put everywhere is found, or the search would say nothing."""
    guest.run(PLANT)
    found = places_of(guest, "plan", "ted-word")
    for place in ("/cmdline", "/environ", *PLANTED, "planted-in-the-journal"):
        assert place in found, place
    guest.run(f"rm {' '.join(PLANTED)}; pkill -x sleeps")
    return places_of(guest, FIRST, SECOND)


def failures(guest: Guest) -> int:
    return int(guest.text(FAILURES))


def test_logs_in_with_a_password_and_locks_who_was_there(guest: Guest, host: Host) -> None:
    set_password(guest)
    apply(host, name="bob")
    ready(host)
    bob = session(guest, "bob")
    wanted = {"Seat": "seat0", "Class": "user", "Type": "tty", "Active": "yes", "State": "active"}
    assert {key: bob[key] for key in wanted} == wanted
    assert bob["Service"] == "login"
    guest.run("test -d /run/user/1001")  # of pam_systemd's
    assert guest.text("cat /sys/class/tty/tty0/active") == bob["TTY"]
    assert guest.text(f"loginctl show-session {session_of(guest)} -P LockedHint") == "yes"
    guest.wait_until(f"ps -o user= -t {bob['TTY']} | grep -q bob")

    # A second pass does nothing, and what was used is nowhere.
    send(host, host.call("spec")["generation"], host.call("spec")["spec"]["user"], PASSWORD)
    guest.run(f"systemctl restart {UNIT}")
    with again(guest, host) as host:
        ready(host)
        assert session(guest, "bob")["Id"] == bob["Id"]
        assert places_of_the_password(guest) == ""
        assert PASSWORD not in json.dumps([host.status, host.events, host.call("spec")])

        host.converge({})  # who is in, is left in
        assert session(guest, "bob")["Id"] == bob["Id"]
        host.converge({"user": "bob logged-out"})
        assert session(guest, "bob") == {}
        guest.wait_until(f"systemctl is-active getty@{bob['TTY']}")  # a prompt is left behind


def test_a_wrong_password_is_judged_once(guest: Guest, host: Host) -> None:
    set_password(guest)
    alice = session_of(guest)
    generation = apply(host, "wrong", name="bob", replace=True)
    assert "the password is wrong" in host.reason("user", "WrongPassword")["message"]
    assert failures(guest) == 1
    assert session_of(guest) == alice  # who would have made room keeps it, and was not locked either
    assert guest.text(f"loginctl show-session {alice} -P LockedHint") == "no"
    document = host.call("spec")["spec"]["user"]
    send(host, generation, document, PASSWORD)  # of the same generation: refused for good
    time.sleep(5)  # five retries, were there any
    guest.run(f"systemctl restart {UNIT}")
    with again(guest, host) as host:
        host.reason("user", "WrongPassword")
        assert failures(guest) == 1
        assert session(guest, "bob") == {}
        assert session_of(guest) == alice
        apply(host, name="bob", replace=True)
        ready(host)
        assert session_of(guest) != alice  # the console lets her in again by itself


def test_each_refusal_has_its_reason(guest: Guest, host: Host) -> None:
    set_password(guest)
    apply(host, name="mallory")
    host.reason("user", "UnknownUser")
    for command, reason in (
        ("usermod -L bob", "AccountLocked"),
        ("usermod -U bob; usermod -e 1 bob", "AccountExpired"),
        ("usermod -e '' bob; chage -d 0 bob", "PasswordExpired"),
        ("chage -d 2024-01-01 bob; usermod -s /usr/sbin/nologin bob", "NoShell"),
        ("usermod -s /bin/bash bob; echo later >/run/nologin", "LoginsDisabled"),
    ):
        guest.run(command)
        apply(host, name="bob")
        host.reason("user", reason)
    assert failures(guest) == 0  # none of these was an attempt
    guest.run("rm /run/nologin")
    ready(host)  # which it tried again, with the credential it still had


def test_an_agent_that_dies_meanwhile_never_tries_again(guest: Guest, host: Host) -> None:
    set_password(guest)
    guest.run("sed -i '1i auth optional pam_faildelay.so delay=8000000' /etc/pam.d/guest-reconciler")
    generation = apply(host, PASSWORD + "x", name="bob")
    guest.wait_until(f"({FAILURES}) | grep -x 1")  # PAM now waits, as it does after a failure
    assert places_of(guest, FIRST, SECOND) == ""
    assert guest.text("pgrep -cf pam_chil[d]") == "1"  # it still has it
    signal_agent(guest, "KILL")
    with again(guest, host) as host:
        host.reason("user", "OutcomeUnknown")
        send(host, generation, host.call("spec")["spec"]["user"], PASSWORD)
        time.sleep(3)
        host.reason("user", "OutcomeUnknown")
        assert failures(guest) == 1
        assert session(guest, "bob") == {}


def test_an_agent_that_dies_behind_the_door_leaves_the_session(guest: Guest, host: Host) -> None:
    set_password(guest)
    guest.run("sed -i '1i account optional pam_exec.so /bin/sleep 10' /etc/pam.d/login")
    apply(host, name="bob")
    guest.wait_until("pgrep -fx '/bin/sleep 10'")
    signal_agent(guest, "KILL")
    with again(guest, host) as host:
        ready(host)  # for it is there
        bob = session(guest, "bob")
        assert (bob["Seat"], bob["Active"]) == ("seat0", "yes")
        host.converge({"user": "bob logged-out"})


def test_who_does_not_end_is_ended_in_time(guest: Guest, host: Host) -> None:
    set_password(guest)
    apply(host, name="bob")
    ready(host)
    bob = session(guest, "bob")
    scope = f"/sys/fs/cgroup/user.slice/user-1001.slice/{bob['Scope']}/cgroup.procs"
    stubborn = "exec setpriv --reuid 1001 --regid 1001 --clear-groups python3 -BIS /opt/tests/stubborn.py"
    # A session that ends is hung up as well.
    script = f'echo $$ >{scope}; trap "" HUP; {stubborn} /run/user/1001/stubborn'
    guest.run(f"setsid sh -c '{script}' >/dev/null 2>&1 </dev/null &")
    guest.wait_until("test -e /run/user/1001/stubborn")
    began = time.monotonic()
    host.converge({"user": {"name": "bob", "state": "logged-out", "deadline": "5s"}})
    lasted = time.monotonic() - began
    print(f"ended after {lasted:.1f} s")
    assert 5 <= lasted < 25  # systemd alone would wait for 90 s
    assert guest.run("pgrep -f stubborn.p[y]", check=False).out == ""
    assert session(guest, "bob") == {}


@pytest.mark.parametrize(
    ("forbids", "reason"),
    [
        pytest.param("users: [alice]", "SeatBusy", id="who sits there"),
        pytest.param("users: [bob]", "Forbidden", id="who comes"),
        pytest.param("acts: [user.lock]", "Forbidden", id="the act"),
    ],
)
def test_the_policy_comes_first(guest: Guest, host: Host, forbids: str, reason: str) -> None:
    set_password(guest)
    alice = session_of(guest)
    guest.run(f"printf 'forbid:\n  {forbids}\n' >/etc/guest-reconciler/policy.yaml")
    guest.run(f"systemctl restart {UNIT}")
    with again(guest, host) as host:
        apply(host, "wrong", name="bob")
        host.reason("user", reason)
        assert session(guest, "bob") == {}
        assert guest.text(f"loginctl show-session {alice} -P LockedHint") == "no"
        assert guest.text(f"loginctl show-session {alice} -P Active") == "yes"
        assert failures(guest) == 0


def test_a_seat_is_given_away_only_from_who_is_locked_or_ended(guest: Guest, host: Host) -> None:
    set_password(guest)
    apply(host, name="bob", tty="tty4")
    ready(host)
    alice = session_of(guest)
    host.apply({"user": "alice logged-in"})  # she is, in the background; bob has no locker
    host.reason("user", "SeatBusy")
    assert session(guest, "bob")["Active"] == "yes"
    host.apply({"user": {"name": "alice", "state": "logged-in", "replace": True}})
    ready(host)
    assert session(guest, "bob") == {}
    assert guest.text(f"loginctl show-session {alice} -P Active") == "yes"


def test_who_the_policy_trusts_needs_no_password(guest: Guest, host: Host) -> None:
    host.apply({"user": "bob logged-in"})
    host.reason("user", "CredentialNeeded")
    guest.run("echo 'allow-passwordless-login: [bob]' >/etc/guest-reconciler/policy.yaml")
    guest.run(f"systemctl restart {UNIT}")
    with again(guest, host) as host:
        ready(host)
        bob = session(guest, "bob")
        host.converge({"user": {"name": "bob", "state": "logged-in", "enforce": "always"}})
        guest.run(f"loginctl terminate-session {bob['Id']}")
        another = f"loginctl list-sessions --no-legend | grep bob | grep -v '^ *{bob['Id']} '"
        guest.wait_until(another, 90)  # after a rest
        ready(host)
