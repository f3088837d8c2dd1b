"""Real filesystems frozen, and thawed whatever dies."""

import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.guest_runtime.freezing_agent import Agent
from tests.loop_mounts import PATIENCE_S, Writer, run, wait_until

pytestmark = pytest.mark.root

SOON_S = 1.0  # what a guest may stand still beyond its lease or its agent


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def last(ledger: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ledger.read_text())
    assert "held" not in found
    return dict(found["last"])


def blocked(disks: Path) -> list[Writer]:
    """One writer on each filesystem, all of them held up."""
    writers = [Writer(disks / name) for name in ("ext4", "xfs", "inner")]
    assert all(writer.is_blocked() for writer in writers)
    return writers


def test_writers_wait_from_freeze_to_thaw(agent: Agent, disks: Path) -> None:
    frozen = agent.do("freeze", generation=7, lease_s=60)
    assert frozen["freeze"]["mounts"] == [str(disks / name) for name in ("inner", "xfs", "ext4")]
    assert frozen["freeze"]["guarded"]
    writers = blocked(disks)
    thawed = agent.do("thaw")
    assert thawed["freeze"] is None
    assert thawed["last"] == {"epoch": 1, "generation": 7, "ended": "Thawed", "message": ""}
    for writer in writers:
        writer.done_s()


def test_each_freeze_has_a_greater_epoch_whoever_does_it(start: Callable[[], Agent]) -> None:
    epochs = []
    for _ in range(2):
        agent = start()
        for _ in range(2):
            epochs.append(agent.do("freeze", generation=7, lease_s=60)["epoch"])
            agent.do("thaw")
    assert epochs == [1, 2, 3, 4]


def test_the_lease_ends_while_the_agent_is_stopped(agent: Agent, disks: Path, ledger: Path) -> None:
    until_s = agent.do("freeze", generation=7, lease_s=1.5)["freeze"]["until_s"]
    agent.kill(signal.SIGSTOP)
    for writer in blocked(disks):
        assert 0 <= writer.done_s() - until_s < SOON_S
    assert last(ledger)["ended"] == "LeaseEnded"


def test_the_lease_ends_on_a_boot_clock_of_its_own(start: Callable[..., Agent], disks: Path) -> None:
    agent = start(
        "unshare", "--time", "--boottime", "864000", "--monotonic", "1000", "--fork", "--kill-child"
    )
    frozen = agent.do("freeze", generation=7, lease_s=1.5)
    offset_s = frozen["now_s"] - now_s()
    assert offset_s > 800_000
    for writer in blocked(disks):
        assert 0 <= writer.done_s() + offset_s - frozen["freeze"]["until_s"] < SOON_S


@pytest.mark.parametrize(
    "asleep", [pytest.param(False, id="killed"), pytest.param(True, id="with a thread that does not die")]
)
def test_it_thaws_when_the_agent_is_killed(agent: Agent, disks: Path, ledger: Path, asleep: bool) -> None:
    agent.do("freeze", generation=7, lease_s=60)
    writers = blocked(disks)
    if asleep:
        agent.do("write", path=str(disks / "xfs" / "late"))
        wait_for_sleeper(agent.process.pid)
    killed_s = now_s()
    agent.kill()
    for writer in writers:
        assert writer.done_s() - killed_s < SOON_S
    wait_until(lambda: "held" not in json.loads(ledger.read_text()))
    assert last(ledger)["ended"] == "AgentDied"


def wait_for_sleeper(pid: int) -> None:
    """Until a thread of a process is in uninterruptible sleep."""
    tasks = Path(f"/proc/{pid}/task")
    wait_until(lambda: any(") D " in (task / "stat").read_text() for task in tasks.iterdir()))


def test_the_agent_thaws_when_the_guardian_is_killed(agent: Agent, disks: Path) -> None:
    guardian = agent.do("freeze", generation=7, lease_s=60)["guardian"]
    writers = blocked(disks)
    os.kill(guardian, signal.SIGKILL)
    seen = agent.do("watch")  # the bell's end
    wait_until(lambda: not agent.do("look")["freeze"]["guarded"])
    assert seen["freeze"]["epoch"] == 1
    assert agent.do("thaw")["last"]["ended"] == "GuardianDied"
    for writer in writers:
        writer.done_s()


def test_the_agent_does_without_a_guardian_that_hangs(agent: Agent, disks: Path) -> None:
    guardian = agent.do("freeze", generation=7, lease_s=60)["guardian"]
    writers = blocked(disks)
    os.kill(guardian, signal.SIGSTOP)
    assert agent.do("thaw")["freeze"] is None
    for writer in writers:
        writer.done_s()
    assert agent.do("freeze", generation=8, lease_s=60)["freeze"]["guarded"]


def test_another_agent_freezes_after_the_first_one_died(start: Callable[[], Agent], disks: Path) -> None:
    first = start()
    first.do("freeze", generation=7, lease_s=60)
    first.kill()
    first.process.wait(PATIENCE_S)
    second = start()
    second.do("thaw")
    assert second.do("freeze", generation=8, lease_s=60)["freeze"]["epoch"] == 2
    writers = blocked(disks)
    second.do("thaw")
    for writer in writers:
        writer.done_s()


