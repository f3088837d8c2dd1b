"""What a document may ask to be reported, and what is refused."""

from collections.abc import Mapping

import pytest

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resources.report import Ask, Desired, Report
from reconciler.subjects.items import KEPT


@pytest.mark.parametrize(
    ("written", "items"),
    [
        pytest.param(
            "[memory, nics]",
            {"memory": Ask(every_s=10, threshold=0.01), "nics": Ask(every_s=60, threshold=0.05)},
            id="short",
        ),
        pytest.param(
            "{memory: {every: 5s, threshold: 2.5}, apps: {every: 10m}}",
            {"memory": Ask(every_s=5, threshold=0.025), "apps": Ask(every_s=600)},
            id="long",
        ),
        pytest.param("{os: {}, enforce: once}", {"os": Ask(every_s=3600)}, id="with a word for every kind"),
    ],
)
def test_written(written: str, items: Mapping[str, Ask]) -> None:
    (document,) = read(f"report: {written}")
    assert Report.parse(document.normal["report"]) == Desired(items=items)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("[memroy]", id="unknown item"),
        pytest.param("[]", id="nothing"),
        pytest.param("{memory: {every: 500ms}}", id="below a second"),
        pytest.param("{memory: {every: 2d}}", id="above a day"),
        pytest.param("{memory: {threshold: 101}}", id="more than the whole"),
        pytest.param("{os: {threshold: 1}}", id="a threshold for what has none"),
    ],
)
def test_refused(written: str) -> None:
    with pytest.raises(InvalidSpec):
        read(f"report: {written}")


def test_every_item_of_the_contract_is_there_and_no_other() -> None:
    contract = (
        "memory swap nics apps os kernel hostname fqdn timezone filesystems disks cpus load users "
        "sessions services metrics pressure reboot sockets smart containers"
    )
    assert set(KEPT) == set(contract.split())
