"""What has become of a unit: how it ended, what was tried, how it came back; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.subjects.units import MASKED, Unit

TRY_FIRST_S = 1.0  # doubled with each try
TRY_MAX_S = 300.0  # who mends something waits no longer than this
FORGET_S = 600.0  # what has run for so long did start
RESTARTS_MAX = 3  # by systemd, each within FORGET_S of the one before; once or twice is what Restart= is for
OUTCOMES: Mapping[str, str] = {
    "dependency": "a unit that it needs did not start",
    "timeout": "it was not ready in time",
    "canceled": "another job took its place",
    "skipped": "its conditions are not met",
}


@dataclass(frozen=True)
class End:
    """How a job ended, in systemd's word, empty while it goes on; skipped: by a condition not met."""

    outcome: str
    unmet: str = ""  # ConditionPathExists=/x

    @property
    def why(self) -> str:
        words = OUTCOMES.get(self.outcome, "")
        return f"{words}: {self.unmet}" if self.unmet else words


@dataclass(frozen=True)
class Try:
    """How often something was done to a unit in this generation, and what came of it at last."""

    count: int
    at_s: float  # on the boot clock
    generation: int
    why: str = ""  # it did not come about, as far as systemd said
    given_up: bool = False  # systemd has: it was started too often
    held: bool = False  # it was seen to have come about

    @property
    def again_s(self) -> float:
        return self.at_s + min(TRY_MAX_S, TRY_FIRST_S * 2.0 ** min(self.count - 1, 16))

    def lasts(self, generation: int, now_s: float) -> bool:
        """Whether another try would follow on this one."""
        return self.generation == generation and (self.given_up or now_s <= self.at_s + FORGET_S)


@dataclass(frozen=True)
class Spell:
    """How often of late systemd has started a unit again by itself."""

    count: int
    restarts: int  # as systemd counts them, when they were last looked at
    at_s: float  # when they last became more, on the boot clock
    ended: str = ""  # how its last run did

    @property
    def over_s(self) -> float:
        return self.at_s + FORGET_S

    def restless(self, now_s: float) -> bool:
        return self.count > RESTARTS_MAX and now_s < self.over_s

    @staticmethod
    def of(unit: Unit, before: "Spell | None", now_s: float) -> "Spell":
        """As of this look; systemd counts from 0 again once somebody starts it."""
        ended = run_of(unit)
        if before is None or unit.restarts < before.restarts:
            return Spell(0, unit.restarts, now_s, ended)
        count = before.count if now_s < before.over_s else 0
        more = unit.restarts - before.restarts
        at_s = now_s if more else before.at_s
        return Spell(count + more, unit.restarts, at_s, ended or before.ended)


def came_about(verb: str, unit: Unit) -> bool:
    """Whether a unit is as an act makes it."""
    match verb:
        case "stop":
            return unit.active in ("inactive", "failed")
        case "enable":
            return unit.file == "enabled"
        case "mask":
            return unit.file == "masked"
        case "disable":
            return unit.file not in ("enabled", "enabled-runtime")
        case "unmask":
            return unit.file not in MASKED
    return unit.up


def run_of(unit: Unit) -> str:
    """How its last run ended: ` (exit-code, status 1)`, or nothing."""
    over = unit.active == "failed" or unit.sub == "auto-restart"
    parts = [unit.result if unit.result != "success" else "", unit.exit if over else ""]
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""
