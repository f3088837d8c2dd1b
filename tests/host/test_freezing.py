"""A freeze around a block: proven to have held, or said not to; thawed however it ends."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from reconciler.host.client import Guest, connect
from reconciler.host.failures import FreezeLost, NotFrozen
from reconciler.host.freezing import FREEZE_S, THAW_S, Freeze, Wish, _failure, frozen, let_go
from tests.host.fake_guest import FakeGuest
from tests.host.wire import Wire, run

LEASE_S = 30.0
BEFORE = {"hostname": {"name": "web-01"}, "filesystems": {"trim": {"token": "a"}}}


def _guest() -> FakeGuest:
    guest = FakeGuest()
    guest.adopt(7, BEFORE)
    return guest


async def _hold(
    client: Guest,
    seconds: float = 0.0,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> Freeze:
    """A freeze of some seconds, with something that happens before its check, and after."""
    async with frozen(client, Wish(lease_s=LEASE_S)) as freeze:
        before()
        await asyncio.sleep(seconds)
        await freeze.check()
        after()
    return freeze


def _end(guest: FakeGuest, how: str) -> None:
    guest.end_freeze(how)
    guest.turn()


def test_freeze_check_thaw() -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            freeze = await _hold(client)
        assert (freeze.generation, freeze.epoch, guest.generation) == (8, 1, 9)
        assert guest.spec == BEFORE
        assert guest.last_freeze == {"epoch": 1, "generation": 8, "ended": "Thawed"}
        frozen_spec = next(params["spec"] for method, params in guest.calls if method == "apply")
        wish = {"state": "frozen", "lease": 30, "trim": {"token": "a"}}
        assert frozen_spec == {**BEFORE, "filesystems": wish}

    run(work())


def test_the_lease_is_renewed_while_the_block_runs() -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            await _hold(client, seconds=4 * LEASE_S)
        renewals = [params for method, params in guest.calls if method == "renew"]
        assert len(renewals) in (12, 13)  # the first one at once
        assert renewals[0] == {"kind": "filesystems", "generation": 8, "lease": LEASE_S}

    run(work())


@pytest.mark.parametrize("how", ["LeaseEnded", "AgentDied", "GuardianDied"])
def test_a_freeze_that_ended_before_the_check(how: str) -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            with pytest.raises(FreezeLost, match="cannot trust"):
                await _hold(client, before=lambda: _end(guest, how))
        assert guest.spec == BEFORE

    run(work())


def test_a_second_freeze_is_not_the_first() -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            with pytest.raises(FreezeLost, match="freeze 1 had ended; the guest now says 2"):
                await _hold(client, before=lambda: cast(Any, guest.freeze).update(epoch=2))

    run(work())


def test_a_freeze_that_ended_between_check_and_thaw() -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            with pytest.raises(FreezeLost, match="not ended by us: LeaseEnded"):
                await _hold(client, after=lambda: _end(guest, "LeaseEnded"))

    run(work())


def test_a_freeze_that_the_guest_loses_before_it_begins() -> None:
    async def work() -> None:
        guest = _guest()
        before_s = asyncio.get_running_loop().time()
        guest.on_call = lambda method: guest.lose(7, BEFORE) if guest.generation == 8 else None
        async with connect(Wire(guest).open) as client:
            with pytest.raises(NotFrozen, match="killed before it had begun"):
                await _hold(client)
        assert asyncio.get_running_loop().time() - before_s < FREEZE_S
        assert guest.spec == BEFORE

    run(work())


def test_a_thaw_that_the_guest_loses_is_asked_for_again() -> None:
    async def work() -> None:
        guest = _guest()
        do_apply = guest.do_apply

        def lose(params: dict[str, Any]) -> Any:
            if params["generation"] != 9:
                return do_apply(params)
            guest.do_apply = do_apply  # type: ignore[method-assign]
            frozen, sessions, guest.sessions = guest.spec, guest.sessions, []
            result = do_apply(params)
            guest.sessions = sessions  # and nobody has heard of it
            guest.lose(8, frozen)
            return result

        guest.do_apply = lose  # type: ignore[method-assign]
        async with connect(Wire(guest).open) as client:
            await _hold(client)
        assert (guest.generation, guest.spec) == (9, BEFORE)

    run(work())


def test_a_freeze_that_is_refused() -> None:
    async def work() -> None:
        guest = _guest()
        guest.reasons["filesystems"] = "Unsupported"
        adopt = guest.adopt

        def refuse(generation: int, spec: dict[str, object]) -> None:
            adopt(generation, {k: v for k, v in spec.items()})
            if generation == 8:
                guest.freeze = None
                guest.reasons["filesystems"] = "Unsupported"

        guest.adopt = refuse  # type: ignore[method-assign]
        async with connect(Wire(guest).open) as client:
            with pytest.raises(NotFrozen, match="Unsupported"):
                await _hold(client)
        assert guest.spec == BEFORE
        assert guest.generation == 9

    run(work())


@pytest.mark.parametrize(
    ("reason", "attempts", "fails"),
    [
        pytest.param("NotSeenYet", 0, False, id="not-seen-yet"),
        pytest.param("Drifted", 0, False, id="under-way"),
        pytest.param("DriverError", 1, True, id="refused-by-the-kernel"),
        pytest.param("Unsupported", 0, True, id="cannot-freeze"),
        pytest.param("LeaseEnded", 0, True, id="over"),
    ],
)
def test_another_kind_does_not_fail_a_freeze(reason: str, attempts: int, fails: bool) -> None:
    def condition(kind: str, reason: str, attempts: int) -> dict[str, object]:
        known = {"type": kind, "status": "False", "reason": reason, "message": ""}
        return known | {"observedGeneration": 8, "attempts": attempts}

    others = condition("session", "Unsupported", 0)
    status = {
        "observedGeneration": 8,
        "phase": "Degraded",
        "conditions": [condition("filesystems", reason, attempts), others],
    }
    assert bool(_failure(status, 8)) is fails


def test_somebody_else_writes_just_then() -> None:
    async def work() -> None:
        guest = _guest()
        other = {"hostname": {"name": "other"}}
        guest.on_call = lambda m: guest.adopt(8, other) if m == "apply" and guest.generation == 7 else None
        async with connect(Wire(guest).open) as client:
            with pytest.raises(NotFrozen, match="somebody else"):
                await _hold(client)
        assert guest.spec == other
        assert guest.epoch == 0

    run(work())


def test_the_freeze_of_somebody_who_was_faster_is_neither_waited_for_nor_ended() -> None:
    async def work() -> None:
        guest = _guest()
        theirs: dict[str, Any] = dict(Wish(lease_s=LEASE_S).spec(cast(Any, BEFORE)))
        guest.on_call = lambda m: guest.adopt(9, theirs) if m == "apply" and guest.generation == 7 else None
        async with connect(Wire(guest).open) as client:
            before_s = asyncio.get_running_loop().time()
            with pytest.raises(NotFrozen, match="somebody else"):
                await _hold(client)
            assert asyncio.get_running_loop().time() - before_s < 1
        assert guest.freeze is not None
        assert guest.generation == 9

    run(work())


@pytest.mark.parametrize("nonsense", [[], "x", {"lastFreeze": []}, {"lastFreeze": {"epoch": "1"}}])
def test_a_guest_that_says_nonsense_of_the_end_is_not_believed(nonsense: Any) -> None:
    async def work() -> None:
        guest = _guest()
        status = guest.status

        def odd() -> dict[str, Any]:
            told = status()
            if guest.generation > 8:
                told["observed"]["filesystems"] = nonsense
            return told

        guest.status = odd  # type: ignore[method-assign]
        async with connect(Wire(guest).open) as client:
            with pytest.raises(FreezeLost, match="not ended by us: nobody knows how"):
                await _hold(client)

    run(work())


def test_a_spec_that_already_says_frozen_is_left_alone() -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.adopt(3, {"filesystems": {"state": "frozen"}})
        async with connect(Wire(guest).open) as client:
            with pytest.raises(NotFrozen, match="already says frozen"):
                await _hold(client)
        assert guest.generation == 3
        assert guest.freeze is not None

    run(work())


@pytest.mark.parametrize(
    "error", [ValueError("broken"), asyncio.CancelledError()], ids=["error", "cancelled"]
)
def test_every_way_out_thaws(error: BaseException) -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            with pytest.raises(type(error)):
                async with frozen(client, Wish(lease_s=LEASE_S)):
                    raise error
        assert guest.freeze is None
        assert guest.spec == BEFORE

    run(work())


def test_a_cancelled_thaw_goes_on() -> None:
    async def work() -> None:
        guest = _guest()
        async with connect(Wire(guest).open) as client:
            task = asyncio.create_task(_hold(client))

            def cancel(method: str) -> None:
                if method == "apply" and guest.generation == 8:
                    task.cancel()

            guest.on_call = cancel
            with pytest.raises(asyncio.CancelledError):
                await task
        assert guest.freeze is None
        assert guest.spec == BEFORE

    run(work())


@pytest.mark.parametrize("cut", range(0, 6000, 61))
def test_a_freeze_outlives_a_cut(cut: int) -> None:
    async def work() -> None:
        guest = _guest()
        wire = Wire(guest)
        wire.cuts = [(cut, None)]
        async with connect(wire.open) as client:
            await _hold(client, seconds=LEASE_S)
        assert guest.spec == BEFORE
        assert guest.epoch == 1

    run(work())


def test_a_guest_that_is_gone_for_good_ends_the_wait() -> None:
    async def work() -> None:
        guest = _guest()
        wire = Wire(guest)

        def go() -> None:
            wire.refuse = ConnectionRefusedError(111, "Connection refused")
            wire.streams[-1].drop()

        async with connect(wire.open) as client:
            before_s = asyncio.get_running_loop().time()
            with pytest.raises(FreezeLost):
                await _hold(client, LEASE_S, before=go)
            # The block, the check, and the thaw, which waits for the lease's end.
            assert asyncio.get_running_loop().time() - before_s <= 3 * LEASE_S + THAW_S

    run(work())


def test_let_go_reads_again_after_a_conflict() -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.adopt(1, {"filesystems": {"state": "frozen"}})
        other = {"filesystems": {"state": "frozen"}, "hostname": {"name": "new"}}
        guest.on_call = lambda m: guest.adopt(2, other) if m == "apply" and guest.generation == 1 else None
        async with connect(Wire(guest).open) as client:
            generation = await let_go(client, lambda _: None, lambda part: bool(part))
        assert generation == guest.generation == 3
        assert guest.spec == {"hostname": {"name": "new"}}

    run(work())
