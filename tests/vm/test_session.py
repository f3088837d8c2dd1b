"""A real login session: locked, unlocked and sent away through logind."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, session_of, signal_agent
from tests.vm.stopwatch import Stopwatch
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

Record = Callable[[str, object], None]
PROMPT_S = 0.2  # promised from what logind says to the host's end of the channel
TIMES = 10
LOGIND = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager"
SSH = "ssh -q -i /root/key -o StrictHostKeyChecking=no alice@127.0.0.1"


def is_locked(guest: Guest, session: str) -> bool:
    return guest.text(f"loginctl show-session {session} -P LockedHint") == "yes"


def test_a_session_locks_and_unlocks(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    status = host.converge({"session": "locked"})
    assert is_locked(guest, session)
    assert status["observed"]["session"]["sessions"][session]["user"] == "alice"
    host.converge({"session": "unlocked"})
    assert not is_locked(guest, session)
    host.converge({"session": "locked"})
    host.converge({"hostname": "web-01"})  # of which it says nothing any more is left as it is
    assert is_locked(guest, session)


def test_who_unlocks_is_not_fought(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.converge({"session": "locked"})
    guest.run(f"loginctl unlock-session {session}")
    assert host.reason("session", "Drifted")["status"] == "False"
    time.sleep(3)
    assert not is_locked(guest, session)


def test_a_locker_that_is_gone_is_said_and_holds_nothing_up(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    guest.run("pkill -u alice -f locker.py")
    host.apply({"session": "locked", "filesystems": {"state": "frozen", "mounts": ["/data"], "lease": 30}})
    message = host.reason("session", "NotConfirmed")["message"]
    assert message == f"asked, and no locker answered: {session} (alice, seat0 tty1)"
    host.reason("filesystems", "InSync")
    told = [event["reason"] for event in host.events if event["kind"] in ("session", "filesystems")]
    assert told.index("NotConfirmed") < told.index("InSync")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        pytest.param("users: [ali*]", "the guest's policy forbids (forbid.users)", id="a user"),
        pytest.param("acts: [session.lock]", "forbidden by the guest's policy (forbid.acts)", id="an act"),
    ],
)
def test_what_the_policy_forbids_is_left_alone_and_said(guest: Guest, policy: str, message: str) -> None:
    guest.run(f"echo 'forbid: {{{policy}}}' >/etc/guest-reconciler/policy.yaml; systemctl restart {UNIT}")
    with again(guest) as host:
        host.apply({"session": "locked"})
        assert message in host.reason("session", "Forbidden")["message"]
        assert not is_locked(guest, session_of(guest))


def test_an_agent_that_is_killed_locks_and_fights_nobody(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.apply({"session": "locked"})
    signal_agent(guest, "KILL")  # in the midst of it
    with again(guest, host) as host:
        host.reason("session", "InSync")
        assert is_locked(guest, session)
        guest.run(f"loginctl unlock-session {session}")
        host.reason("session", "Drifted")
        signal_agent(guest, "KILL")
    with again(guest) as host:
        host.reason("session", "Drifted")
        assert not is_locked(guest, session)


def test_locked_until_insists(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.converge({"session": {"state": "locked", "lockedUntil": "2099-01-01T00:00:00Z"}})
    guest.run(f"loginctl unlock-session {session}")
    host.reason("session", "Drifted", 20)
    host.reason("session", "InSync")
    assert is_locked(guest, session)


def test_a_session_is_ended(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.apply({"session": {"state": "ended", "user": "alice"}})
    guest.wait_until(f"! loginctl show-session {session}")


def test_a_login_is_noticed_without_a_question(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    host.converge({"session": "unlocked"})
    guest.run(f"loginctl lock-session {session}")
    host.until(lambda status: status["observed"]["session"]["sessions"][session]["locked"], 5)


def let_in(guest: Guest) -> None:
    """Have an SSH server, and a key for alice."""
    guest.run("ssh-keygen -q -t ed25519 -N '' -f /root/key && install -d -o alice -m 700 ~alice/.ssh")
    guest.run("install -o alice -m 600 /root/key.pub ~alice/.ssh/authorized_keys && systemctl start ssh")


def prompt(delays_s: dict[str, list[float]], record_property: Record) -> None:
    for reason, of_it in delays_s.items():
        median_s, late = of_it[len(of_it) // 2], sum(delay_s > PROMPT_S for delay_s in of_it)
        record_property(f"{reason}_ms", [round(delay_s * 1000) for delay_s in of_it])
        print(f"{reason}: median {median_s * 1000:.0f} ms, most {of_it[-1] * 1000:.0f} ms of {len(of_it)}")
        # An emulated guest is some thirty times slower than a real one, and its processors are shared: how
        # late a single one comes says how busy the machine was.
        assert median_s < PROMPT_S, f"{reason}: {late} of {len(of_it)} came late"


@pytest.mark.alone
def test_a_lock_reaches_the_host_in_time(guest: Guest, host: Host, record_property: Record) -> None:
    session = session_of(guest)
    watch = Stopwatch(guest, host)
    for _ in range(TIMES):
        for verb, reason in (("lock", "SessionLocked"), ("unlock", "SessionUnlocked")):
            running = guest.begin(f"loginctl {verb}-session {session}")
            watch.until(reason)
            assert guest.finish(running).rc == 0
    path = guest.text(f"busctl call {LOGIND} GetSession s {session}").split('"')[1]
    prompt(watch.delays_s("PropertiesChanged", path, "SessionLocked", "SessionUnlocked"), record_property)


@pytest.mark.alone
def test_a_login_reaches_the_host_in_time(guest: Guest, host: Host, record_property: Record) -> None:
    let_in(guest)
    watch = Stopwatch(guest, host)
    for _ in range(TIMES):
        running = guest.begin(f"{SSH} sleep 0.5")
        watch.until("SessionOpened", "from 127.0.0.1")
        watch.until("SessionClosed", "from 127.0.0.1")
        assert guest.finish(running).rc == 0
    for reason, member in (("SessionOpened", "SessionNew"), ("SessionClosed", "SessionRemoved")):
        prompt(watch.delays_s(member, "/org/freedesktop/login1", reason), record_property)


def test_a_remote_session_is_told_and_ended(guest: Guest, host: Host) -> None:
    let_in(guest)
    running = guest.begin(f"{SSH} sleep 1000", 120)
    sessions = "observed", "session", "sessions"

    def remote() -> list[dict[str, Any]]:
        found = host.status
        for key in sessions:
            found = found[key]
        return [each for each in found.values() if each["remote"]]

    host.until(lambda _: bool(remote()), 60)
    (seen,) = remote()
    assert (seen["user"], seen["remoteHost"], seen["service"]) == ("alice", "127.0.0.1", "sshd")
    assert seen["scope"] == guest.text(f"loginctl show-session {seen['scope'][8:-6]} -P Scope")
    # An SSH login has no screen to lock, and ends with all others.
    host.converge({"session": {"state": "locked", "user": "alice"}})
    assert not remote()[0]["locked"]
    host.apply({"session": {"state": "ended", "user": "alice"}})
    host.until(lambda _: not remote(), 60)
    assert guest.finish(running).rc != 0


def test_an_idle_session_says_since_when(guest: Guest, host: Host) -> None:
    session = session_of(guest)
    # logind goes by when a terminal was last read, and sends no signal of it: some other has us look.
    guest.run(f"touch -a -d '3 hours ago' /dev/tty1; loginctl lock-session {session}")

    def seen() -> dict[str, Any]:
        return dict(host.status["observed"]["session"]["sessions"][session])

    host.until(lambda _: "idleSince" in seen(), 20)
    guest.run(f"touch -a /dev/tty1; loginctl unlock-session {session}")
    host.until(lambda _: "idleSince" not in seen(), 20)
    assert host.status["observed"]["session"]["lidClosed"] is False
