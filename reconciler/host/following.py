"""When a wait is over, and what to tell those who wait; pure functions of a status."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.host.failures import Misused
from reconciler.host.output import flat
from reconciler.host.views import condition, conditions
from reconciler.resource import Json
from reconciler.subjects.seating import REFUSALS

AT_REST = ("Converged", "Holding")
PHASES = (*AT_REST, "Converging", "Degraded", "Refused")
# Another try would end the same: a driver, a policy or another document is wanted, or the same one anew.
_OF_ALL = ("Unsupported", "Forbidden", "Terminal", "InvalidSpec", "OutcomeUnknown", "SecretMissing")
_OF_TASKS = ("Failed", "Killed", "DeadlinePassed", "Stopped", "Lost")
_OF_UNITS = ("CannotEnable", "CannotReload", "GivenUp", "NotReloaded", "Protected", "WrittenTwice")
# Not NoDoor: the same document may start what opens one. Nor LoggedOut: who goes home is no fault.
_OF_USERS = (*REFUSALS, "CredentialNeeded")
HOPELESS = frozenset({*_OF_ALL, *_OF_TASKS, *_OF_UNITS, *_OF_USERS, "NoSuchZone"})

Met = Callable[[Mapping[str, Json]], bool]


def reached(status: Mapping[str, Json], generation: int) -> bool:
    found = status.get("observedGeneration")
    return type(found) is int and found >= generation


def converged(generation: int) -> Met:
    """Every kind is as this generation of the spec, or a later one, wants it."""
    return lambda status: reached(status, generation) and status.get("phase") in AT_REST


def hopeless(status: Mapping[str, Json]) -> str:
    """Why waiting is useless, or nothing: all that is missing can't come about by itself."""
    missing = [c for c in conditions(status) if c.get("status") != "True" and "nextTry" not in c]
    waited_for = status.get("phase") == "Converging" or any("nextTry" in c for c in conditions(status))
    causes = [c for c in missing if c.get("reason") in HOPELESS]
    if waited_for or not causes:
        return ""
    return "; ".join(
        flat([c.get("type", "?")]) + f": {flat(c['reason'])}: {flat(c.get('message', ''))}" for c in causes
    )


@dataclass
class Follower:
    """Turns one status after the other into lines about what changed."""

    before: Mapping[str, Json] | None = None

    def news(self, status: Mapping[str, Json]) -> list[str]:
        earlier, self.before = self.before, status
        lines = []
        for now in conditions(status):
            past = condition(earlier, flat(now.get("type"))) if earlier is not None else None
            if past is None or _differ(past, now, "status", "reason", "message"):
                words = [flat(now.get(key, "")) for key in ("type", "status", "reason", "message")]
                lines.append("  ".join(word for word in words if word))
        if earlier is None or _differ(earlier, status, "phase", "observedGeneration"):
            lines.append(
                f"{flat(status.get('phase', '?'))}  generation {flat(status.get('observedGeneration', '?'))}"
            )
        return lines


def _differ(past: Mapping[str, Json], now: Mapping[str, Json], *keys: str) -> bool:
    return any(past.get(key) != now.get(key) for key in keys)


def wanted(text: str) -> tuple[str, str]:
    """`--for` as (kind or "phase", what it has to be). Raises Misused.

    KIND, KIND=STATUS, KIND=REASON, phase=PHASE, or a PHASE alone.
    """
    what, mark, value = text.partition("=")
    if text in PHASES:
        return "phase", text
    if not what or (mark and not value):
        raise Misused(f"cannot wait for {text!r}: write KIND, KIND=STATUS, KIND=REASON or phase=PHASE")
    if what == "phase" and value not in PHASES:
        raise Misused(f"cannot wait for {text!r}: a phase is one of {', '.join(PHASES)}")
    return what, value or "True"


def so(what: str, value: str, generation: int) -> Met:
    """Whether a status is as `wanted` said, and is about this generation or a later one."""

    def met(status: Mapping[str, Json]) -> bool:
        if not reached(status, generation):
            return False
        if what == "phase":
            return status.get("phase") == value
        found = condition(status, what) or {}
        about = found.get("observedGeneration")
        return (
            type(about) is int and about >= generation and value in (found.get("status"), found.get("reason"))
        )

    return met
