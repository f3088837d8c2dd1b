"""Killed before each step of its way, an agent never restarts a unit twice, nor does the next one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bus import PrivateBus, program
from tests.drivers.services.systemd_fake import NAME, FakeSystemd, FakeUnit

PROGRAM = Path(__file__).with_name("mortal_restart.py")
ROOT = Path(__file__).parents[3]
STEPS_MAX = 1000

Agent = Callable[[str, int, int], int]


@pytest.fixture
def agent(system_bus: PrivateBus, tmp_path: Path) -> Iterator[Agent]:
    """Has one live with a token of a generation, until its Nth step; its exit code."""
    (tmp_path / "state").mkdir(mode=0o700)
    pipes = subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with pipes as process:
        orders, answers = process.stdin, process.stdout
        assert orders
        assert answers

        def live(token: str, generation: int, deadly: int) -> int:
            orders.write(json.dumps([f"{tmp_path}/state", token, generation, deadly]) + "\n")
            orders.flush()
            return int(answers.readline())

        yield live


def test_killed_at_every_step(agent: Agent, tmp_path: Path) -> None:
    systemd = FakeSystemd(units={"web.service": FakeUnit("active", "running")})
    seen = []
    with program(NAME, systemd.answer) as systemd.program:
        for step in range(1, STEPS_MAX):
            systemd.heard.clear()
            died = agent(f"v{step}", step, step)
            assert died in (0, -signal.SIGKILL)
            assert agent(f"v{step}", step, 0) == 0  # systemd starts the agent anew
            restarts = [call for call in systemd.heard if call[0] == "RestartUnit"]
            seen.append(((tmp_path / "state/reason").read_text(), len(restarts)))
            if died == 0:
                break
    assert died == 0
    assert seen[-1] == ("InSync", 1)
    # Either it is known to have been done, or it is not known and may have been.
    assert set(seen) == {("InSync", 1), ("OutcomeUnknown", 0), ("OutcomeUnknown", 1)}
