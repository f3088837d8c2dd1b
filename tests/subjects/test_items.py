"""Which change of an item is worth telling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.resource import Json
from reconciler.resources.report import Report
from reconciler.subjects.items import KEPT, bulk, significant
from tests.resources.test_report import GI, MI, Clock, asking, shown, source

MEMORY = {"total": GI, "available": 500 * MI, "free": 100 * MI}
SMALL = {"total": 128 * MI, "free": 64 * MI}
NIC = {"eth0": {"mtu": 1500, "counters": {"rxBytes": 100 * MI, "rxPackets": 1000, "rxErrors": 0}}}

PSI = {"cpu": {"some": {"avg10": 0.0, "stalledS": 0.0}}}


def psi(**figures: float) -> Json:
    return {"cpu": {"some": PSI["cpu"]["some"] | figures}}


def nic(**counters: int) -> Json:
    return {"eth0": {"mtu": 1500, "counters": NIC["eth0"]["counters"] | counters}}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("item", "old", "new", "percent", "told"),
    [
        pytest.param("memory", MEMORY, MEMORY | {"free": 109 * MI}, 1, False, id="memory below 1 %"),
        pytest.param("memory", MEMORY, MEMORY | {"free": 111 * MI}, 1, True, id="memory above 1 %"),
        pytest.param("memory", MEMORY, MEMORY | {"free": 90 * MI - 1}, 1, False, id="memory down a little"),
        pytest.param("memory", MEMORY, MEMORY | {"free": 80 * MI}, 1, True, id="memory down"),
        pytest.param("memory", SMALL, SMALL | {"free": 67 * MI}, 1, False, id="too little for a small guest"),
        pytest.param("memory", SMALL, SMALL | {"free": 68 * MI}, 1, True, id="the least of a small guest"),
        pytest.param("memory", MEMORY, MEMORY | {"free": 100 * MI + 1}, 0, True, id="every byte when asked"),
        pytest.param("memory", MEMORY, MEMORY | {"total": GI - 1}, 1, True, id="the total itself"),
        pytest.param("memory", MEMORY, MEMORY | {"new": 1}, 1, True, id="a new field"),
        pytest.param("load", {"one": 0.1}, {"one": 0.19}, 10, False, id="load below a tenth of a processor"),
        pytest.param("load", {"one": 0.1}, {"one": 0.25}, 10, True, id="load above it"),
        pytest.param("pressure", PSI, psi(avg10=4.9), 5, False, id="pressure below 5 % of the time"),
        pytest.param("pressure", PSI, psi(avg10=5.1), 5, True, id="pressure above it"),
        pytest.param("pressure", PSI, psi(stalledS=0.9), 5, False, id="stalled for less than a second"),
        pytest.param("smart", {"a": {"temperatureC": 40}}, {"a": {"temperatureC": 43}}, 10, False, id="cool"),
        pytest.param("smart", {"a": {"temperatureC": 40}}, {"a": {"temperatureC": 45}}, 10, True, id="warm"),
        pytest.param("nics", NIC, nic(rxBytes=104 * MI), 5, False, id="counter below 5 %"),
        pytest.param("nics", NIC, nic(rxBytes=106 * MI), 5, True, id="counter above 5 %"),
        pytest.param("nics", NIC, nic(rxBytes=0), 5, True, id="counter that began anew"),
        pytest.param("nics", NIC, nic(rxPackets=1099), 5, False, id="few packets more"),
        pytest.param("nics", NIC, nic(rxErrors=1), 5, True, id="the first error"),
        pytest.param("nics", NIC, {"eth0": NIC["eth0"] | {"mtu": 1499}}, 5, True, id="not a figure"),
        pytest.param("nics", NIC, NIC | {"eth1": {}}, 5, True, id="a new nic"),
        pytest.param("metrics", {"f": {"a": 100}}, {"f": {"a": 100.5}}, 1, False, id="metric below 1 %"),
        pytest.param("metrics", {"f": {"a": 100}}, {"f": {"a": 102}}, 1, True, id="metric above 1 %"),
        pytest.param("metrics", {"f": {"a": 0}}, {"f": {"a": 0.1}}, 1, True, id="metric from nothing"),
        pytest.param("metrics", {"f": {"a": 1}}, {"f": {"a": "NaN"}}, 1, True, id="metric that is no number"),
        pytest.param("os", {"id": "a"}, {"id": "a"}, 0, False, id="the same"),
    ],
)
def test_worth_telling(item: str, old: Json, new: Json, percent: float, told: bool) -> None:
    assert significant(item, old, new, percent / 100) is told


def test_a_slow_drift_adds_up() -> None:
    clock = Clock()
    free = iter(range(100, 200))
    guest = source(clock, memory=lambda: {"total": GI, "free": next(free) * MI})
    kind, desired = Report((guest,)), asking(memory=10)
    seen = []
    for _ in range(25):
        seen.append(shown(kind, desired)["memory"]["free"] // MI)
        clock.now_s += 10
    assert sorted(set(seen)) == [100, 111, 122]  # 1 % of 1 GiB is 10.24 MiB


@given(st.lists(st.integers(-5 * MI, 5 * MI), max_size=20))
def test_what_is_shown_stays_the_same_object_below_the_threshold(wobbles: list[int]) -> None:
    clock = Clock()
    free = iter([500 * MI, *(500 * MI + wobble for wobble in wobbles)])
    guest = source(clock, memory=lambda: {"total": GI, "free": next(free)})
    kind, desired = Report((guest,)), asking(memory=1)
    first = shown(kind, desired)["memory"]
    for _ in wobbles:
        clock.now_s += 1
        assert shown(kind, desired)["memory"] is first


JSON = st.recursive(
    st.integers(-(1 << 40), 1 << 40) | st.booleans() | st.text("abc é", max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=4), inner, max_size=4)
    ),
)


@given(JSON)
def test_bulk_is_near_the_size_of_the_json(value: Json) -> None:
    from reconciler.spec import canonical

    size = len(canonical(value).decode())
    assert size / 3 <= bulk(value) <= size * 8


@given(JSON, JSON, st.floats(0, 1), st.sampled_from(sorted(KEPT)))
def test_any_two_values_compare(old: Json, new: Json, threshold: float, item: str) -> None:
    assert not significant(item, old, old, threshold)
    assert significant(item, old, new, threshold) in (True, False)
