"""The time offered to a guest: the fastest of a few pings, and a bound that holds."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import NotHeld, ReconcilerError
from reconciler.host.client import connect
from reconciler.host.failures import Unreachable
from reconciler.host.hello import Ability
from reconciler.host.timing import PINGS, asked_for, offer_time, wanted
from reconciler.resource import Json
from tests.host.fake_guest import FakeGuest
from tests.host.wire import Wire, run

EPOCH_S = 1_700_000_000.0
delays = st.floats(0.0001, 5.0)


@dataclass
class Line:
    """A slow line to a guest: how long each ping takes there, and back."""

    ways: list[tuple[float, float]]
    boot_ahead_s: float = -EPOCH_S  # of the guest's boot clock to our wall clock
    now_s: float = EPOCH_S
    error: ReconcilerError | None = None
    told: list[Mapping[str, Json]] = field(default_factory=list)

    async def call(self, method: str, params: Mapping[str, Json]) -> Json:
        if self.error:
            raise self.error
        if method == "clock":
            self.told.append(params)
            return {}
        there_s, back_s = self.ways.pop(0)
        self.now_s += there_s
        boot_s = self.now_s + self.boot_ahead_s
        self.now_s += back_s
        return {"echo": {}, "bootClock": boot_s, "awakeClock": boot_s - 7.0}

    def offer(self) -> None:
        asyncio.run(offer_time(self.call, lambda: self.now_s, lambda: self.now_s))


@given(st.lists(st.tuples(delays, delays), min_size=PINGS, max_size=PINGS))
def test_the_bound_holds_however_lopsided_the_line_is(ways: list[tuple[float, float]]) -> None:
    line = Line(list(ways))
    line.offer()
    (told,) = line.told
    truth_s = told["bootClock"] - line.boot_ahead_s
    assert told["awakeClock"] == told["bootClock"] - 7.0
    assert abs(told["time"] - truth_s) <= told["error"]
    assert told["error"] == pytest.approx(min(map(sum, ways)) / 2, abs=1e-4)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(NotHeld("cannot take the time: nobody asks"), id="the document has changed"),
        pytest.param(Unreachable("the channel is closed"), id="the channel broke"),
    ],
)
def test_what_goes_wrong_is_left_to_the_next_time(error: ReconcilerError) -> None:
    line = Line([], error=error)
    line.offer()
    assert line.told == []


def test_a_guest_without_a_clock_is_told_nothing() -> None:
    told = []

    async def call(method: str, params: Mapping[str, Json]) -> Json:
        told.append(method)
        return {"bootClock": "soon", "awakeClock": 1.0}

    asyncio.run(offer_time(call))
    assert told == ["ping"] * PINGS


def test_who_wants_it() -> None:
    assert wanted({"clock": Ability(usable=True, wants="time")})
    assert not wanted({"clock": Ability(usable=True), "power": Ability(usable=True)})
    assert asked_for({"clock": {"source": "host"}})
    assert not asked_for({"clock": {"source": "rtc"}, "hostname": {"static": "a"}})
    assert not asked_for({})


class Wanting(FakeGuest):
    """A guest whose document may ask for the host's time."""

    def hello(self) -> dict[str, Json]:
        hello = super().hello()
        wants = {"wants": "time"} if self.spec.get("clock", {}).get("source") == "host" else {}
        return hello | {"kinds": {"clock": {"usable": True} | wants}}

    def do_ping(self, params: dict[str, Json]) -> Json:
        return {"echo": params, "bootClock": 12.5, "awakeClock": 10.5}

    def do_clock(self, params: dict[str, Json]) -> Json:
        return {"ahead": 0.0, "error": params["error"]}

    def times(self) -> list[dict[str, Json]]:
        return [params for method, params in self.calls if method == "clock"]


def test_the_time_is_told_at_apply_on_connect_and_again() -> None:
    guest = Wanting()
    wire = Wire(guest)

    async def work() -> None:
        async with connect(wire.open) as client:
            await client.apply({"hostname": {"static": "web-01"}})
            assert guest.times() == []
            await client.apply({"clock": {"source": "host"}})
            assert len(guest.times()) == 1
            await asyncio.sleep(31)
            assert len(guest.times()) == 2
        async with connect(wire.open):
            await asyncio.sleep(1)
        assert len(guest.times()) == 3
        assert guest.times()[-1]["bootClock"] == 12.5

    run(work())
