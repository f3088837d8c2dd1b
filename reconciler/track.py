"""One kind's place in the loop: what is desired of it, seen of it, planned and failed."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from reconciler.errors import DriverError, Forbidden, InvalidSpec, ReconcilerError, Terminal, Unsupported
from reconciler.policy import Policy
from reconciler.resource import Action, Change, Json, Notice, Phase, Resource, Verdict
from reconciler.status import NOT_SEEN_YET, Condition

BACKOFF_FIRST_S = 1.0
RETRY_SOON_S = 10.0  # the first few tries: a lock that others hold for a moment costs a document no secret
BACKOFF_MAX_S = 300.0  # a person who mends something waits no longer than this
PERIOD_S = 600.0  # the slow pass, for what no event told; a quiet guest hardly notices it
WAKE_GAP_S = 0.05  # a storm of events costs twenty looks a second at most, and a person sees no delay
# Anybody can cause some events without end: a tenth of a core in the long run, and a few seconds' worth
# at once. After looks that only waited for somebody, events are heard half a minute later at most.
LOOKS_SHARE = 0.1
LOOKS_BURST_S = 5.0
LOOKS_GAP_MAX_S = 30.0
NEVER_S = float("inf")

Answer = Callable[[Any, ReconcilerError | None], None]


class State(Enum):
    """Where a kind stands within a pass: look, wait for the phase, act, look again."""

    IDLE = "idle"
    LOOKING = "looking"
    WAITING = "waiting"  # has actions, and their phase has not come
    ACTING = "acting"
    ASKED = "asked"  # does somebody a favour between its own jobs: a renewal, a preview
    STUCK = "stuck"  # a driver's call passed its deadline and has not come back


@dataclass
class Track:
    """Mutable, owned by the loop, touched from no other thread."""

    resource: Resource[Any, Any, Any]
    state: State = State.IDLE
    job: int = 0  # the number of the job under way; an answer to another one comes too late
    job_began_s: float = 0.0
    deadline_s: float = NEVER_S
    asks: deque[tuple[Callable[[], Any], Answer]] = field(default_factory=deque)
    owed: bool = False  # a favour was done, and its own pass comes before the next one

    desired: Any = None
    managed: bool = False  # the document names this kind, and it can be followed here
    always: bool = True  # enforce
    blocked: ReconcilerError | None = None  # the document names it, and it cannot be followed
    stale: bool = False  # the look under way was begun for another document

    observed: Any = None
    shown: Json = field(default_factory=dict)
    seen: bool = False
    changes: tuple[Change, ...] = ()
    verdict: Verdict = field(default_factory=lambda: Verdict(False, NOT_SEEN_YET, waiting=True))
    holding: bool = False
    plan: list[Action] = field(default_factory=list)
    running: Action | None = None
    acted: bool = False  # so the look under way is the second one
    awaits: Phase | None = None  # of its last act, if others wait until a look finds that done
    rehearsed: dict[tuple[str, str], Action] = field(default_factory=dict)

    failure: ReconcilerError | None = None
    attempts: int = 0
    attempts_before: int = 0  # the plan under way
    next_try_s: float = 0.0
    next_look_s: float = 0.0  # when a look is due that nothing else asked for
    wanted: bool = True  # a look is asked for
    woken: bool = False  # by an event
    charged: bool = False  # the look under way is for an event, or after what was done for one
    roused: bool = False  # the last look was such a one, and so is what is planned after it
    debt_s: float = 0.0  # what such looks have taken, less what they may take, at `debt_at_s`
    debt_at_s: float = 0.0
    not_before_s: float = 0.0  # wakes come in storms

    @property
    def kind(self) -> str:
        return type(self.resource).kind

    # What is desired

    def adopt(self, normal: Mapping[str, Json] | None, policy: Policy) -> None:
        """A document came into force; `normal` is what it says of this kind, or None."""
        kind = type(self.resource)
        self.desired, self.always, self.blocked = kind.desired(), True, None
        self.managed = False
        if normal is not None:
            try:
                desired = kind.parse(normal)
                policy.check_kind(self.kind)
                policy.check_touches(self.kind, kind.touches(desired))
            except ReconcilerError as error:
                self.blocked = error
            except Exception as fault:  # kept by another version of the agent, say
                self.blocked = InvalidSpec(f"cannot follow {self.kind}: {type(fault).__name__}: {fault}")
            else:
                self.desired, self.managed = desired, True
                self.always = normal.get("enforce", kind.enforce) == "always"
        self.plan.clear()
        self.changes = ()
        self.verdict = Verdict(False, NOT_SEEN_YET, waiting=True)
        self.acted = False
        self.stale = self.state in (State.LOOKING, State.ACTING)
        if self.state is State.WAITING:
            self.state = State.IDLE
        self.look_now()
        if self.state is not State.STUCK:  # a call that has not come back is no news of this document
            self.succeed()

    # When to look

    def look_now(self) -> None:
        self.wanted, self.not_before_s = True, 0.0

    def wake(self, now_s: float) -> None:
        if not self.wanted:
            self.wanted = self.woken = True
            self.not_before_s = max(now_s, self.not_before_s)

    def reckon(self, now_s: float) -> None:
        """Count what the look that is over has taken, if it was for an event."""
        left_s = max(0.0, self.debt_s - LOOKS_SHARE * (now_s - self.debt_at_s))
        took_s = now_s - self.job_began_s if self.charged else 0.0
        self.charged = False
        self.debt_s = min(left_s + took_s, LOOKS_BURST_S + LOOKS_SHARE * LOOKS_GAP_MAX_S)
        self.debt_at_s = now_s

    def _rest(self, now_s: float) -> None:
        """Let the next event wait a little, or as long as those before have taken too much."""
        left_s = self.debt_s - LOOKS_SHARE * (now_s - self.debt_at_s) - LOOKS_BURST_S
        self.not_before_s = now_s + max(WAKE_GAP_S, left_s / LOOKS_SHARE)

    def due_s(self) -> float:
        # A storm of events does not put off what the kind itself is due for.
        return min(self.not_before_s, self.next_look_s) if self.wanted else self.next_look_s

    def look_is_due(self, now_s: float) -> bool:
        return now_s >= self.due_s()

    # How a look and an act end

    def take(self, observed: Any, now_s: float) -> tuple[Notice, ...]:
        """Compare what was seen with what is desired; what happened since the last look."""
        kind = type(self.resource)
        observed = kind.foresee_all(observed, self.rehearsed.values())
        notices = kind.notices(self.observed, observed) if self.seen else ()
        self.observed, self.seen = observed, True
        self.holding = kind.holding(observed)
        self.shown = kind.show(observed)
        self.changes = kind.diff(self.desired, observed)
        self.verdict = kind.verdict(self.desired, observed, self.changes)
        if not (self.managed and self.verdict.waiting):
            self.awaits = None
        due_s = kind.due_s(self.desired, observed)
        self.next_look_s = min(_next_period_s(now_s), NEVER_S if due_s is None else due_s)
        # A due time in the past must not become a busy loop.
        self.next_look_s = max(self.next_look_s, now_s + WAKE_GAP_S)
        self._rest(now_s)
        return notices

    def fault(self, fault: Exception, now_s: float, jitter: float) -> None:
        """The kind itself failed to make sense of what was seen; that costs this kind, and not the agent."""
        self.plan.clear()
        self.changes = ()
        self.acted = False
        self.state = State.IDLE
        self.next_look_s = _next_period_s(now_s)
        self.fail(Terminal(f"cannot follow {self.kind}: {type(fault).__name__}: {fault}"), now_s, jitter)

    def second_look(self, now_s: float, jitter: float) -> None:
        """Judge an act by what was seen after it."""
        self.acted = False
        if not self.changes or self.verdict.waiting:
            self.succeed()
        elif self.attempts == self.attempts_before:  # so the act itself did not fail
            why = f"{self.verdict.reason}: {self.verdict.message}"
            self.fail(DriverError(f"cannot bring it about: acted and looked again: {why}"), now_s, jitter)
        else:
            self.next_look_s = min(self.next_look_s, self.next_try_s)

    def may_plan(self, settled: bool, now_s: float) -> bool:
        """Whether the changes just seen are to be repaired now."""
        if now_s < self.next_try_s:
            self.next_look_s = min(self.next_look_s, max(self.next_try_s, now_s + WAKE_GAP_S))
            return False
        if self.always or not settled or type(self.resource).insists(self.desired, self.observed):
            return True
        self.succeed()  # it is seen again, and left as it is
        return False

    def make_plan(self, policy: Policy, now_s: float, jitter: float) -> None:
        plan = sorted(type(self.resource).plan(self.desired, self.changes), key=lambda a: a.phase)
        try:
            for action in plan:
                policy.check_action(self.kind, action)
        except Forbidden as error:
            self.fail(error, now_s, jitter)
            return
        self.plan = plan
        self.attempts_before = self.attempts
        self.state = State.WAITING if plan else State.IDLE

    def asked(self, result: Any, error: ReconcilerError | None) -> None:
        """A favour was done; look again, since it may have changed something."""
        _, answer = self.asks.popleft()
        self.state = (
            State.IDLE
        )  # not waiting; but what it had planned is still to be done, and others wait for it
        self.owed = True
        self.look_now()
        answer(result, error)

    def expire(self, now_s: float, jitter: float) -> None:
        """The call under way passed its deadline; it is left to itself."""
        verb = {State.LOOKING: "observe", State.ACTING: "change", State.ASKED: "ask"}[self.state]
        failure = DriverError(f"cannot {verb} {self.kind}: no answer before the deadline")
        while self.asks:
            self.asks.popleft()[1](None, failure)
        if self.state is State.LOOKING:
            self.reckon(now_s)
        self.plan.clear()
        if self.running is not None and self.running.phase is Phase.HOLD:
            self.holding = True  # it may, in part or later; the look after the call came back will tell
        self.running = None
        self.acted = False
        self.state = State.STUCK
        self.deadline_s = NEVER_S
        self.fail(failure, now_s, jitter)

    def rehearse(self, action: Action) -> None:
        """Let an act that was only recorded show in what is observed next."""
        key = (action.verb, action.target)
        self.rehearsed.pop(key, None)  # the newest of its like stands last, and alone
        self.rehearsed[key] = action

    def fail(self, failure: ReconcilerError, now_s: float, jitter: float) -> None:
        """Back off alone. `jitter` in 0..1 spreads guests that fail together."""
        self.failure = failure
        self.attempts += 1
        delay_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self.attempts - 1, 16))
        if isinstance(failure, Terminal | Forbidden):
            self.next_try_s = NEVER_S  # until the document changes
        elif isinstance(failure, Unsupported):
            self.next_try_s = now_s + PERIOD_S
        else:
            self.next_try_s = now_s + delay_s * (0.5 + jitter / 2)
        self.next_look_s = min(_next_period_s(now_s), self.next_try_s)
        self._rest(now_s)  # a storm of events must not become one of failing looks

    def succeed(self) -> None:
        self.failure = None
        self.attempts = self.attempts_before = 0
        self.next_try_s = 0.0

    # What others need to know

    def unsure(self) -> bool:
        """Whether it may have something to do for the document in force that is not seen yet."""
        plans = type(self.resource).plan is not Resource.plan
        awaited = self.failure is None and self.state is not State.STUCK
        return plans and awaited and self.verdict.reason == NOT_SEEN_YET and (self.managed or not self.seen)

    def may_precede(self, phase: Phase) -> bool:
        """Whether what it is yet to see may call for something that comes before `phase`."""
        return self.unsure() and type(self.resource).earliest < phase

    def retries_soon(self, now_s: float) -> bool:
        """Whether what the document asks of it failed, and is tried again at once or nearly so."""
        tries = self.managed and self.failure is not None and self.state is not State.STUCK
        return tries and self.next_try_s < now_s + RETRY_SOON_S

    def phases(self) -> tuple[Phase, ...]:
        """What this kind still has to do, also while it looks again; a stuck one holds up nobody."""
        running = (self.running,) if self.running else ()
        hangs = self.failure is not None or self.state is State.STUCK
        awaited = () if self.awaits is None or hangs else (self.awaits,)
        return (*awaited, *(action.phase for action in (*running, *self.plan)))

    def can_hold(self) -> bool:
        return type(self.resource).holding is not Resource.holding

    def holds(self) -> bool:
        return self.holding or (self.running is not None and self.running.phase is Phase.HOLD)

    def condition(self, *, settled: bool, generation: int, stamp: Callable[[float], str]) -> Condition:
        status, reason, message, mood = self._judge(settled)
        retrying = self.failure is not None and self.next_try_s < NEVER_S
        return Condition(
            type=self.kind,
            status=status,
            reason=reason,
            message=message,
            observed_generation=generation,
            attempts=self.attempts,
            next_try=stamp(self.next_try_s) if retrying else "",
            mood=mood,
        )

    def _judge(
        self, settled: bool
    ) -> tuple[Literal["True", "False", "Unknown"], str, str, Literal["ease", "waiting", "failed"]]:
        trouble = self.blocked or self.failure
        verdict = self.verdict
        if trouble is not None:
            unseen = not self.seen and self.blocked is None
            return "Unknown" if unseen else "False", type(trouble).__name__, str(trouble), "failed"
        if not self.seen or verdict.reason == NOT_SEEN_YET:
            return "Unknown", NOT_SEEN_YET, "", "waiting"
        if verdict.ready:
            return "True", verdict.reason, verdict.message, "ease"
        if verdict.failed:
            return "False", verdict.reason, verdict.message, "failed"
        if self.changes and settled and not self.always and self.state is State.IDLE and not verdict.waiting:
            note = "not repaired: enforced once for each generation"
            message = f"{verdict.message} ({note})" if verdict.message else note
            return "False", verdict.reason, message, "ease"
        # Without changes there is nothing left to do: it ended as it had to, a lease for example.
        return (
            "False",
            verdict.reason,
            verdict.message,
            "waiting" if self.changes or verdict.waiting else "ease",
        )


def _next_period_s(now_s: float) -> float:
    """Aligned, so that the slow pass wakes the machine once for all kinds."""
    return (now_s // PERIOD_S + 1) * PERIOD_S
