"""How long events take from what logind says on its bus to the host's end of the channel."""

import time
from dataclasses import dataclass, field

from tests.vm.guest import Guest
from tests.vm.wire import Host

SIGNALS = "/run/signals"
PINGS = 9
# How far the wall clock is ahead of the boot clock, which a ping tells.
AHEAD = "import time; print(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))"


@dataclass
class Stopwatch:
    """Two clocks on one scale: what the guest's bus has seen, and what came here."""

    guest: Guest
    host: Host
    came: dict[str, list[float]] = field(default_factory=dict)  # by reason, in seconds since 1970

    def __post_init__(self) -> None:
        match = "type='signal',sender='org.freedesktop.login1'"
        monitor = f'exec dbus-monitor --system --profile \\"{match}\\" >{SIGNALS}'
        self.guest.run(f'systemd-run --quiet --unit=signals sh -c "{monitor}"')
        self.guest.wait_until(f"test -s {SIGNALS}")
        self.host.call("ping")  # what happened before is in front of its answer
        self.host.events.clear()

    def until(self, reason: str, words: str = "") -> None:
        """Wait for an event, and note when it came."""
        while True:
            self.host.until(lambda _: bool(self.host.events), 60)
            now_s, event = time.time(), self.host.events.pop(0)
            if event["reason"] == reason and words in event["message"]:
                self.came.setdefault(reason, []).append(now_s)
                return

    def delays_s(self, reason: str, member: str, path: str) -> list[float]:
        """Of each event: the time since the last signal before it, sorted."""
        ahead_s = self._ahead_s()
        said = []
        for line in self.guest.text(f"cat {SIGNALS}").splitlines():
            parts = line.split("\t")
            if parts[0] == "sig" and parts[-1] == member and path in line:
                said.append(float(parts[1]) - ahead_s)
        assert said, f"no {member} in {SIGNALS}"
        return sorted(min(came_s - s for s in said if s <= came_s) for came_s in self.came[reason])

    def _ahead_s(self) -> float:
        """How far the guest's wall clock is ahead of ours, to half of a ping's round trip."""
        found = []
        for _ in range(PINGS):
            before_s = time.time()
            boot_s = self.host.call("ping")["bootClock"]
            after_s = time.time()
            found.append((after_s - before_s, boot_s - (before_s + after_s) / 2))
        boot_ahead_s: float = min(found)[1]
        return boot_ahead_s + float(self.guest.text(f'python3 -c "{AHEAD}"'))
