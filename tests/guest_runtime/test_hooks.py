"""Hooks around real freezes, run whatever dies."""

import os
import select
import signal
from pathlib import Path

import pytest

from reconciler.guarding import rescue
from tests.guest_runtime.freezing_agent import Agent
from tests.guest_runtime.test_guardian import blocked, last
from tests.loop_mounts import PATIENCE_S, Writer, wait_until

pytestmark = pytest.mark.root


def hook(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_hooks_run_in_order_before_and_in_reverse_after(
    agent: Agent, hooks: Path, disks: Path, tmp_path: Path
) -> None:
    for name in ("20-web", "10-db"):
        hook(hooks, name, f"echo {name} $1 $(mkdir {disks}/ext4/{name}-$1 && echo writable) >>{tmp_path}/ran")
    agent.do("freeze", generation=7, lease_s=60)
    agent.do("thaw")
    wait_until(lambda: (tmp_path / "ran").read_text().count("\n") == 4)
    assert (tmp_path / "ran").read_text().splitlines() == [
        "10-db freeze writable",
        "20-web freeze writable",
        "20-web thaw writable",
        "10-db thaw writable",
    ]
    for folder in (disks / "ext4").glob("*-*"):
        if folder.name.startswith(("10-db", "20-web")):
            folder.rmdir()


def test_hooks_are_undone_when_the_agent_is_killed(agent: Agent, hooks: Path, tmp_path: Path) -> None:
    hook(hooks, "10-db", f"echo $1 >>{tmp_path}/ran")
    agent.do("freeze", generation=7, lease_s=60)
    agent.kill()
    wait_until(lambda: (tmp_path / "ran").read_text().split() == ["freeze", "thaw"])


def test_a_failing_hook_refuses_the_freeze(agent: Agent, hooks: Path, disks: Path, tmp_path: Path) -> None:
    hook(hooks, "10-db", f"echo $1 >>{tmp_path}/ran")
    hook(hooks, "20-web", "echo no room left >&2; exit 3")
    hook(hooks, "30-never", f"echo never >>{tmp_path}/ran")
    answer = agent.do("freeze", generation=7, lease_s=60)
    expected = f"DriverError: cannot freeze: {hooks}/20-web freeze: it exited with 3: no room left"
    assert answer["error"] == expected
    assert answer["epoch"] == 0
    assert not Writer(disks / "ext4").is_blocked()
    wait_until(lambda: (tmp_path / "ran").read_text().split() == ["freeze", "thaw"])


def test_a_hook_that_fails_after_the_freeze_is_told(agent: Agent, hooks: Path) -> None:
    hook(hooks, "10-db", "test $1 = freeze")
    agent.do("freeze", generation=7, lease_s=60)
    agent.do("thaw")
    wait_until(lambda: "10-db thaw: it exited with 1" in agent.do("look")["last"]["message"])
    assert agent.do("look")["last"]["ended"] == "Thawed"


def test_hooks_that_a_killed_guardian_owed_run_before_the_next_freeze(
    agent: Agent, hooks: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    hook(hooks, "10-db", f"echo $1 >>{tmp_path}/ran")
    hook(hooks, "20-web", f"test $1 = freeze || read line <{tmp_path}/fifo")
    guardian = agent.do("freeze", generation=7, lease_s=60)["guardian"]
    death = os.pidfd_open(guardian)
    agent.do("thaw")
    with (tmp_path / "fifo").open("w") as fifo:  # waits for the hook
        os.kill(guardian, signal.SIGKILL)
        assert select.select([death], [], [], PATIENCE_S)[0]
        fifo.write("go\n")
    os.close(death)
    hook(hooks, "20-web", "exit 0")
    assert agent.do("freeze", generation=8, lease_s=60)["freeze"]["epoch"] == 2
    assert (tmp_path / "ran").read_text().split() == ["freeze", "thaw", "freeze"]


def test_a_freeze_is_given_up_while_a_hook_hangs(agent: Agent, hooks: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    hook(hooks, "10-db", f"test $1 = thaw && echo thaw >{tmp_path}/ran || read line <{tmp_path}/fifo")
    agent.order("freeze", generation=7, lease_s=60, later=True)
    with (tmp_path / "fifo").open("w") as fifo:  # waits for the hook
        agent.order("cancel")
        answers = [agent.answer(), agent.answer()]
        refused = next(answer for answer in answers if answer["did"] == "freeze")
        assert refused["error"] == "DriverError: cannot freeze: it took too long and was given up"
        fifo.write("go\n")
    wait_until((tmp_path / "ran").exists)


def test_what_is_left_when_both_are_killed_can_be_thawed(
    agent: Agent, disks: Path, ledger: Path, hooks: Path, tmp_path: Path
) -> None:
    hook(hooks, "10-db", f"echo $1 >>{tmp_path}/ran")
    guardian = agent.do("freeze", generation=7, lease_s=60)["guardian"]
    writers = blocked(disks)
    os.kill(guardian, signal.SIGSTOP)  # or it would be quicker than us
    agent.kill()
    os.kill(guardian, signal.SIGKILL)
    assert rescue.thaw_all(str(ledger)) == []
    for writer in writers:
        writer.done_s()
    assert last(ledger)["ended"] == "Thawed"
    assert (tmp_path / "ran").read_text().split() == ["freeze", "thaw"]
    assert rescue.thaw_all(str(ledger)) == []
