"""Release before change before hold."""

import pytest

from reconciler.planner import may_run, order
from reconciler.resource import Action, Phase

R, C, H = Phase.RELEASE, Phase.CHANGE, Phase.HOLD


def test_order_is_by_phase_then_by_kind() -> None:
    plans = {
        "b": [Action("x", "1", C), Action("x", "2", C)],
        "a": [Action("x", "3", H)],
        "c": [Action("x", "4", R)],
    }
    assert [step.action.target for step in order(plans)] == ["4", "1", "2", "3"]


@pytest.mark.parametrize(
    ("phase", "others", "held", "may"),
    [
        pytest.param(R, [R, C, H], True, True, id="a-release-always-may"),
        pytest.param(C, [C, H], False, True, id="a-change-before-holds"),
        pytest.param(C, [R], False, False, id="a-change-waits-for-releases"),
        pytest.param(C, [], True, False, id="a-change-waits-for-what-holds"),
        pytest.param(Phase.ENTER, [Phase.LEAVE], False, False, id="who-comes-waits-for-who-leaves"),
        pytest.param(Phase.LEAVE, [Phase.ENTER, H], False, True, id="who-leaves-waits-for-nobody-to-come"),
        pytest.param(Phase.TASKS, [], True, False, id="a-task-waits-for-what-holds"),
        pytest.param(H, [H], True, True, id="a-hold-beside-a-hold"),
        pytest.param(H, [C], False, False, id="a-hold-waits-for-changes"),
        pytest.param(H, [R], False, False, id="a-hold-waits-for-releases"),
    ],
)
def test_may_run(phase: Phase, others: list[Phase], held: bool, may: bool) -> None:
    assert may_run(phase, others, held=held) is may
