"""Whatever kinds, documents and orders of answers there are: it converges, and then keeps still."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.errors import Conflict
from reconciler.loop import Job
from reconciler.planner import may_run, order
from reconciler.resource import Action, Phase
from reconciler.status import phase
from tests.lamps import Lamps, World

KINDS = ("a", "b", "c")
VALUES = {"lit": st.booleans(), "hue": st.integers(0, 2), "frozen": st.booleans()}
STATES = st.fixed_dictionaries({}, optional=VALUES)
WANTED = st.fixed_dictionaries({}, optional={**VALUES, "ring": st.sampled_from("xyz")})
SPECS = st.dictionaries(st.sampled_from(KINDS), WANTED)
PLANS = st.dictionaries(
    st.sampled_from(KINDS),
    st.lists(st.builds(Action, st.just("x"), st.just("t"), st.sampled_from(Phase)), max_size=3),
)
TIME_S = 700.0  # a slow pass


class Turns:
    """Does the jobs that are open in an order that `choices` gives, then in that of their start."""

    def __init__(self, world: World, choices: Sequence[int]) -> None:
        self.world = world
        self.open: list[Job] = []
        self._choices = list(choices)

    def step(self) -> bool:
        """Start what is due and finish one job; False when there is none."""
        self.open += self.world.start()
        if not self.open:
            return False
        choice = self._choices.pop() if self._choices else 0
        self.world.finish(self.open.pop(choice % len(self.open)))
        return True

    def settle(self) -> None:
        for _ in range(500):
            if not self.step():
                return
        raise AssertionError("it never comes to rest")

    def pass_time(self) -> None:
        end_s = self.world.now_s + TIME_S
        while self.world.now_s < end_s:
            self.settle()
            self.world.now_s = min(end_s, max(self.world.now_s + 0.01, self.world.loop.next_s()))
        self.settle()


def acts(world: World) -> int:
    return sum(len(lamps.acts) for lamps in world.kinds.values())


def unmet(world: World, spec: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Kinds that have not come about; a token leaves no other trace than its act."""
    return {
        kind
        for kind, fields in spec.items()
        if any(world.kinds[kind].state.get(name) != value for name, value in fields.items() if name != "ring")
    }


@settings(deadline=None)
@given(
    states=st.fixed_dictionaries(dict.fromkeys(KINDS, STATES)),
    specs=st.lists(SPECS, min_size=1, max_size=3),
    choices=st.lists(st.integers(0, 5), max_size=30),
    gaps=st.lists(st.integers(0, 6), min_size=3, max_size=3),
)
@example(  # a hold must not slip in while a kind that has still to act looks again
    states={"a": {}, "b": {}, "c": {"frozen": True}},
    specs=[{"a": {"frozen": True}, "b": {"lit": False, "ring": "x"}}],
    choices=[1],
    gaps=[0, 0, 0],
)
def test_it_converges_and_a_second_pass_does_nothing(
    states: dict[str, Any], specs: list[dict[str, Any]], choices: list[int], gaps: list[int]
) -> None:
    world = World({kind: Lamps(**states[kind]) for kind in KINDS})
    turns = Turns(world, choices)
    for generation, (spec, gap) in enumerate(zip(specs, gaps, strict=False), start=1):
        world.offer(generation, **spec)
        for _ in range(gap):
            turns.step()
    turns.pass_time()

    # While something holds nothing else changes, and nothing holds that is not to.
    held = {kind for kind in KINDS if world.kinds[kind].state.get("frozen")}
    assert [kind for kind in held if specs[-1].get(kind, {}).get("frozen") is False] == []
    assert held or unmet(world, specs[-1]) == set()
    for lamps in world.kinds.values():
        tokens = [action.token for action in lamps.acts if action.token]
        assert len(tokens) == len(set(tokens))

    before, acted = world.loop.status(), acts(world)
    for kind in KINDS:
        world.loop.wake(kind)
    turns.pass_time()
    assert (world.loop.status(), acts(world)) == (before, acted)


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([True, False])), max_size=12))
def test_the_generation_only_grows_whatever_comes_in_whatever_order(offers: list[tuple[int, bool]]) -> None:
    world = World({"a": Lamps()})
    highest, content = 0, None
    for generation, lit in offers:
        try:
            answer = world.offer(generation, a={"lit": lit})
        except Conflict:
            assert generation < highest or (generation == highest and lit != content)
        else:
            assert answer == ("same" if generation == highest else "new")
            highest, content = max((highest, content), (generation, lit), key=lambda pair: pair[0])
        assert world.loop.status().observed_generation == highest
        world.settle()
    assert world.kinds["a"].state.get("lit") == content


@given(st.permutations(range(1, 6)), st.lists(st.integers(0, 4), max_size=5))
def test_documents_in_any_order_and_repeated_end_as_the_newest(
    generations: list[int], repeated: list[int]
) -> None:
    world = World({"a": Lamps()})
    for generation in [*generations, *(generations[place] for place in repeated)]:
        try:
            world.offer(generation, a={"hue": generation})
        except Conflict:
            assert generation < world.loop.spec.generation
    world.settle()
    assert world.kinds["a"].state == {"hue": 5}
    assert phase(world.loop.status()) == "Converged"


@given(PLANS)
def test_the_order_that_is_shown_is_one_that_may_run(plans: dict[str, list[Action]]) -> None:
    steps = order({kind: sorted(plan, key=lambda action: action.phase) for kind, plan in plans.items()})
    held = False
    for place, step in enumerate(steps):
        others = [other.action.phase for other in steps[place:] if other.kind != step.kind]
        assert may_run(step.action.phase, others, held=held)
        held = held or step.action.phase is Phase.HOLD


@given(PLANS)
def test_somebody_always_may_go_on(plans: dict[str, list[Action]]) -> None:
    """Without a hold, no set of plans waits for itself."""
    waiting = {kind: sorted(action.phase for action in plan) for kind, plan in plans.items() if plan}
    while waiting:
        free = [
            kind
            for kind, phases in waiting.items()
            if may_run(phases[0], [p for k, ps in waiting.items() if k != kind for p in ps], held=False)
        ]
        assert free
        waiting[free[0]].pop(0)
        waiting = {kind: phases for kind, phases in waiting.items() if phases}
