"""Seeds of bad luck on the line: the end is the same as without, and it comes."""

import asyncio
import random

import pytest

from reconciler.host.client import connect
from reconciler.host.failures import FreezeLost
from reconciler.host.following import converged
from reconciler.host.freezing import Wish, frozen
from tests.host.fake_guest import FakeGuest
from tests.host.wire import Wire, run

SEEDS = 400
SPEC = {"hostname": {"static": "web-02"}}
BAD_S = 30.0  # then the line is good, so that there is an end


class _BadLuck:
    """What may become of one message. Late ones come with the next, so they change places."""

    def __init__(self, seed: int, share: float) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._late = b""

    def __call__(self, data: bytes) -> bytes:
        late, self._late = self._late, b""
        good = asyncio.get_running_loop().time() > BAD_S
        match 9 if good or self._random.random() > self._share else self._random.randrange(6):
            case 0:
                data = b""
            case 1:
                data = data + data
            case 2:
                data = data[: self._random.randrange(len(data))]
            case 3:
                place = self._random.randrange(len(data))
                # Noise that could be another good message is for the line's own checksums.
                data = data[:place] + b"\xff" + data[place + 1 :]
            case 4:
                data = self._random.randbytes(self._random.randrange(40)) + data
            case 5:
                self._late, data = data, b""
        return data + late


def _wire(seed: int) -> Wire:
    wire = Wire(FakeGuest())
    luck = random.Random(seed)
    wire.cuts = [(luck.choice([None, luck.randrange(4000)]), None) for _ in range(luck.randrange(4))]
    to_host, to_guest = _BadLuck(2 * seed, luck.random() / 2), _BadLuck(2 * seed + 1, luck.random() / 2)
    wire.alter, wire.alter_to_guest = lambda _, data: to_host(data), to_guest
    return wire


@pytest.mark.parametrize("block", range(8))
def test_a_spec_is_in_force_once(block: int) -> None:
    async def work(wire: Wire) -> None:
        async with connect(wire.open, timeout_s=120) as client:
            applied = await client.apply(SPEC)
            status = await client.wait(converged(applied.generation), timeout_s=300)
        assert status == wire.guest.status()
        assert (applied.generation, wire.guest.generation, wire.guest.spec) == (1, 1, SPEC)

    for seed in range(block * SEEDS // 8, (block + 1) * SEEDS // 8):
        run(work(_wire(seed)))


@pytest.mark.parametrize("block", range(8))
def test_a_freeze_is_one_freeze_and_is_let_go(block: int) -> None:
    async def work(wire: Wire) -> bool:
        async with connect(wire.open, timeout_s=120) as client:
            try:
                async with frozen(client, Wish(lease_s=60)) as freeze:
                    await freeze.check()
            except FreezeLost:
                return False
            finally:
                assert (wire.guest.epoch, wire.guest.freeze, wire.guest.spec) == (1, None, {})
        return True

    held = [run(work(_wire(seed))) for seed in range(block * SEEDS // 8, (block + 1) * SEEDS // 8)]
    assert all(held)  # the fake guest never lets go by itself
