"""Real accounts: made, let in by key and password, locked out, and put right after meddlers and crashes."""

from base64 import b64encode
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, agent
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

# In halves wherever a shell reads it: a command line with the whole would be found by the search for it.
FIRST, SECOND = "correct", "-horse-battery"
PASSWORD = FIRST + SECOND
HASH = "$6$pepper$O/qu083qtdA4fUr9wzdxvU8MtVoELRhaG7q9rbuevDkiw4hWLZl3OPRvfpKjvy.YuNH2j5hodChsghNGNZHhS0"
SECRET = {"fromFile": "secrets/carol"}
SSH = "ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=30"
SEARCHED = "/proc/[0-9]*/cmdline /proc/[0-9]*/environ /var/lib/guest-reconciler /run/guest-reconciler"


def apply(host: Host, users: dict[str, Any], **passwords: str) -> int:
    """A document of nothing but these accounts, as the next generation, with their passwords beside it."""
    number: int = host.call("spec")["generation"] + 1
    coded = {f"users.{name}.password": b64encode(word.encode()).decode() for name, word in passwords.items()}
    host.call("apply", generation=number, spec={"accounts": {"users": users}}, secrets={"accounts": coded})
    return number


def settle(host: Host, users: dict[str, Any], **passwords: str) -> dict[str, Any]:
    """What is told of the accounts once all is as written."""
    number = apply(host, users, **passwords)
    wanted = {"reason": "InSync", "observedGeneration": number}
    host.until(lambda _: wanted.items() <= host.condition("accounts").items())
    return dict(host.status["observed"]["accounts"]["users"])


def key(guest: Guest, name: str = "key") -> str:
    guest.run(f"test -e /root/{name} || ssh-keygen -q -t ed25519 -N '' -C laptop -f /root/{name}")
    return guest.text(f"cat /root/{name}.pub")


def comes_in(guest: Guest, user: str = "carol") -> str:
    """What a login by key shows, or nothing."""
    guest.run("systemctl start ssh")
    return guest.run(f"{SSH} {user}@127.0.0.1 id -nG 2>/dev/null", 90, check=False).out


def knows(guest: Guest, password: str, user: str = "carol") -> bool:
    """Whether PAM lets somebody in who types this password."""
    typed = f"printf '%s%s\\n' '{password[:5]}' '{password[5:]}'"
    return guest.run(f"{typed} | su bob -s /bin/sh -c 'su {user} -c true'", 60, check=False).rc == 0


def drifted(host: Host) -> None:
    """Until it was told that it was noticed; it may be repaired by then."""
    host.until(lambda _: any((e["kind"], e["reason"]) == ("accounts", "Drifted") for e in host.events))


def test_somebody_is_made_and_gets_in_by_key_and_by_password(guest: Guest, host: Host) -> None:
    carol = {"comment": "Carol", "shell": "/bin/bash", "groups": ["adm", "staff"], "password": SECRET}
    carol |= {"sshKeys": {"present": [key(guest)]}}
    told = settle(host, {"carol": carol}, carol=PASSWORD)["carol"]
    assert told["groups"] == ["adm", "staff"]
    assert (told["password"], told["locked"], told["sshKeys"]) == (True, False, {"ours": 1, "others": 0})
    assert comes_in(guest).split() == ["carol", "adm", "staff"]
    assert knows(guest, PASSWORD)
    assert not knows(guest, "correct-horse")
    assert guest.text("stat -c '%U %G %a' /home/carol/.ssh /home/carol/.ssh/authorized_keys").split("\n") == [
        "carol carol 700",
        "carol carol 600",
    ]
    guest.run("test -e /home/carol/.profile")

    # A second pass does nothing, also with the same password, and what was used is nowhere.
    before = guest.text("stat -c %i /etc/shadow /etc/passwd /home/carol/.ssh/authorized_keys")
    settle(host, {"carol": carol}, carol=PASSWORD)
    assert guest.text("stat -c %i /etc/shadow /etc/passwd /home/carol/.ssh/authorized_keys") == before
    guest.run(f"printf %s%s {FIRST} {SECOND} >/dev/shm/sought")
    assert guest.run(f"grep -rlaf /dev/shm/sought {SEARCHED}", check=False).out == ""
    assert guest.run("journalctl -b --no-pager | grep -caf /dev/shm/sought", check=False).out == "0"


