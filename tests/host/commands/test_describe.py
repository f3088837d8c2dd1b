"""`reconciler describe`: one page."""

from tests.host.conftest import Reconciler
from tests.host.served import Served


def test_a_page(guest: Served, reconciler: Reconciler) -> None:
    said = reconciler("describe", "-c", guest.channel)
    assert said.code == 0
    for part in ("Name:        web-01", "Rehearsing:  yes", "Observed: hostname", "Inventory: memory"):
        assert part in said.out
