"""Tasks on a real guest: whose they are, what is told of them, and that none begins twice."""

import base64
import json
import time
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.product import UNIT, again, configure, signal_agent
from tests.vm.wire import LATER_S, Host

pytestmark = pytest.mark.vm

UNDER_WAY = ("Drifted", "NotSeenYet", "Running")
RUNS, KEPT = "/run/guest-reconciler/run", "/var/lib/guest-reconciler/run"
SECRET = "hunter2-of-the-tests"
LOOKED_FOR = "[h]unter2-of-the-tests"  # so that who looks for it does not find himself
RELAY_KIB_MAX = 16 << 10  # specs/run.md says 12 MiB, and another Python may take some more
LOUD = 200_000_000


def apply(host: Host, tasks: dict[str, Any], secrets: dict[str, str] | None = None, **more: Any) -> int:
    number = int(host.call("spec")["generation"]) + 1
    coded = {path: base64.b64encode(text.encode()).decode() for path, text in (secrets or {}).items()}
    spec = {"run": {"tasks": tasks}, **more}
    host.call("apply", generation=number, spec=spec, secrets={"run": coded} if coded else {})
    return number


def settled(host: Host, number: int) -> dict[str, Any]:
    """The tasks, once all of them have ended."""

    def known() -> dict[str, Any]:
        return dict(host.status["observed"].get("run", {}).get("tasks", {}))

    def is_settled(_: dict[str, Any]) -> bool:
        condition = host.condition("run")
        current = condition.get("observedGeneration") == number and condition["reason"] not in UNDER_WAY
        return current and all(task["state"] != "running" for task in known().values())

    host.until(is_settled, 2 * LATER_S)
    return known()