def test_locked_is_locked_for_keys_too_and_opens_again(guest: Guest, host: Host) -> None:
    carol = {"passwordHash": HASH, "sshKeys": {"present": [key(guest)]}}
    settle(host, {"carol": carol})
    assert comes_in(guest)
    assert knows(guest, "welcome")
    settle(host, {"carol": carol | {"locked": True}})
    assert not comes_in(guest)
    assert not knows(guest, "welcome")
    # Either half is put right.
    guest.run("usermod -e '' carol")
    guest.wait_until("getent shadow carol | grep -q ':1:$'")
    guest.run("usermod -U carol")
    guest.wait_until("getent shadow carol | grep -q '^carol:!'")
    settle(host, {"carol": carol | {"locked": False}})
    assert comes_in(guest)
    assert knows(guest, "welcome")
    settle(host, {"carol": carol | {"expires": "2001-01-01"}})
    assert not comes_in(guest)


def test_a_password_is_its_owners_and_must_be_changed_once(guest: Guest, host: Host) -> None:
    carol = {"passwordHash": HASH, "mustChangePassword": "first"}
    assert settle(host, {"carol": carol})["carol"]["mustChangePassword"]
    assert not knows(guest, "welcome")  # su asks for a new one, and hears nothing
    guest.run("echo carol:her-own-choice | chpasswd")
    settle(host, {"carol": carol | {"comment": "Carol"}})
    assert knows(guest, "her-own-choice")
    apply(host, {"carol": {"password": SECRET}})
    condition = host.reason("accounts", "SecretMissing")
    assert "apply the document again" in condition["message"]
    assert knows(guest, "her-own-choice")


def test_what_somebody_changes_is_put_right_and_reported(guest: Guest, host: Host) -> None:
    carol = {"shell": "/bin/bash", "groups": ["adm"], "sshKeys": {"present": [key(guest)]}}
    settle(host, {"carol": carol})
    host.events.clear()
    guest.run("usermod -s /bin/sh -G sudo carol")
    guest.wait_until("getent passwd carol | grep -q /bin/bash && id -nG carol | grep -qx 'carol adm'")
    drifted(host)
    other = key(guest, "other")
    guest.run(f"su carol -c 'echo {other} >~/.ssh/authorized_keys'")
    guest.wait_until("grep -q managed-by-guest-reconciler /home/carol/.ssh/authorized_keys")
    guest.run("su carol -c 'chmod 666 ~/.ssh/authorized_keys'")  # sshd would take no key from it
    guest.wait_until("test $(stat -c %a /home/carol/.ssh/authorized_keys) = 644")
    assert comes_in(guest)
    guest.wait_until("userdel carol", 60)  # what her login has left ends by itself
    guest.wait_until("id carol", 60)
    host.reason("accounts", "InSync")

    # Only ours go, and what the document no longer names stays as it is.
    settle(host, {"carol": {"sshKeys": {"present": []}}})
    assert guest.text("cat /home/carol/.ssh/authorized_keys") == other
    host.converge({"hostname": guest.text("hostname")})
    guest.run("usermod -s /bin/sh carol")
    host.converge({"report": {"hostname": {}}})
    assert guest.text("getent passwd carol").endswith("/bin/sh")


def test_absent_waits_for_the_last_process_and_leaves_the_home(guest: Guest, host: Host) -> None:
    settle(host, {"carol": {}})
    guest.run("systemd-run --quiet --uid=carol --unit=hers sleep 1000")
    apply(host, {"carol": {"state": "absent"}, "dave": {}})
    assert "processes" in host.reason("accounts", "InUse")["message"]
    guest.run("id dave; id carol; systemctl stop hers")
    host.reason("accounts", "InSync")
    assert guest.run("id carol", check=False).rc == 1
    guest.run("test -e /home/carol/.profile")
    settle(host, {"dave": {"state": "absent", "removeHome": True}})
    assert guest.run("test -e /home/dave", check=False).rc == 1