def test_one_that_refuses_lets_the_others_go(agent: Agent, disks: Path) -> None:
    run("fsfreeze", "--freeze", str(disks / "ext4"))  # it comes last
    try:
        answer = agent.do("freeze", generation=7, lease_s=60)
        assert answer["error"] == f"DriverError: cannot freeze {disks}/ext4: somebody else holds it frozen"
        assert answer["freeze"] is None
        assert answer["last"]["ended"] == "Refused"
        for name in ("xfs", "inner"):
            assert not Writer(disks / name).is_blocked()
        # And what somebody else has frozen is left to him.
        writer = Writer(disks / "ext4")
        assert writer.is_blocked()
    finally:
        run("fsfreeze", "--unfreeze", str(disks / "ext4"))
    writer.done_s()


def test_a_freeze_that_blocks_holds_up_neither_the_lease_nor_its_end(agent: Agent, disks: Path) -> None:
    (disks / "inner" / "dirty").write_bytes(os.urandom(1 << 20))
    # So the image cannot take what the freeze of the filesystem in it must flush.
    run("fsfreeze", "--freeze", str(disks / "xfs"))
    try:
        mounts = [str(disks / "ext4"), str(disks / "inner")]
        begun_s = now_s()
        agent.order("freeze", generation=7, lease_s=1.5, mounts=mounts, later=True)
        writers = [Writer(disks / "ext4")]
        while not writers[-1].is_blocked():
            writers.append(Writer(disks / "ext4"))
        assert 1.4 <= writers[-1].done_s() - begun_s < 1.5 + SOON_S
    finally:
        run("fsfreeze", "--unfreeze", str(disks / "xfs"))
    answer = agent.answer()
    assert answer["error"] == "DriverError: cannot freeze: the lease ended before all was frozen"
    assert not Writer(disks / "inner").is_blocked()


@pytest.mark.parametrize("found_by", ["renew", "thaw"])
def test_a_freeze_that_somebody_else_thawed_is_broken(agent: Agent, disks: Path, found_by: str) -> None:
    agent.do("freeze", generation=7, lease_s=60)
    run("fsfreeze", "--unfreeze", str(disks / "xfs"))
    answer = agent.do(found_by, generation=7, lease_s=60)
    assert ("error" in answer) is (found_by == "renew")
    assert answer["freeze"] is None
    assert answer["last"] == {
        "epoch": 1,
        "generation": 7,
        "ended": "Broken",
        "message": f"{disks}/xfs was thawed by somebody else",
    }
    for name in ("ext4", "xfs", "inner"):
        assert not Writer(disks / name).is_blocked()


def test_a_renewed_lease_lasts_longer(agent: Agent, disks: Path) -> None:
    first_s = agent.do("freeze", generation=7, lease_s=1.5)["freeze"]["until_s"]
    renewed = agent.do("renew", generation=7, lease_s=3)
    assert renewed["freeze"]["epoch"] == 1
    until_s = renewed["freeze"]["until_s"]
    assert until_s > first_s + 1
    for writer in blocked(disks):
        assert 0 <= writer.done_s() - until_s < SOON_S
    assert "no freeze of generation 7 holds" in agent.do("renew", generation=7, lease_s=60)["error"]


def test_only_the_generation_that_froze_renews(agent: Agent) -> None:
    agent.do("freeze", generation=7, lease_s=60)
    assert "no freeze of generation 6 holds" in agent.do("renew", generation=6, lease_s=60)["error"]


def test_a_ledger_on_a_disk_that_would_freeze_is_refused(disks: Path, hooks: Path) -> None:
    agent = Agent(disks / "ext4" / "freeze.json", hooks, disks)
    try:
        answer = agent.do("freeze", generation=7, lease_s=60)
        expected = f"DriverError: cannot freeze {disks}/ext4: {disks}/ext4/freeze.json lies on it"
        assert answer["error"] == expected
        assert not Writer(disks / "ext4").is_blocked()
    finally:
        agent.close()


def test_the_guardian_is_protected_and_alone(agent: Agent) -> None:
    agent.do("prepare")
    seen = agent.do("freeze", generation=7, lease_s=60)
    guardian = seen["guardian"]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{guardian}/status").read_text().splitlines())
    assert int(status["VmLck"].split()[0]) > 0
    assert os.getsid(guardian) == guardian
    spared = Path(f"/proc/{guardian}/oom_score_adj").read_text().strip() == "-1000"
    # What cannot be done, in a container for example, is said.
    assert spared is not ("may be killed for want of memory" in seen["freeze"]["note"])
    open_for_writing = [
        os.readlink(f"/proc/{guardian}/fd/{fd.name}")
        for fd in Path(f"/proc/{guardian}/fdinfo").iterdir()
        if int(fd.read_text().split()[3], 8) & os.O_ACCMODE != os.O_RDONLY
    ]
    assert all(name.startswith(("pipe:", "socket:", "anon_inode:", "/dev/")) for name in open_for_writing)
    agent.do("thaw")


def test_a_warned_guardian_is_the_one_that_freezes(agent: Agent) -> None:
    prepared = agent.do("prepare")["guardian"]
    assert agent.do("freeze", generation=7, lease_s=60)["guardian"] == prepared
    agent.do("thaw")
    os.kill(prepared, signal.SIGKILL)  # as when it has ended for want of work
    assert agent.do("freeze", generation=8, lease_s=60)["freeze"]["epoch"] == 2


def test_the_guardian_ends_with_its_agent(agent: Agent) -> None:
    guardian = os.pidfd_open(agent.do("prepare")["guardian"])
    try:
        agent.kill()
        assert select.select([guardian], [], [], PATIENCE_S)[0]
    finally:
        os.close(guardian)