def done(host: Host, tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return settled(host, apply(host, tasks, **more))


def script(text: str, token: str = "1", **more: Any) -> dict[str, Any]:
    return {"shell": text, "token": token, **more}


def count(guest: Guest) -> int:
    return int(guest.text("cat /var/tmp/count 2>/dev/null | wc -l"))


ARGV = ["a b", "'\"", "new\nline", "$HOME", "", "*"]
ECHO = "import json, sys; json.dump(sys.argv[1:], sys.stdout)"
PEAK = "grep VmHWM /proc/$PPID/status >&2"  # of the relay
TASKS: dict[str, Any] = {
    "argv": {"command": ["/usr/bin/python3", "-c", ECHO, *ARGV], "token": 1},
    "alice": script("id -u; id -gn; id -Gn; echo $HOME; pwd; grep CapEff /proc/self/status", user="alice"),
    "group": script("id -gn", user="alice", group="adm"),
    "there": script('pwd; echo "$X"', cwd="/usr/lib", environment={"X": "1  2"}),
    "input": {"command": ["/usr/bin/rev"], "token": 1, "stdin": "abc\n"},
    "code": script("echo no >&2; exit 3"),
    "signal": script("kill -SEGV $$"),
    "python": script("print(6 * 7)", interpreter="/usr/bin/python3"),
    "loud": script(f"yes | head -c {LOUD}; {PEAK}"),
    "once": script("echo >>/var/tmp/count"),
    "all": script("grep -c . /proc/self/status; grep -E 'CapEff|NoNewPrivs' /proc/self/status"),
}


def test_each_runs_as_it_is_written(guest: Guest, host: Host) -> None:
    found = done(host, TASKS)
    assert host.condition("run")["reason"] == "Failed"

    def out(name: str) -> list[str]:
        return str(found[name]["stdout"]["head"]).splitlines()

    assert json.loads(out("argv")[0]) == ARGV
    assert out("alice")[:5] == ["1000", "alice", "alice", "/home/alice", "/home/alice"]
    assert out("alice")[5].split()[1] == "0" * 16
    assert out("group") == ["adm"]
    assert out("there") == ["/usr/lib", "1  2"]
    assert (out("input"), out("python")) == (["cba"], ["42"])
    assert (found["code"]["exitCode"], found["code"]["stderr"]["head"]) == (3, "no\n")
    assert found["signal"]["signal"] == "SIGSEGV"
    loud = found["loud"]
    assert (loud["stdout"]["bytes"], len(loud["stdout"]["head"]), len(loud["stdout"]["tail"])) == (
        LOUD,
        8192,
        8192,
    )
    assert int(loud["stderr"]["head"].split()[1]) < RELAY_KIB_MAX
    assert out("all")[1:] == ["CapEff:\t000001ffffffffff", "NoNewPrivs:\t0"]

    guest.wait_until(f"! ls {RUNS} | grep .")
    assert int(guest.text(f"du -sk {KEPT}").split()[0]) < 512
    assert guest.text("systemctl list-units --all --no-legend 'guest-task-*'") == ""
    # The same tokens in another document, and after a restart of the agent, are the same wish.
    done(host, {name: TASKS[name] for name in ("once", "argv")}, hostname="web-01")
    assert host.condition("run")["reason"] == "Succeeded"
    guest.run(f"systemctl restart {UNIT}")
    with again(guest, host) as later:
        later.reason("run", "Succeeded")
        assert later.status["observed"]["run"]["tasks"]["argv"] == found["argv"]
        assert count(guest) == 1
        done(later, {"once": script("echo >>/var/tmp/count", "2")})
        assert count(guest) == 2


def test_a_secret_reaches_nobody_else(guest: Guest, host: Host) -> None:
    # It waits, with what it has read only in its own memory.
    text = "read -r secret; touch /run/there; until test -e /run/go; do sleep 0.1; done; echo ${#secret}"
    task = script(text, stdin={"fromFile": "secrets/x"})
    number = apply(host, {"login": task}, {"tasks.login.stdin": f"{SECRET}\n"})
    guest.wait_until("test -e /run/there")
    places = "/proc/[0-9]*/environ /proc/[0-9]*/cmdline /run /var /tmp /etc"
    assert guest.run(f"grep -rla --devices=skip '{LOOKED_FOR}' {places} 2>/dev/null", check=False).out == ""
    assert guest.run(f"systemctl show 'guest-task-*' | grep '{LOOKED_FOR}'", check=False).rc == 1
    assert "MainPID" in guest.text("systemctl show 'guest-task-*'")
    guest.run("touch /run/go")
    assert settled(host, number)["login"]["stdout"]["head"] == f"{len(SECRET)}\n"
    guest.run("sync")
    assert guest.run(f"journalctl --no-pager | grep '{LOOKED_FOR}'", check=False).rc == 1
    assert guest.run(f"grep -aq '{LOOKED_FOR}' /dev/vda", 300, check=False).rc == 1
    # Sent without it, another token waits.
    settled(host, apply(host, {"login": {**task, "token": "2"}}))
    assert host.condition("run")["reason"] == "SecretMissing"
    apply(host, {"login": {**task, "token": "2"}}, {"tasks.login.stdin": "four"})
    host.reason("run", "Succeeded")
    assert host.status["observed"]["run"]["tasks"]["login"]["stdout"]["head"] == "4\n"


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[-1] == "away" and not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
open(f"/run/stubborn.{os.getpid()}", "w").close()
time.sleep(1000)
"""


def test_after_its_deadline_nothing_of_it_is_left(guest: Guest, host: Host) -> None:
    found = done(
        host,
        {
            "late": {"command": ["/usr/bin/python3", "-c", STUBBORN, "away"], "token": 1, "deadline": "10s"},
            "polite": script("trap 'echo bye; exit 0' TERM; sleep 1000 & wait", deadline="2s"),
            "leaves": script("setsid sleep 1234 & exit 0"),
        },
    )
    assert host.condition("run")["reason"] == "DeadlinePassed"
    assert (found["late"]["cutShortBy"], found["late"]["signal"]) == ("deadline", "SIGKILL")
    assert (found["polite"]["cutShortBy"], found["polite"]["exitCode"]) == ("deadline", 0)
    assert found["polite"]["stdout"]["head"] == "bye\n"
    assert (found["leaves"]["exitCode"], "cutShortBy" in found["leaves"]) == (0, False)
    pids = guest.text("cd /run; ls stubborn.* | cut -d. -f2").split()
    assert len(pids) == 2
    assert guest.text(f"for pid in {' '.join(pids)}; do test -e /proc/$pid && echo $pid; done; true") == ""
    assert guest.run("pgrep -f 'sleep 1234'", check=False).rc == 1


def test_a_deadline_stands_still_while_the_guest_sleeps(guest: Guest, host: Host) -> None:
    late = {"late": script("sleep 1000", deadline="12s")}
    apply(host, late)
    host.reason("run", "Running")
    number = apply(host, late, power={"suspend": {"token": "nap-1"}})
    guest.wait_status("suspended")
    time.sleep(13)
    guest.qmp("system_wakeup")
    guest.wait_status("running")
    with again(guest, host) as later:
        found = settled(later, number)["late"]
    assert found["cutShortBy"] == "deadline"
    # Counted without the sleep as well, and from the command's own begin, a second after its unit's.
    assert found["durationSeconds"] > 8


def test_it_survives_the_agent_and_begins_once(guest: Guest, host: Host) -> None:
    text = "echo >>/var/tmp/count; echo begin; until test -e /run/go; do sleep 0.1; done; echo end"
    number = apply(host, {"long": script(text)})
    guest.wait_until("test -e /var/tmp/count")
    signal_agent(guest, "KILL")
    with again(guest, host) as later:
        later.reason("run", "Running")
        guest.run("touch /run/go")
        found = settled(later, number)
        assert found["long"]["stdout"]["head"] == "begin\nend\n"
        assert [each["reason"] for each in later.events].count("TaskEnded") == 1
    assert count(guest) == 1


def stage(guest: Guest, step: int) -> str:
    """How far a task of the test below has come."""
    begun = guest.text(f"ls {KEPT} 2>/dev/null | grep -c '^step[.]'; true")
    if int(begun) <= step:
        return "not begun"
    return "over" if guest.run(f"test -e /var/tmp/tokens/{step}", check=False).rc == 0 else "under way"


def test_killed_at_any_moment_no_token_begins_twice(guest: Guest, host: Host) -> None:
    guest.run("mkdir /var/tmp/tokens")
    reasons, stages = [], []
    for step in range(8):
        text = f"sleep 1; mkdir /var/tmp/tokens/{step} || echo twice >/var/tmp/twice"
        number = apply(host, {"step": script(text, str(step))})
        time.sleep(0.03 * step)
        signal_agent(guest, "KILL")
        stages.append(stage(guest, step))
        host = again(guest, host)
        if host.hello["generation"] < number:  # the guest never had it
            number = apply(host, {"step": script(text, str(step))})
        settled(host, number)
        reasons.append(host.condition("run")["reason"])
    host.close()
    assert guest.run("test -e /var/tmp/twice", check=False).rc == 1, reasons
    began = set(guest.text("ls /var/tmp/tokens").split())
    assert set(reasons) <= {"Succeeded", "Lost", "OutcomeUnknown"}
    assert {str(step) for step, reason in enumerate(reasons) if reason == "Succeeded"} <= began
    # The steps before that are died at, one by one, in tests/drivers/run/test_mortal_start.py.
    assert "under way" in stages, stages


def test_what_a_document_drops_runs_on_to_its_end(guest: Guest, host: Host) -> None:
    slow = {
        "slow": script("echo >>/var/tmp/count; until test -e /run/go; do sleep 0.1; done; touch /run/ended")
    }
    apply(host, slow)
    host.reason("run", "Running")
    host.converge({})
    guest.wait_until("test -e /var/tmp/count")
    guest.run("systemctl is-active 'guest-task-*'; touch /run/go")
    guest.wait_until("test -e /run/ended")
    assert done(host, slow)["slow"]["exitCode"] == 0
    assert count(guest) == 1


def test_a_power_cut_loses_what_ran_and_keeps_what_had_ended(guest: Guest, host: Host) -> None:
    tasks = {"short": script("echo ended"), "long": script("echo >>/var/tmp/count; sync; sleep 1000")}
    apply(host, tasks)
    guest.wait_until(f"grep -l exit_code {KEPT}/short.*.json && test -e /var/tmp/count")
    guest.kill()
    guest.start()
    guest.wait_up()
    with again(guest, host) as later:
        lost = later.reason("run", "Lost")
        assert "long: the guest went down" in lost["message"]
        assert later.status["observed"]["run"]["tasks"]["short"]["stdout"]["head"] == "ended\n"
        time.sleep(3)
        assert later.condition("run")["reason"] == "Lost"
    assert count(guest) == 1


def test_while_frozen_no_result_is_written_down(guest: Guest, host: Host) -> None:
    slow = {"slow": script("until test -e /run/go; do sleep 0.1; done")}
    apply(host, slow)
    host.reason("run", "Running")
    number = apply(host, slow, filesystems={"state": "frozen", "mounts": ["/data"], "lease": "60s"})
    host.until(lambda status: host.condition("filesystems").get("status") == "True")
    guest.run("touch /run/go")
    settled(host, number)
    assert host.condition("run")["reason"] == "Succeeded"
    time.sleep(1)
    assert guest.run(f"grep exit_code {KEPT}/*.json", check=False).rc == 1
    apply(host, slow, filesystems="thawed")
    guest.wait_until(f"grep -l exit_code {KEPT}/slow.*.json")


def test_the_policy_forbids(guest: Guest, host: Host) -> None:
    policy = 'forbid: {commands: ["/bin/touch"], users: [bob], paths: [/srv]}'
    guest.run(f"echo '{policy}' >/etc/guest-reconciler/policy.yaml; systemctl restart {UNIT}")
    touch = {"command": ["/usr/bin/touch", "/run/done"], "token": 1}
    tasks = [
        touch,
        script("touch /run/done", user="bob"),
        script("touch /run/done", user="alice", group="disk"),  # as good as root, and any user is forbidden
        script("touch /run/done", cwd="/srv/x"),
    ]
    with again(guest, host) as later:
        for task in tasks:
            number = apply(later, {"evil": task})
            settled(later, number)
            assert later.condition("run")["reason"] == "Forbidden"
    assert guest.run("test -e /run/done", check=False).rc == 1


def test_a_rehearsal_runs_nothing(guest: Guest, host: Host) -> None:
    arguments = "--channel virtio-serial:org.guest_reconciler.0 --rehearse"
    configure(guest, f'Environment="GUEST_RECONCILER_CHANNELS={arguments}"')
    with again(guest, host) as later:
        done(later, {"once": script("echo >>/var/tmp/count")})
        assert later.condition("run")["reason"] == "Succeeded"
    assert count(guest) == 0
    assert guest.run(f"test -e {KEPT} -o -e {RUNS}", check=False).rc == 1
