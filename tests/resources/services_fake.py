"""A systemd in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reconciler.errors import DriverError, OutcomeUnknown
from reconciler.resources.services import FileVerb, JobVerb, Services, Units
from reconciler.subjects.unit_past import End
from reconciler.subjects.units import Unit

WEB = Unit(name="web.service", id="web.service", file="disabled")
UP = replace(WEB, active="active", sub="running")
FAILED = replace(WEB, active="failed", sub="failed", result="exit-code", exit="status 1", since_us=7)


@dataclass
class FakeUnits:
    """Whatever is asked for succeeds, unless `outcomes` says otherwise."""

    held: dict[str, Unit] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)  # of verbs: failed, timeout, ...
    refuses: set[str] = field(default_factory=set)  # verbs
    silent: set[str] = field(default_factory=set)  # verbs whose answer is lost
    heard: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    now_s: float = 1000.0
    own: frozenset[str] = frozenset()
    failed: Unit = FAILED  # what becomes of a start that fails

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return self.now_s

    def units(self, names: Sequence[str], *, follow: bool) -> tuple[Unit, ...]:
        self.asked.append(f"units {len(names)} {follow}")
        return tuple(self.held.get(name, Unit(name=name, id=name, load="not-found")) for name in names)

    def vital(self) -> frozenset[str]:
        self.asked.append("vital")
        return self.own

    def log(self, unit: Unit) -> tuple[str, ...]:
        self.asked.append(f"log {unit.id}")
        return ("out of cheese",)

    def nearest(self, name: str) -> str:
        return "web.service"

    def job(self, verb: JobVerb, unit: str, *, reset: bool) -> End:
        self.heard.append(("reset and start" if reset else verb, unit))
        if verb in self.refuses:
            raise DriverError(f"cannot {verb} {unit}: no")
        if verb in self.silent:
            raise OutcomeUnknown(f"cannot tell what became of {verb} {unit}: no answer in time")
        outcome = self.outcomes.get(verb, "done")
        if unit in self.held:
            after = replace(self.failed, name=unit, id=unit) if outcome == "failed" else self.held[unit]
            active = "inactive" if verb == "stop" else "active"
            self.held[unit] = after if outcome != "done" else replace(after, active=active, result="success")
        return End(outcome, "ConditionPathExists=/x" if outcome == "skipped" else "")

    def change_file(self, verb: FileVerb, unit: str, *, runtime: bool, reload: bool) -> None:
        self.heard += [(verb, unit), *([("daemon-reload", "")] if reload else [])]
        if verb in self.refuses:
            raise DriverError(f"cannot {verb} {unit}: no")
        files = {"enable": "enabled", "disable": "disabled", "mask": "masked", "unmask": "disabled"}
        self.held[unit] = replace(self.held[unit], file=files[verb])
        if reload:
            loads = {
                name: "masked" if each.file == "masked" else "loaded" for name, each in self.held.items()
            }
            self.held = {name: replace(each, load=loads[name]) for name, each in self.held.items()}


def guest(*units: Unit) -> tuple[FakeUnits, Services]:
    fake = FakeUnits({unit.name: unit for unit in units})
    port: Units = fake
    return fake, Services(port)
