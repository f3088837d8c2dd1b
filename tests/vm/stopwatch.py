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
    came: list[tuple[float, str]] = field(default_factory=list)  # when, in seconds since 1970, and the reason

    def __post_init__(self) -> None:
        match = "type='signal',sender='org.freedesktop.login1'"
        monitor = f'exec dbus-monitor --system --profile \\"{match}\\" >{SIGNALS}'
        self.guest.run(f'systemd-run --quiet --unit=signals sh -c "{monitor}"')
        self.guest.wait_until(f"test -s {SIGNALS}")
        self.host.call("ping")  # what happened before is in front of its answer
        self.host.events.clear()
        self.began_s = time.time()

    def until(self, reason: str, words: str = "") -> None:
        """Wait for an event, and note when it came."""
        while True:
            self.host.until(lambda _: bool(self.host.events), 60)
            now_s, event = time.time(), self.host.events.pop(0)
            if event["reason"] == reason and words in event["message"]:
                self.came.append((now_s, reason))
                return

    def delays_s(self, member: str, path: str, *reasons: str) -> dict[str, list[float]]:
        """By reason, sorted: the time from the first such signal after the last such event to the next one.

        So whatever the object says between two events counts as the cause of the second, and a
        delay is never told shorter than it was.
        """
        ahead_s, doubt_s = self._ahead_s()
        said = []
        for line in self.guest.text(f"cat {SIGNALS}").splitlines():
            parts = line.split("\t")
            if parts[0] == "sig" and parts[-1] == member and path in parts:
                said.append(float(parts[1]) - ahead_s)
        assert said, f"no {member} of {path} in {SIGNALS}"
        found: dict[str, list[float]] = {reason: [] for reason in reasons}
        last_s = self.began_s
        for came_s, reason in self.came:
            if reason in reasons:
                first_s = min(said_s for said_s in said if said_s > last_s)
                assert first_s <= came_s + doubt_s, f"{reason} came before any {member}"
                found[reason].append(came_s - first_s)
                last_s = came_s
        return {reason: sorted(delays_s) for reason, delays_s in found.items()}

    def _ahead_s(self) -> tuple[float, float]:
        """How far the guest's wall clock is ahead of ours, and how wrong that may be: half a round trip."""
        found = []
        for _ in range(PINGS):
            before_s = time.time()
            boot_s = self.host.call("ping")["bootClock"]
            after_s = time.time()
            found.append((after_s - before_s, boot_s - (before_s + after_s) / 2))
        trip_s, boot_ahead_s = min(found)
        print(f"clocks compared to {trip_s * 500:.0f} ms")
        return boot_ahead_s + float(self.guest.text(f'python3 -c "{AHEAD}"')), trip_s / 2