@pytest.mark.parametrize(
    "trick",
    [
        pytest.param("ln -s /root/.ssh .ssh", id="folder"),
        pytest.param("mkdir .ssh; ln -s /etc/motd .ssh/authorized_keys", id="link"),
        pytest.param("mkdir .ssh; mkfifo .ssh/authorized_keys", id="pipe"),
    ],
)
def test_what_a_user_plants_leads_nowhere(guest: Guest, host: Host, trick: str) -> None:
    settle(host, {"carol": {}})
    guest.run("mkdir -p /root/.ssh; echo hello >/etc/motd")
    guest.run(f"su carol -c 'cd; {trick}'")
    apply(host, {"carol": {"sshKeys": {"present": [key(guest)]}}, "dave": {}})
    host.reason("accounts", "KeysUnsafe")
    assert guest.text("ls -A /root/.ssh; cat /etc/motd") == "hello"
    guest.run("id dave")


def test_a_kill_at_any_time_is_made_good(guest: Guest, host: Host) -> None:
    """Of the agent with all its children: while a tool has written one file of four, and between tools."""
    user = {"groups": ["adm"], "passwordHash": HASH, "locked": True, "sshKeys": {"present": [key(guest)]}}
    moments = {
        "a1": "grep -q ^a1: /etc/passwd",
        "a2": "test -e /home/.a2.new",  # it is root's, and not all is in it
        "a3": "pgrep -x usermod",
        "a4": "grep -q ^a4:.6.pepper /etc/shadow",
        "a5": "test -e /home/a5/.ssh",
    }
    # To copy them takes longer than to notice that it has begun.
    guest.run("mkdir /etc/skel/many; cd /etc/skel/many && seq 500 | xargs touch")
    for name, moment in moments.items():
        pid = agent(guest)
        kill = f"echo 1 >/sys/fs/cgroup/system.slice/{UNIT}/cgroup.kill"
        kill += f"; getent shadow {name} | cut -d: -f8; ls -d /home/{name}"
        waiting = guest.begin(f"timeout 60 sh -c 'until {moment}; do :; done; {kill}'", 70)
        with again(guest, host) as first:
            apply(first, {name: user})
            killed = guest.finish(waiting, 100)
        assert killed.rc != 124, "the moment never came"
        if name == "a2":
            assert "1" in killed.out.split("\n")  # it is locked already, by the day on which it expires
            assert "No such file" in killed.out
            guest.run("rm -r /etc/skel/many")
        with again(guest) as second:
            second.reason("accounts", "InSync")
        assert agent(guest) != pid
        assert guest.text(f"id -nG {name}") == f"{name} adm"
        assert guest.text(f"getent shadow {name}").startswith(f"{name}:!{HASH}:")
        guest.run(f"grep -q managed-by /home/{name}/.ssh/authorized_keys")
        owners = guest.text(f"stat -c %U:%G /home/{name} /home/{name}/.profile").split()
        assert owners == [f"{name}:{name}", f"{name}:{name}"]
        assert guest.run("pwck -r", check=False).out.count(name) == 0
    assert guest.text("find /home -maxdepth 1 -name '.*'") == ""


def test_a_home_of_somebody_elses_is_said_and_left(guest: Guest, host: Host) -> None:
    guest.run("mkdir /home/carol; touch /home/carol/theirs")
    apply(host, {"carol": {"sshKeys": {"present": [key(guest)]}}, "dave": {}})
    assert "/home/carol" in host.reason("accounts", "HomeNotTheirs")["message"]
    assert guest.text("stat -c %U /home/carol; ls -A /home/carol; stat -c %U /home/dave").split() == [
        "root",
        "theirs",
        "dave",
    ]
    guest.run("chown -R carol: /home/carol")
    host.reason("accounts", "InSync")
