"""What a host may ask of the guest, beside its own session: one function for each method."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from guest_runtime.validation import Validation
from reconciler.errors import Busy, Conflict, DriverError, InvalidSpec, NotHeld, ReconcilerError, Unsupported
from reconciler.loop import Loop
from reconciler.planner import order
from reconciler.policy import Policy
from reconciler.protocols.transfer import Receiving
from reconciler.resource import Action, Json, Past, Resource
from reconciler.secret import Safe, Secret, decoded
from reconciler.spec import Spec
from reconciler.status import Refusal
from reconciler.store import Store
from reconciler.track import Answer

GENERATION_MAX = 2**53 - 1  # what every reader of JSON keeps exactly
READING_MAX = 4  # documents being read: one child reads them in turn, and each may take up 20 MiB here
Background = Callable[[Callable[[], Any], Answer], None]


@dataclass
class Methods:
    """Called on the loop's thread; what takes time goes to `background` or to the kind's own jobs."""

    loop: Loop
    store: Store
    validation: Validation
    background: Background  # runs a call in a thread, and its answer on the loop's thread
    revision: Callable[[], int]
    clock_s: Callable[[], float]
    rehearsing: bool
    safe: Safe = field(default_factory=Safe)

    def __post_init__(self) -> None:
        self._receiving = Receiving()
        self._reading = 0
        self._last: tuple[int, Json] = (0, None)  # the last document accepted, as it was sent
        self._names: Mapping[str, Callable[[Json, Answer], None]] = {
            "apply": self.apply,
            "plan": self.plan,
            "spec": self.spec,
            "events": self.events,
            "renew": self.renew,
            "ping": self.ping,
            "clock": self.clock,
            "transfer.begin": lambda params, answer: answer({"offset": self._receiving.begin(params)}, None),
            "transfer.chunk": lambda params, answer: answer({"offset": self._receiving.chunk(params)}, None),
        }

    def call(self, method: str, params: Json, answer: Answer) -> bool:
        """Carry out a request; False for an unknown method. `answer` is called once, now or later."""
        if method not in self._names:
            return False
        try:
            self._names[method](params, answer)
        except ReconcilerError as error:
            answer(None, error)
        return True

    def apply(self, params: Json, answer: Answer) -> None:
        generation = params.get("generation")
        if type(generation) is not int or not 1 <= generation <= GENERATION_MAX:
            raise InvalidSpec(f"cannot apply: generation is not a whole number from 1 to {GENERATION_MAX}")
        self._check_name(params.get("guest"))
        spec, secrets = params.get("spec"), decoded(params.get("secrets", {}))
        if spec is not None and (generation, spec) == self._last and self.store.spec.generation == generation:
            self._offer(self.store.spec, spec, secrets, answer)
            return
        request = self._request(params)

        def validated(result: Json, error: ReconcilerError | None) -> None:
            if error is not None:
                if isinstance(error, InvalidSpec):
                    self.loop.refuse(Refusal(generation, "InvalidSpec", str(error)[:1000]))
                answer(None, error)
                return
            self._offer(Spec(generation, result["digest"], result["normal"]), spec, secrets, answer)

        self._read(request, validated)

    def _offer(
        self, spec: Spec, written: Json, secrets: Mapping[tuple[str, str], Secret], answer: Answer
    ) -> None:
        try:
            accepted = self.loop.offer(spec)
        except Conflict as error:
            error.data = {"generation": self.loop.spec.generation, "digest": self.loop.spec.digest}
            answer(None, error)
            return
        self._last = (spec.generation, written)
        if accepted == "new" or secrets:  # a retry without them takes none away
            # A rehearsal needs to know that they came, and has no use for what they are.
            kept = {place: Secret(b"") for place in secrets} if self.rehearsing else secrets
            self.safe.put(kept, self.clock_s(), of_another=accepted == "new")
            # Where a retry brings them, the agent may have begun anew since, and have looked without them.
            for kind in {kind for kind, _ in kept} & self.loop.tracks.keys():
                self.loop.wake(kind)
        result = {"generation": spec.generation, "digest": spec.digest, "accepted": accepted}
        answer(result | {"revision": self.revision()}, None)

    def plan(self, params: Json, answer: Answer) -> None:
        request = self._request(params)

        def validated(result: Json, error: ReconcilerError | None) -> None:
            if error is not None:
                answer(None, error)
            else:
                _Preview(self.loop, self.store, result, answer).begin()

        self._read(request, validated)

    def spec(self, params: Json, answer: Answer) -> None:
        spec = self.loop.spec
        answer({"generation": spec.generation, "digest": spec.digest, "spec": spec.normal}, None)

    def events(self, params: Json, answer: Answer) -> None:
        since = params.get("since", 0)
        if type(since) is not int:
            raise InvalidSpec("cannot list events: since is not a whole number")
        journal = self.loop.journal
        if since > journal.last + 1:
            since = 0  # it was counted in an earlier life of the agent, of whose events none are left
        events = journal.since(since - 1)  # `since` itself is wanted, and `next` is what to ask for next
        lost = journal.last + 1 - max(since, 1) - len(events)
        answer({"events": [e.document() for e in events], "next": journal.last + 1, "lost": lost}, None)

    def ping(self, params: Json, answer: Answer) -> None:
        answer({"echo": dict(params), "bootClock": self.clock_s(), "awakeClock": time.monotonic()}, None)

    def clock(self, params: Json, answer: Answer) -> None:
        if not self.wishes("clock"):
            raise NotHeld("cannot take the time: no document in force asks for the host's")
        clock: Any = self.loop.tracks["clock"].resource
        self.loop.ask("clock", partial(clock.take_time, params), answer)

    def wishes(self, kind: str) -> dict[str, Json]:
        """What a kind would like of the host, for hello: `{wants: "time"}`, or nothing."""
        track = self.loop.tracks.get(kind)
        wants_time = getattr(track.resource, "wants_time", None) if track else None
        return {"wants": "time"} if track and wants_time and wants_time(track.desired) else {}

    def renew(self, params: Json, answer: Answer) -> None:
        kind, generation, lease_s = (params.get(name) for name in ("kind", "generation", "lease"))
        track = self.loop.tracks.get(kind) if isinstance(kind, str) else None
        renew = getattr(track.resource, "renew", None) if track else None
        if track is None or renew is None:
            raise Unsupported("cannot renew: only the freeze of filesystems is a lease")
        if type(generation) is not int or type(lease_s) not in (int, float) or not lease_s >= 1:
            raise InvalidSpec("cannot renew: generation is a whole number, lease one second or more")
        if self.rehearsing:
            self._renew_rehearsed(track, generation, lease_s, answer)
            return

        def renewed(result: Json, error: ReconcilerError | None) -> None:
            answer(result, NotHeld(str(error)) if isinstance(error, DriverError) else error)

        self.loop.ask(track.kind, partial(renew, generation, lease_s), renewed)

    def _renew_rehearsed(self, track: Any, generation: int, lease_s: float, answer: Answer) -> None:
        freeze = track.shown.get("freeze")
        if freeze is None or freeze["generation"] != generation:
            raise NotHeld(f"cannot renew: no freeze of generation {generation} holds")
        track.rehearse(track.resource.foreseen_renewal(track.observed, generation, lease_s))
        track.look_now()
        remaining_s = min(lease_s, track.observed.lease_s_max)
        answer({"epoch": freeze["epoch"], "remaining": remaining_s}, None)

    def _read(self, request: Json, answer: Answer) -> None:
        def read(result: Json, error: ReconcilerError | None) -> None:
            self._reading -= 1
            answer(result, error)

        self._reading += 1
        self.background(partial(self.validation.ask, request), read)

    def _request(self, params: Json) -> Json:
        # Of all hosts, also of those that have left: one that comes, asks and goes has no other bound.
        if self._reading >= READING_MAX:
            raise Busy(f"cannot read the document: {READING_MAX} others are being read")
        if "transfer" in params:
            digest = params["transfer"]
            body = self._receiving.take(digest if isinstance(digest, str) else "")
            return {"text": body.decode("utf-8", "replace"), "digest": digest}
        if "spec" not in params:
            raise InvalidSpec("cannot read the document: neither spec nor transfer is given")
        return {"spec": params["spec"]}

    def _check_name(self, meant: Json) -> None:
        name = os.uname().nodename
        if meant is None:
            return
        # With or without its domain: the host may know either.
        if not isinstance(meant, str) or meant.partition(".")[0] != name.partition(".")[0]:
            raise Conflict(f"cannot apply: the document is for {str(meant)[:64]!r}, this guest is {name!r}")


class _Preview:
    """What a document would do, kind by kind, each looked at between its own jobs."""

    def __init__(self, loop: Loop, store: Store, valid: Json, answer: Answer) -> None:
        self._loop, self._store, self._valid, self._answer = loop, store, valid, answer
        self._kinds: dict[str, Json] = {}

    def begin(self) -> None:
        normal = self._valid["normal"]
        spec = Spec(self._generation(), self._valid["digest"], normal)
        if not normal:
            self._done()
        for kind, value in normal.items():
            self._loop.rouse(kind)
            if kind in self._loop.tracks:
                track = self._loop.tracks[kind]
                past = self._store.past(kind, spec)
                rehearsed = tuple(track.rehearsed.values())
                run = partial(preview, track.resource, value, past, self._loop.policy, rehearsed)
                self._loop.ask(kind, run, partial(self._take, kind))
            else:
                self._take(kind, None, self._loop.why_not(kind))

    def _ends_all(self, kind: str) -> bool:
        track = self._loop.tracks.get(kind)
        holds = any(action["phase"] == "hold" for action in self._kinds[kind]["actions"])
        return holds and track is not None and type(track.resource).ends_all

    def _generation(self) -> int:
        """What the document would be numbered: what is in force already keeps its number."""
        last = self._loop.spec
        return last.generation + int(self._valid["digest"] != last.digest)

    def _take(self, kind: str, result: Json, error: ReconcilerError | None) -> None:
        if error is not None:
            result = {"ready": False, "reason": type(error).__name__, "message": str(error)}
            result |= {"changes": [], "actions": []}
        self._kinds[kind] = result
        if len(self._kinds) == len(self._valid["normal"]):
            self._done()

    def _done(self) -> None:
        ending = [kind for kind in self._kinds if self._ends_all(kind)]
        for kind, plan in self._kinds.items():
            if ending and kind not in ending:  # it will not come to that
                plan["actions"] = [a for a in plan["actions"] if a["phase"] != "hold"]
        self._answer({"digest": self._valid["digest"], "kinds": self._kinds}, None)


def preview(
    resource: Resource[Any, Any, Any],
    normal: Json,
    past: Past,
    policy: Policy,
    rehearsed: Sequence[Action] = (),
) -> Json:
    """Observe for real, compare and plan; nothing is acted on. Raises Forbidden as following it would."""
    kind = type(resource)
    desired = kind.parse(normal)
    policy.check_touches(kind.kind, kind.touches(desired))
    observed = kind.foresee_all(resource.observe(desired, past), rehearsed)
    changes = kind.diff(desired, observed)
    verdict = kind.verdict(desired, observed, changes)
    steps = order({kind.kind: kind.plan(desired, changes)})
    actions: list[dict[str, Json]] = []
    for step in steps:
        policy.check_action(kind.kind, step.action)
        shown = {"verb": step.action.verb, "target": step.action.target}
        shown["phase"] = step.action.phase.name.lower()
        if step.action.token:
            shown["token"] = step.action.token
        actions.append(shown)
    return {
        "ready": verdict.ready,
        "reason": verdict.reason,
        "message": verdict.message,
        "changes": [
            {"target": c.target, "field": c.field, "want": _plain(c.want), "have": _plain(c.have)}
            for c in changes
        ],
        "actions": actions,
    }


def _plain(value: object) -> Json:
    """A value as JSON without null: what is no JSON is shown as text."""
    if isinstance(value, bool | int | float | str):
        return value
    return "" if value is None else str(value)
