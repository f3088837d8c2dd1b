"""A document, from the client into force."""

import pytest

from reconciler.errors import Conflict, InvalidSpec
from reconciler.host.client import CONFLICTS_MAX, connect
from tests.host.fake_guest import FakeGuest
from tests.host.wire import Wire, run

SPEC = {"hostname": {"name": "web-02"}}
OTHER = {"hostname": {"name": "db-01"}}


def test_an_equal_digest_sends_nothing() -> None:
    async def work() -> None:
        guest = FakeGuest()
        async with connect(Wire(guest).open) as client:
            first = await client.apply(SPEC)
            second = await client.apply(SPEC)
        assert (first.new, second.new) == (True, False)
        assert first.generation == second.generation == 1
        assert [method for method, _ in guest.calls].count("apply") == 1

    run(work())


def test_a_writer_who_was_faster_is_overtaken() -> None:
    async def work() -> None:
        guest = FakeGuest()
        async with connect(Wire(guest).open) as client:
            guest.adopt(5, OTHER)  # after hello
            applied = await client.apply(SPEC)
        assert applied.generation == guest.generation == 6
        assert guest.spec == SPEC

    run(work())


def test_a_writer_who_is_always_faster_wins_in_the_end() -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.on_call = lambda method: guest.adopt(guest.generation + 1, OTHER) if method == "apply" else None
        async with connect(Wire(guest).open) as client:
            with pytest.raises(Conflict):
                await client.apply(SPEC)
        assert [method for method, _ in guest.calls].count("apply") == CONFLICTS_MAX

    run(work())


def test_a_generation_of_our_own_is_not_changed() -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.adopt(4, OTHER)
        async with connect(Wire(guest).open) as client:
            with pytest.raises(Conflict):
                await client.apply(SPEC, generation=4)
            assert (await client.apply(SPEC, generation=9)).generation == 9

    run(work())


def test_a_document_that_the_guest_lost_is_known_to_be_lost() -> None:
    async def work() -> None:
        guest = FakeGuest()
        async with connect(Wire(guest).open) as client:
            applied = await client.apply(SPEC)
            assert not client.lost(applied.generation)
            guest.lose(0, {})
            await client.wait(lambda _: client.lost(applied.generation), timeout_s=60)
            again = await client.apply(SPEC)
            assert (again, client.lost(again.generation)) == (applied, False)
            guest.adopt(7, OTHER)
            await client.spec()
            assert not client.lost(7)

    run(work())


def test_a_refused_document_brings_its_faults() -> None:
    async def work() -> None:
        guest = FakeGuest()
        fault = {"path": "spec.hostname", "message": "must be a word"}
        guest.errors["apply"] = {"code": -32602, "message": "refused", "data": {"faults": [fault]}}
        async with connect(Wire(guest).open) as client:
            with pytest.raises(InvalidSpec) as refused:
                await client.apply(SPEC)
        assert [(f.path, f.message) for f in refused.value.faults] == [("spec.hostname", "must be a word")]

    run(work())


@pytest.mark.parametrize("cut", [None, 3000, 9000, 14000])
def test_a_long_spec_goes_in_chunks_and_resumes(cut: int | None) -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.limits |= {"messageBytes": 8192}
        wire = Wire(guest)
        wire.cuts = [(None, cut)]
        spec = {"files": {f"/etc/{number}": "x" * 100 for number in range(200)}}
        async with connect(wire.open) as client:
            await client.apply(spec)
        assert guest.spec == spec
        assert all(method != "apply" or "transfer" in params for method, params in guest.calls)

    run(work())


def test_a_spec_over_the_transfer_limit_is_refused_here() -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.limits |= {"messageBytes": 8192, "transferBytes": 8192}
        async with connect(Wire(guest).open) as client:
            with pytest.raises(InvalidSpec, match="the guest takes 8192"):
                await client.apply({"files": {"/etc/motd": "x" * 10_000}})

    run(work())
