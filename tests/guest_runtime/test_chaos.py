"""Whoever is killed or stopped, and whenever: nothing stays frozen and no hook unpaid."""

import json
import os
import random
import select
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.guarding import rescue
from tests.guest_runtime.freezing_agent import Agent
from tests.loop_mounts import Writer, wait_until

pytestmark = pytest.mark.root

SEEDS = 40  # some 150 ms each
EVENTS = ("kill agent", "kill guardian", "stop guardian", "meddle", "thaw", "cancel", "renew")


def pause(chance: random.Random, most_s: float) -> None:
    select.select([], [], [], chance.random() * most_s)


def happen(event: str, agent: Agent, guardian: int, disks: Path) -> None:
    with suppress(ProcessLookupError, BrokenPipeError):
        match event:
            case "kill agent":
                agent.kill()
                agent.process.wait()
            case "kill guardian":
                os.kill(guardian, signal.SIGKILL)
            case "stop guardian":
                os.kill(guardian, signal.SIGSTOP)
            case "meddle":
                # Refused where nothing is frozen.
                command = ["fsfreeze", "--unfreeze", str(disks / "xfs")]
                subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
            case _:
                agent.order(event, generation=7, lease_s=5)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_stays_frozen(
    start: Callable[[], Agent], disks: Path, hooks: Path, ledger: Path, seed: int
) -> None:
    chance = random.Random(seed)
    (hooks / "10-db").write_text("#!/bin/sh\n")
    (hooks / "10-db").chmod(0o755)
    agent = start()
    guardian = agent.do("prepare")["guardian"]
    agent.order("freeze", generation=7, lease_s=chance.choice([1, 5, 60]), later=True)
    pause(chance, 0.05)
    events = chance.choices(EVENTS, k=3)
    for event in events:
        happen(event, agent, guardian, disks)
        pause(chance, 0.02)
    agent.close()
    if {"kill guardian", "stop guardian"} & set(events):
        # Then only whoever comes after them both can thaw.
        happen("kill guardian", agent, guardian, disks)
        assert rescue.thaw_all(str(ledger)) == []
    for name in ("ext4", "xfs", "inner"):
        Writer(disks / name).done_s()
    wait_until(lambda: not ledger.exists() or not {"held", "owed"} & json.loads(ledger.read_text()).keys())
