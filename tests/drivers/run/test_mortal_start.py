"""Killed before each step of its way, an agent never begins a task twice, nor does the next one."""

import getpass
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from reconciler.drivers.run.systemd1 import Systemd1
from reconciler.subjects.task import Task
from tests.bus import PrivateBus, program
from tests.drivers.run.test_systemd1 import NAME, FakeSystemd

PROGRAM = Path(__file__).with_name("mortal_start.py")
ROOT = Path(__file__).parents[3]
STEPS_MIN = 12  # the state, the record, the order and the unit: each takes some


def agent(folder: Path, task: Task, deadly: int) -> int:
    fields = {"token": task.token, "shell": task.script, "user": task.user}
    words = [str(PROGRAM), str(folder), json.dumps({task.name: fields}), task.token, str(deadly)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], env=environment, timeout=60, check=False).returncode


def test_killed_at_every_step(system_bus: PrivateBus, tmp_path: Path) -> None:
    systemd = FakeSystemd()
    (tmp_path / "began").mkdir()
    seen = []
    with program(NAME, systemd.answer):
        for step in range(1, 200):
            text = f"mkdir {tmp_path}/began/{step} || touch {tmp_path}/twice"
            task = Task(name="job", token=str(step), argv=("/bin/sh",), script=text, user=getpass.getuser())
            died = agent(tmp_path, task, step)
            assert died in (0, -signal.SIGKILL)
            assert agent(tmp_path, task, 0) == 0  # systemd starts the agent anew
            systemd.settle()
            with closing(Systemd1(f"{tmp_path}/runs", f"{tmp_path}/kept")) as driver:
                found = driver.runs((task,)).get("job")
            began = (tmp_path / f"began/{step}").exists()
            assert not (tmp_path / "twice").exists()
            seen.append((found.reason if found else "", began))
            if died == 0:
                break
    assert len(seen) > STEPS_MIN
    assert seen[-1] == ("Succeeded", True)
    # First nothing was begun, and the next agent did it; then nobody knows; then it had begun.
    assert set(seen) == {("Succeeded", True), ("", False), ("Lost", False)}
