"""How soon the host hears of sessions: a real agent and a real bus, and a logind that is made up."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bus import PrivateBus, program
from tests.drivers.logind_fake import NAME, PATH, FakeLogind, FakeSession
from tests.vm.wire import Host

Record = Callable[[str, object], None]

PROMPT_S = 0.2  # promised, from logind's signal to the host's end of the channel
ROUNDS = 10
START_S = 20.0
# As installed, but for a machine that need not run systemd itself.
RUN = (
    "import sys; from reconciler.facilities import login1; login1._BOOTED = '/';"
    "from guest_runtime.cli import main; sys.exit(main())"
)


@contextmanager
def agent(folder: Path) -> Iterator[Path]:
    channel, state = folder / "channel", folder / "state"
    options = ["run", "--channel", f"unix:{channel}", "--state-dir", str(state), "--rehearse"]
    with subprocess.Popen([sys.executable, "-c", RUN, *options]) as process:
        try:
            ends_s = time.monotonic() + START_S
            while not listens(channel):
                assert process.poll() is None
                assert time.monotonic() < ends_s
                time.sleep(0.01)
            yield channel
        finally:
            process.terminate()


def listens(channel: Path) -> bool:
    """A socket is there a moment before it listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(channel)) == 0


class Logind(FakeLogind):
    """Whose users come and go, lock and unlock by themselves."""

    def come(self) -> None:
        self.sessions["9"] = FakeSession("bob", 1001)
        self._emit(PATH, f"{NAME}.Manager", "SessionNew", "so", "9", f"{PATH}/session/_39")

    def act(self, method: str, id: str) -> Callable[[], None]:
        return lambda: self._session(method, id)


def was_told(host: Host, reason: str, status: object) -> bool:
    return reason in [event["reason"] for event in host.events]


def test_the_host_hears_of_sessions_in_time(
    system_bus: PrivateBus, tmp_path: Path, record_property: Record
) -> None:
    logind = Logind({"2": FakeSession("alice", 1000)})
    acts = {
        "SessionLocked": logind.act("LockSession", "2"),
        "SessionUnlocked": logind.act("UnlockSession", "2"),
        "SessionOpened": logind.come,
        "SessionClosed": logind.act("TerminateSession", "9"),
    }
    delays_s: dict[str, list[float]] = {reason: [] for reason in acts}
    with (
        program(NAME, logind.answer) as logind.program,
        agent(tmp_path) as channel,
        Host(channel) as host,
    ):
        host.converge({"session": "unlocked"})
        for _ in range(ROUNDS):
            for reason, act in acts.items():
                host.events.clear()
                began_s = time.monotonic()
                act()
                host.until(partial(was_told, host, reason), START_S)
                delays_s[reason].append(time.monotonic() - began_s)
    for reason, of_it in delays_s.items():
        of_it.sort()
        text = f"{reason}: median {of_it[ROUNDS // 2] * 1000:.0f} ms, most {of_it[-1] * 1000:.0f} ms"
        print(text)
        record_property(f"{reason}_ms", [round(delay_s * 1000) for delay_s in of_it])
        assert of_it[ROUNDS // 2] < PROMPT_S, text
