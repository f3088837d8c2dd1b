"""`reconciler thaw`: lets go, and leaves the rest of the spec alone."""

from typing import Any

import pytest

from tests.host.conftest import Reconciler
from tests.host.served import Served


@pytest.mark.parametrize(
    ("before", "after", "generation"),
    [
        pytest.param({"state": "frozen", "lease": 60}, None, 5, id="nothing-left"),
        pytest.param(
            {"state": "frozen", "trim": {"token": "a"}}, {"trim": {"token": "a"}}, 5, id="trim-stays"
        ),
        pytest.param({"state": "thawed"}, {"state": "thawed"}, 4, id="thawed-already"),
    ],
)
def test_thaw(
    before: dict[str, Any], after: Any, generation: int, guest: Served, reconciler: Reconciler
) -> None:
    rest = {"hostname": {"static": "web-01"}}
    guest.do(lambda: guest.guest.adopt(4, {**rest, "filesystems": before}))
    assert reconciler("thaw", "-c", guest.channel, "web-01").code == 0
    assert guest.guest.spec == rest | ({"filesystems": after} if after else {})
    assert guest.guest.freeze is None
    assert guest.guest.generation == generation


def test_what_somebody_writes_just_then_stays(guest: Served, reconciler: Reconciler) -> None:
    guest.do(lambda: guest.guest.adopt(4, {"filesystems": {"state": "frozen"}}))
    theirs = {"filesystems": {"state": "frozen", "trim": {"token": "b"}}}
    guest.guest.on_call = lambda m: (
        guest.guest.adopt(5, theirs) if m == "apply" and guest.guest.generation == 4 else None
    )
    assert reconciler("thaw", "-c", guest.channel).code == 0
    assert guest.guest.spec == {"filesystems": {"trim": {"token": "b"}}}


def test_two_names(reconciler: Reconciler) -> None:
    assert reconciler("thaw", "a", "-g", "b").code == 2
