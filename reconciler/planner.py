"""Which action may run now: release before changes, by phase, before hold; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.resource import Action, Phase


@dataclass(frozen=True)
class Step:
    """One action, and the kind it belongs to."""

    kind: str
    action: Action


def order(plans: Mapping[str, Sequence[Action]]) -> tuple[Step, ...]:
    """The whole plan as it would run, for showing: by phase, then by kind."""
    steps = [Step(kind, action) for kind in sorted(plans) for action in plans[kind]]
    return tuple(sorted(steps, key=lambda step: step.action.phase))  # stable: a kind's order stands


def may_run(phase: Phase, others: Iterable[Phase], *, held: bool) -> bool:
    """Whether an action of `phase` may start beside what other kinds still have to do.

    `others` are the phases of what other kinds have planned or under way; `held` says
    whether any kind holds right now. A release always may: it is what the rest waits for.
    A change waits for every earlier phase and for whatever holds; a hold waits for all
    else, and one hold does not wait for another.
    """
    if phase is Phase.RELEASE:
        return True
    if phase is not Phase.HOLD and held:
        return False
    return all(other >= phase for other in others)
