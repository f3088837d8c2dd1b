"""Units of a real systemd: its own words for what runs, what waits to be called, and what fails."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, agent, configure, signal_agent
from tests.vm.wire import Host

pytestmark = pytest.mark.vm

# Each start leaves a line in /run/NAME, so that starts can be counted.
SERVICE = """
[Service]
ExecStartPre=/bin/sh -c 'echo start >>/run/%N'
{lines}
[Install]
WantedBy=multi-user.target
"""
SLEEP = "ExecStart=/bin/sleep infinity"


def write(guest: Guest, name: str, text: str) -> None:
    guest.run(f"cat >/run/systemd/system/{name} <<'END'\n{text}\nEND\nsystemctl daemon-reload")


def service(guest: Guest, name: str, *lines: str) -> None:
    write(guest, f"{name}.service", SERVICE.format(lines="\n".join(lines)))


def state(guest: Guest, unit: str) -> str:
    return guest.text(f"systemctl is-active {unit} || true")


def starts(guest: Guest, name: str) -> int:
    return int(guest.text(f"cat /run/{name} 2>/dev/null | wc -l"))


def message(host: Host, reason: str, timeout: float = 60) -> str:
    return str(host.reason("services", reason, timeout)["message"])


def is_told(host: Host, reason: str, _status: dict[str, Any]) -> bool:
    return ("services", reason) in [(event["kind"], event["reason"]) for event in host.events]


def unit(host: Host, name: str) -> dict[str, Any]:
    return dict(host.status["observed"]["services"]["units"][name])


def test_units_are_brought_about_and_kept_and_then_left_alone(guest: Guest, host: Host) -> None:
    service(guest, "web", SLEEP)
    service(guest, "cron", SLEEP)
    guest.run("systemctl enable --now cron")
    host.converge(
        {
            "services": {
                "web": {"state": "running", "enabled": True},
                "cron": {"state": "stopped", "enabled": False},
            }
        }
    )
    assert (state(guest, "web"), state(guest, "cron")) == ("active", "inactive")
    assert guest.text("systemctl is-enabled web; systemctl is-enabled cron || true") == "enabled\ndisabled"
    assert unit(host, "web") == {"state": "active", "sub": "running", "file": "enabled"}
    time.sleep(3)
    assert starts(guest, "web") == 1
    host.events.clear()
    guest.run("systemctl stop web; systemctl disable --quiet web; systemctl start cron")
    # It may be over before all of that is done: what stays is the event.
    host.until(partial(is_told, host, "Drifted"))
    guest.wait_until("systemctl is-active web && systemctl is-enabled web && ! systemctl is-active cron")
    host.reason("services", "InSync")
    host.converge({"hostname": "web-01"})
    guest.run("systemctl stop web")
    time.sleep(3)
    assert state(guest, "web") == "inactive"


def test_a_socket_that_listens_is_running_and_stops_with_its_service(guest: Guest, host: Host) -> None:
    service(guest, "web", SLEEP)
    write(guest, "web.socket", "[Socket]\nListenStream=/run/web.sock")
    guest.run("systemctl start web.socket")
    host.converge({"services": {"web": "running"}})
    assert state(guest, "web") == "inactive"
    assert "waits for web.socket" in host.condition("services")["message"]
    assert unit(host, "web")["startedBy"] == {"web.socket": "listening"}
    host.converge({"services": {"web": "stopped"}})
    assert state(guest, "web.socket") == "inactive"
    # By a connection it comes back; then both stop.
    call = "import socket; socket.socket(socket.AF_UNIX).connect('/run/web.sock')"
    # Again and again, as the agent may be faster than the caller, who is refused then.
    guest.wait_until(f'systemctl start web.socket && python3 -c "{call}"')
    guest.wait_until("test $(systemctl is-active web.socket) = inactive")
    guest.wait_until("test $(systemctl is-active web.service) = inactive")
    # What the document says of the socket stands.
    host.converge({"services": {"web": "stopped", "web.socket": "running"}})
    assert "comes back when web.socket is called" in host.condition("services")["message"]


def test_a_oneshot_runs_once_in_a_boot_or_when_its_timer_says(guest: Guest, host: Host) -> None:
    service(guest, "once", "Type=oneshot", "ExecStart=/bin/true")
    service(guest, "timed", "Type=oneshot", "ExecStart=/bin/true")
    service(guest, "stays", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true")
    write(guest, "timed.timer", "[Timer]\nOnCalendar=2099-01-01")
    guest.run("systemctl start timed.timer")
    wanted = {"once": "running", "timed": "running", "stays": "running"}
    host.converge({"services": wanted})
    assert [starts(guest, name) for name in wanted] == [1, 0, 1]
    assert state(guest, "stays") == "active"
    signal_agent(guest, "KILL")
    with again(guest, host) as later:
        later.reason("services", "InSync")
        later.converge({"services": {**wanted, "once": {"state": "running", "restart": "again"}}})
        assert [starts(guest, name) for name in wanted] == [2, 0, 1]
        later.converge({"services": {"timed": "stopped"}})
    assert state(guest, "timed.timer") == "inactive"


def test_what_fails_is_told_with_its_last_lines_and_costs_no_other(guest: Guest, host: Host) -> None:
    service(guest, "bad", "ExecStart=/bin/sh -c 'echo out of cheese; exit 3'")
    service(guest, "web", SLEEP)
    host.apply({"services": {"bad": "running", "web": "running"}, "report": ["services"]})
    words = message(host, "NotStarted")
    assert "bad is failed (exit-code, status 3)" in words
    assert "it said: out of cheese" in words
    assert state(guest, "web") == "active"
    host.until(lambda status: "out of cheese" in str(status["inventory"].get("services", {}).get("failed")))
    service(guest, "bad", SLEEP)
    host.reason("services", "InSync")
    host.until(lambda status: status["inventory"].get("services", {}).get("failed") == {})


def test_what_systemd_has_given_up_waits_for_another_document(guest: Guest, host: Host) -> None:
    text = "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h" + SERVICE.format(
        lines="ExecStart=/bin/sh -c 'sleep 0.1; echo no luck; exit 1'\nRestart=on-failure\nRestartSec=100ms"
    )
    write(guest, "bad.service", text)
    host.apply({"services": {"bad": "running"}})
    words = message(host, "GivenUp")
    assert "given up until the document changes; it said: no luck" in words
    count = starts(guest, "bad")
    time.sleep(5)
    assert starts(guest, "bad") == count
    host.apply({"services": {"bad": {"state": "running", "enabled": False}}})
    guest.wait_until(f"test $(wc -l </run/bad) -gt {count}")


def test_what_comes_back_over_and_over_is_told_once(guest: Guest, host: Host) -> None:
    words = "ExecStart=/bin/sh -c 'echo no luck; sleep 1; exit 3'"
    text = SERVICE.format(lines=f"{words}\nRestart=always\nRestartSec=1")
    write(guest, "bad.service", f"[Unit]\nStartLimitIntervalSec=0\n{text}")
    host.apply({"services": {"bad": "running"}})
    told = host.reason("services", "Restarting", 60)["message"]
    assert "bad ends, and systemd starts it again and again (exit-code, status 3); it said: " in told
    assert "no luck" in told
    assert host.status["phase"] == "Degraded"
    last, count = host.call("events")["events"][-1]["seq"], starts(guest, "bad")
    guest.wait_until(f"test $(wc -l </run/bad) -gt {count + 3}")
    later = [event for event in host.call("events")["events"] if event["seq"] > last]
    assert [event for event in later if event["kind"] == "services"] == []
    service(guest, "bad", SLEEP)
    guest.run("systemctl restart bad")
    host.reason("services", "InSync", 30)


def test_a_reload_that_fails_is_told_and_not_repeated(guest: Guest, host: Host) -> None:
    service(guest, "web", SLEEP, "ExecReload=/bin/sh -c 'echo reload >>/run/reloads; exit 1'")
    host.converge({"services": {"web": "running"}})
    host.apply({"services": {"web": {"state": "running", "reload": "a"}}})
    assert "failed at it (exit-code)" in message(host, "NotReloaded")
    time.sleep(3)
    assert starts(guest, "reloads") == 1
    guest.run("systemctl restart web")
    host.reason("services", "InSync", 20)


def test_the_policy_forbids(guest: Guest, host: Host) -> None:
    service(guest, "web", SLEEP)
    guest.run("mkdir -p /srv/data; mount -t tmpfs none /srv/data; systemctl start web")
    policy = 'forbid: {acts: ["services.stop"], paths: [/srv], units: [cron]}'
    guest.run(f"echo '{policy}' >/etc/guest-reconciler/policy.yaml; systemctl restart {UNIT}")
    with again(guest, host) as later:
        rows = (("web", "services.stop"), ("srv-data.mount", "of /srv/data"), ("cron", "forbid.units"))
        for wanted, words in rows:
            later.apply({"services": {wanted: "stopped"}})
            assert words in message(later, "Forbidden")
        later.converge({"services": {"web": {"state": "running", "enabled": True}}})
    assert state(guest, "web") == "active"
    assert guest.run("mountpoint --quiet /srv/data").rc == 0


IMPOSSIBLE = [
    pytest.param({"wbe": "running"}, "NoSuchUnit", "did you mean web?", id="a typing error"),
    pytest.param({"fixed": {"enabled": True}}, "CannotEnable", "no [Install] section", id="static"),
    pytest.param({"other": {"enabled": True}}, "CannotEnable", "other units", id="indirect"),
    pytest.param({"hidden": "running"}, "Masked", "it is masked", id="masked"),
    pytest.param({"broken": "running"}, "BadUnit", "broken", id="a unit that cannot be loaded"),
    pytest.param({"unmet": "running"}, "NotStarted", "ConditionPathExists=/no/such", id="a condition"),
    pytest.param({"needy": "running"}, "NotStarted", "a unit that it needs did not start", id="a dependency"),
    pytest.param({"shy": "running"}, "NotStarted", "by hand", id="only by dependency"),
    pytest.param({"web": {"state": "running", "reload": "a"}}, "CannotReload", "ExecReload=", id="a reload"),
    pytest.param(
        {"dbus-org.freedesktop.login1": "stopped"}, "Protected", "agent stands on it", id="an alias"
    ),
    pytest.param({"pillar": "stopped"}, "Protected", "agent stands on it", id="what the agent requires"),
    pytest.param({"-.mount": "stopped"}, "Protected", "agent stands on it", id="the root"),
]


def prepare(guest: Guest) -> None:
    service(guest, "web", SLEEP)
    service(guest, "pillar", SLEEP)
    write(guest, "fixed.service", f"[Service]\n{SLEEP}")
    write(guest, "other.service", f"[Service]\n{SLEEP}\n[Install]\nAlso=web.service")
    write(guest, "broken.service", "[Service]\nType=simple")
    write(guest, "unmet.service", f"[Unit]\nConditionPathExists=/no/such\n[Service]\n{SLEEP}")
    write(guest, "doomed.service", "[Service]\nType=oneshot\nExecStart=/bin/false")
    write(
        guest, "needy.service", f"[Unit]\nRequires=doomed.service\nAfter=doomed.service\n[Service]\n{SLEEP}"
    )
    write(guest, "shy.service", f"[Unit]\nRefuseManualStart=yes\n[Service]\n{SLEEP}")
    guest.run("ln -s /dev/null /run/systemd/system/hidden.service; systemctl start pillar web")
    configure(guest, "[Unit]", "Requires=pillar.service", "After=pillar.service")


def is_said(host: Host, reason: str, words: str, status: dict[str, Any]) -> bool:
    told = host.condition("services")
    return told.get("reason") == reason and words in told["message"]


def test_what_cannot_be_is_said(guest: Guest, host: Host) -> None:
    prepare(guest)
    with again(guest, host) as later:
        found = {}
        for row in IMPOSSIBLE:
            spec, reason, words = row.values
            later.apply({"services": spec})
            with suppress(TimeoutError):
                later.until(partial(is_said, later, str(reason), str(words)), 30)
                continue
            found[row.id] = later.condition("services")
        assert found == {}
        later.converge({"services": {"hidden": {"masked": False}, "gone": "stopped"}})
    assert state(guest, "pillar") == "active"


def test_masked_and_unmasked(guest: Guest, host: Host) -> None:
    service(guest, "web", SLEEP)
    guest.run("systemctl start web")
    host.converge({"services": {"web": {"state": "stopped", "masked": True}}})
    assert state(guest, "web") == "inactive"
    assert guest.run("systemctl start web", check=False).rc != 0
    host.converge({"services": {"web": {"state": "running", "masked": False, "enabled": True}}})
    assert state(guest, "web") == "active"


def test_a_token_restarts_and_reloads_once(guest: Guest, host: Host) -> None:
    reload = "ExecReload=/bin/sh -c 'echo reload >>/run/reloads'"
    service(guest, "web", SLEEP, reload)
    wanted = {"state": "running", "restart": "v2", "reload": "v2"}
    host.converge({"services": {"web": {"state": "running"}}})
    host.converge({"services": {"web": wanted}})
    host.converge({"services": {"web": wanted}, "hostname": "web-01"})
    assert (starts(guest, "web"), starts(guest, "reloads")) == (2, 1)


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.5, 1.5])
def test_an_agent_killed_around_a_restart_does_not_repeat_it(
    guest: Guest, host: Host, delay_s: float
) -> None:
    service(guest, "web", "ExecStartPre=/bin/sleep 1", SLEEP)
    host.converge({"services": {"web": "running"}})
    number = host.call("spec")["generation"] + 1
    spec = {"services": {"web": {"state": "running", "restart": "v2"}}}
    host.send("apply", generation=number, spec=spec)
    time.sleep(delay_s)
    signal_agent(guest, "KILL")
    with again(guest, host) as later:
        if later.hello["generation"] < number:
            later.apply(spec, number)
        later.until(lambda _: later.condition("services").get("reason") in ("InSync", "OutcomeUnknown"))
        time.sleep(2)
    assert state(guest, "web") == "active"
    assert starts(guest, "web") <= 2


def test_what_takes_long_to_start_is_waited_for(guest: Guest, host: Host) -> None:
    service(guest, "slow", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/sleep 40")
    host.apply({"services": {"slow": "running"}})
    assert "slow is activating (start)" in message(host, "Waiting")
    host.reason("services", "InSync")
    assert starts(guest, "slow") == 1


def test_others_units_do_not_wake_the_agent(guest: Guest, host: Host) -> None:
    service(guest, "web", SLEEP)
    write(guest, "noise.service", "[Service]\nType=oneshot\nExecStart=/bin/true")
    host.converge({"services": {"web": "running"}})
    time.sleep(3)
    woken = wake_ups(guest)
    counts = []
    for _ in range(2):  # the slow pass, every ten minutes, may come into one of them
        before = woken()
        guest.run("for n in 1 2 3 4; do systemctl start noise; done; sleep 2")
        counts.append(woken() - before)
    assert min(counts) <= 1
    host.events.clear()
    guest.run("systemctl kill web")
    host.until(partial(is_told, host, "Drifted"))


def wake_ups(guest: Guest) -> Callable[[], int]:
    """How often the agent's main thread has waited."""
    pid = agent(guest)
    return lambda: int(guest.text(f"awk '/^voluntary/ {{print $2}}' /proc/{pid}/status"))
