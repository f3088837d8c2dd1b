"""The loop: every kind is looked at, compared, brought about and looked at again.

Theory of operation. The loop neither waits nor does I/O: it hands out jobs and
takes their answers, so one program drives it with threads, and a test with a
list. Its rules:

1. Every reason to look (a new document, an event, a timer, a restart) leads into
   the same pass: look, diff, plan, act, look again. What woke us is forgotten.
2. A kind has one job at a time, with a deadline. A job that passes it costs its
   own kind only: the kind is stuck until the call comes back, all others go on.
   Who asks a kind a favour waits for its pass, if one was asked for before.
3. Only the second look makes a kind ready, never an act that returned.
4. Actions start by phase (`planner.may_run`), over all kinds.
5. Nothing is saved while something holds: the disk may be the frozen one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from reconciler import planner
from reconciler.errors import Busy, Conflict, DriverError, OutcomeUnknown, ReconcilerError, Unsupported
from reconciler.journal import Journal, unusable
from reconciler.policy import Policy
from reconciler.resource import Cancellable, Phase, Resource
from reconciler.spec import Spec
from reconciler.status import Refusal, Status
from reconciler.store import Store
from reconciler.track import Answer, State, Track

SAVE = "(store)"  # stands where a job's kind stands; no kind can be named so
SAVE_DEADLINE_S = 30.0
ASKS_MAX = 32  # twice what one host may ask; hosts that have left again count too
_ANSWERABLE = (State.LOOKING, State.ACTING, State.ASKED)


@dataclass(frozen=True)
class Job:
    """A call that may block, to be made in a thread of its own."""

    number: int
    kind: str
    what: Literal["look", "act", "ask", "save"]
    run: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the loop is told once."""

    resources: Mapping[str, Resource[Any, Any, Any]]
    unusable: Mapping[str, ReconcilerError] = field(default_factory=dict)  # without a driver, or forbidden
    asleep: frozenset[str] = frozenset()  # kinds that `rouse` makes once a document names them
    rouse: Callable[[str], Resource[Any, Any, Any]] | None = None  # raises ReconcilerError
    policy: Policy = field(default_factory=Policy)
    rehearse: bool = False  # record acts instead of doing them
    jitter: Callable[[], float] = lambda: 0.5  # 0..1


class Loop:
    """Driven from one thread: `step` for jobs, `answer` for each of them, `next_s` for when to come back."""

    def __init__(self, setting: Setting, store: Store, stamp: Callable[[float], str]) -> None:
        """`stamp` turns a time on the boot clock into RFC 3339."""
        self._setting = setting
        self._store = store
        self._jobs = 0
        self._saving = 0
        self._save_hangs = 0  # the number of a save past its deadline; another would only wait behind it
        self._save_deadline_s = 0.0
        self._save_again_s = 0.0
        self._refusal: Refusal | None = None
        self._now_s = 0.0
        self.journal = Journal(stamp)
        self.unusable = dict(setting.unusable)
        self.tracks = {kind: Track(resource) for kind, resource in sorted(setting.resources.items())}
        self._adopt(store.spec)

    @property
    def policy(self) -> Policy:
        return self._setting.policy

    @property
    def spec(self) -> Spec:
        return self._store.spec

    def offer(self, spec: Spec) -> Literal["new", "same"]:
        """Put a validated document in force. Raises Conflict, and the last accepted one stays in force."""
        last = self._store.spec
        if spec.generation < last.generation:
            raise Conflict(f"cannot go back to generation {spec.generation}: {last.generation} is in force")
        if spec.generation == last.generation and spec.digest != last.digest:
            raise Conflict(f"cannot take generation {spec.generation}: it is in force with another content")
        self._refusal = None
        if spec.generation == last.generation:
            return "same"
        self._store.keep(spec)
        self._adopt(spec)
        return "new"

    def refuse(self, refusal: Refusal) -> None:
        """Say in the status that a document was refused."""
        self._refusal = refusal
        self.journal.add("document", refusal.reason, refusal.message, self._now_s)

    def why_not(self, kind: str) -> ReconcilerError:
        """Why there is no track for a kind."""
        return self.unusable.get(kind) or Unsupported(f"cannot do {kind}: not known here")

    def rouse(self, kind: str) -> None:
        """Have a track for a kind that slept, or a reason why not; any other stays as it is."""
        setting = self._setting
        if setting.rouse is None or kind not in setting.asleep - self.tracks.keys() - self.unusable.keys():
            return
        try:
            track = Track(setting.rouse(kind))
        except ReconcilerError as error:
            self.unusable[kind] = error
        else:
            track.adopt(self.spec.normal.get(kind), setting.policy)
            self.tracks = dict(sorted([*self.tracks.items(), (kind, track)]))

    def wake(self, kind: str) -> None:
        """Something may have changed in the guest."""
        self.tracks[kind].wake(self._now_s)

    def ask(self, kind: str, run: Callable[[], Any], answer: Answer) -> None:
        """Have `run` called between this kind's own jobs; `answer` gets its result or its error."""
        track = self.tracks[kind]
        if track.state is State.STUCK:
            answer(None, DriverError(f"cannot ask {kind}: a call has not come back"))
        elif len(track.asks) >= ASKS_MAX:
            answer(None, Busy(f"cannot ask {kind}: {ASKS_MAX} others wait"))
        else:
            track.asks.append((run, answer))

    def step(self, now_s: float) -> list[Job]:
        """The jobs to start now. `now_s` is the boot clock."""
        self._now_s = now_s
        self._expire()
        jobs = []
        for track in self.tracks.values():
            if track.state in (State.IDLE, State.WAITING):
                if track.asks and not (track.owed and self._has_turn(track)):
                    jobs.append(self._ask(track))
                elif track.look_is_due(now_s):
                    jobs.append(self._look(track))
        for track in self.tracks.values():
            if track.state is State.WAITING and self._may_act(track):
                jobs.append(self._act(track))
        if not self._saving and not self._save_hangs and self._may_save() and now_s >= self._save_again_s:
            jobs.append(self._save())
        self._record()
        return jobs

    def next_s(self) -> float:
        """When `step` is due even if nothing happens: boot clock, infinite for never."""
        times = [track.deadline_s for track in self.tracks.values() if track.state in _ANSWERABLE]
        times += [
            0.0 if track.asks else track.due_s()
            for track in self.tracks.values()
            if track.state in (State.IDLE, State.WAITING)
        ]
        if self._saving:
            times.append(self._save_deadline_s)
        elif self._may_save() and not self._save_hangs:
            times.append(self._save_again_s)
        return min(times, default=float("inf"))

    def answer(self, job: Job, result: Any, error: ReconcilerError | None, now_s: float) -> None:
        """What became of a job, also of one that is past its deadline."""
        self._now_s = now_s
        if job.kind == SAVE:
            self._saved(job, error)
            return
        track = self.tracks[job.kind]
        if job.number != track.job:
            return
        if track.state is State.STUCK:
            track.state = State.IDLE
            track.wanted = True
        elif job.what == "look":
            try:
                self._looked(track, result, error)
            except Exception as fault:  # of the kind's own: a document of another version, a strange guest
                track.fault(fault, self._now_s, self._setting.jitter())
        elif job.what == "act":
            self._acted(track, error)
        else:
            track.asked(result, error)
        self._record()

    def busy(self) -> bool:
        """Whether any job is under way or could start without anything new."""
        return any(track.state in _ANSWERABLE for track in self.tracks.values()) or bool(self._saving)

    def under_way(self) -> bool:
        """Whether what the document asks for is being done, or may yet turn out to be to do."""
        return any(t.phases() or t.unsure() or t.retries_soon(self._now_s) for t in self.tracks.values())

    def status(self) -> Status:
        """All that the host is told, as of now."""
        seen = [track for track in self.tracks.values() if track.seen]
        sections: dict[str, dict[str, Any]] = {"observed": {}, "inventory": {}}
        for track in seen:
            resource = type(track.resource)
            if resource.section == "inventory":
                sections["inventory"].update(track.shown)
            else:
                sections["observed"][track.kind] = track.shown
        return Status(
            observed_generation=self.spec.generation,
            conditions=self.journal.conditions,
            observed=sections["observed"],
            inventory=sections["inventory"],
            holding=self._held(),
            refusal=self._refusal,
        )

    def _adopt(self, spec: Spec) -> None:
        for kind in spec.normal:
            self.rouse(kind)
        for track in self.tracks.values():
            track.adopt(spec.normal.get(track.kind), self._setting.policy)

    def _record(self) -> None:
        generation, stamp = self.spec.generation, self.journal.stamp
        conditions = [
            track.condition(settled=self._store.settled(track.kind), generation=generation, stamp=stamp)
            for track in self.tracks.values()
            if track.managed or track.blocked or track.holding or track.changes
        ]
        for kind in self.spec.normal:
            if kind not in self.tracks:
                conditions.append(unusable(kind, self.why_not(kind), generation))
        self.journal.judge(conditions, self._now_s)

    def _held(self, but: Track | None = None) -> bool:
        return any(track.holds() for track in self.tracks.values() if track is not but)

    def _ending(self) -> bool:
        return any(type(t.resource).ends_all and Phase.HOLD in t.phases() for t in self.tracks.values())

    def _may_save(self) -> bool:
        # After a restart nobody knows what holds until each kind that can was looked at.
        known = all(track.seen or track.failure for track in self.tracks.values() if track.can_hold())
        return self._store.dirty and known and not self._held()

    def _may_act(self, track: Track) -> bool:
        phase = track.plan[0].phase
        if track.plan[0].token is not None and self._held():
            return False  # its token has to be saved first
        others = [p for other in self.tracks.values() if other is not track for p in other.phases()]
        held = self._held(but=track) or (phase is not Phase.HOLD and track.holding)
        if phase is Phase.HOLD and track.holding:
            others = []  # they wait for this very kind
        if phase is Phase.HOLD and (self._saving or any(t.unsure() for t in self.tracks.values())):
            return False  # a write under way must not end in a frozen disk, nor a change come after the hold
        if phase is Phase.HOLD and not type(track.resource).ends_all and self._ending():
            return False  # to freeze what is to be switched off would only put that off
        if phase > Phase.CHANGE and any(t.may_precede(phase) for t in self.tracks.values()):
            return False
        return planner.may_run(phase, others, held=held)

    def _has_turn(self, track: Track) -> bool:
        waiting = track.state is State.WAITING and self._may_act(track)
        return waiting or track.look_is_due(self._now_s)

    def _begin(self, track: Track, state: State, allowed_s: float) -> int:
        self._jobs += 1
        track.job = self._jobs
        track.state = state
        track.job_began_s = self._now_s
        track.deadline_s = self._now_s + allowed_s
        return self._jobs

    def _look(self, track: Track) -> Job:
        number = self._begin(track, State.LOOKING, type(track.resource).observe_deadline_s)
        track.charged = track.roused = track.woken or (track.acted and track.roused)
        track.wanted = track.woken = track.stale = False
        past = self._store.past(track.kind)
        return Job(number, track.kind, "look", lambda: track.resource.observe(track.desired, past))

    def _looked(self, track: Track, observed: Any, error: ReconcilerError | None) -> None:
        track.state = State.IDLE
        track.reckon(self._now_s)
        track.plan.clear()  # it was of the look before
        if track.stale:
            track.wanted = True  # it looked on behalf of a document that is no longer in force
            return
        if error is not None:
            track.fail(error, self._now_s, self._setting.jitter())
            return
        for notice in track.take(observed, self._now_s):
            self.journal.note(track.kind, notice, self._now_s)
        settled = self._store.settled(track.kind)
        if track.managed and track.verdict.ready and not track.always and not settled:
            self._store.settle(track.kind)
        if track.acted:
            track.second_look(self._now_s, self._setting.jitter())
        elif not track.changes or track.verdict.waiting:
            track.succeed()
        elif track.may_plan(settled, self._now_s):
            track.make_plan(self._setting.policy, self._now_s, self._setting.jitter())
        track.owed = track.owed and bool(track.plan)

    def _act(self, track: Track) -> Job:
        number = self._begin(track, State.ACTING, type(track.resource).act_deadline_s)
        action = track.running = track.plan.pop(0)
        track.owed = False
        kind, resource, store = track.kind, track.resource, self._store
        act = resource.act
        if self._setting.rehearse:
            act = partial(type(resource).foresee, track.observed)  # so that what could not be done fails

        def run() -> None:
            if action.token is None:
                return act(action)
            store.begin(kind, action.token)
            try:
                act(action)
            except OutcomeUnknown:
                raise
            except ReconcilerError as failure:
                # Any other of ours says that the act was not done; any other exception says nothing.
                store.refuse(kind, action.token, failure)
                raise
            store.finish(kind, action.token)

        return Job(number, kind, "act", run)

    def _acted(self, track: Track, error: ReconcilerError | None) -> None:
        action, track.running = track.running, None
        assert action is not None
        if error is None and self._setting.rehearse:
            track.rehearse(action)
        if error is not None and not track.stale:
            track.plan.clear()
            track.fail(error, self._now_s, self._setting.jitter())
        if error is None and type(track.resource).awaited:
            track.awaits = action.phase
        if action.phase is Phase.HOLD:
            track.holding = True  # until the second look: it may hold in part even where it failed
        elif error is None and action.phase is Phase.RELEASE and Phase.RELEASE not in track.phases():
            track.holding = False  # or a change that this kind has planned after it would wait for ever
        track.state = State.WAITING if track.plan else State.IDLE
        if not track.plan:
            track.acted = not track.stale  # else it acted for a document that is no longer in force
            track.look_now()
            track.woken = False  # that look was to come in any case, whatever the act itself has caused

    def _ask(self, track: Track) -> Job:
        number = self._begin(track, State.ASKED, type(track.resource).act_deadline_s)
        return Job(number, track.kind, "ask", track.asks[0][0])

    def _save(self) -> Job:
        self._jobs += 1
        self._saving = self._jobs
        self._save_deadline_s = self._now_s + SAVE_DEADLINE_S
        return Job(self._jobs, SAVE, "save", self._write)

    def _write(self) -> None:
        try:
            self._store.flush()
        except OSError as error:
            raise DriverError(f"cannot save the state: {error.strerror}") from error

    def _saved(self, job: Job, error: ReconcilerError | None) -> None:
        if job.number == self._saving:
            self._saving = 0
        if job.number == self._save_hangs:
            self._save_hangs = 0
        if error is not None:
            self._save_again_s = self._now_s + SAVE_DEADLINE_S
            self.journal.add("store", "NotSaved", str(error), self._now_s)

    def _expire(self) -> None:
        for track in self.tracks.values():
            if track.state in _ANSWERABLE and self._now_s >= track.deadline_s:
                track.expire(self._now_s, self._setting.jitter())
                for driver in track.resource.drivers():
                    if isinstance(driver, Cancellable):
                        driver.cancel()
        if self._saving and self._now_s >= self._save_deadline_s:
            self._save_hangs, self._saving = self._saving, 0
            self.journal.add("store", "NotSaved", "the disk has not answered", self._now_s)
