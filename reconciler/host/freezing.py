"""A freeze held around one command, and the proof that it held.

1. The spec in force is put in force again with its filesystems frozen, under the next
   generation and no other: if somebody else writes meanwhile, nothing is frozen.
2. The freeze has an epoch. The command starts once the guest says which, and what the
   command saved is good only if the guest says the same epoch at the end, and then that it
   was this side's thaw that ended it.
3. The lease is renewed from the loop that waits for the command: if this process hangs, the
   guest thaws.
4. Every way out thaws: the previous filesystems under the generation after ours. Should the
   guest be out of reach for longer than the lease, it has thawed by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reconciler.errors import Conflict, DriverError, NotHeld, ReconcilerError
from reconciler.host.client import Guest, InForce, Status
from reconciler.host.failures import FreezeLost, NotFrozen, TimedOut
from reconciler.host.following import HOPELESS, Follower, Met, so
from reconciler.host.views import condition, section
from reconciler.resource import Json
from reconciler.spec import Normal

KIND = "filesystems"
LEASE_S = 60.0  # the guest's own default
RENEWALS_IN_A_LEASE = 3  # two may be lost
EVERY_S_MIN = 0.1  # whatever a guest says of its remaining seconds
FREEZE_S = 120.0  # hooks and a full write cache take their time
THAW_S = 30.0  # beyond the lease, in which an absent guest thaws by itself
CONFLICTS_MAX = 3


class Overtaken(NotFrozen):
    """Somebody else wrote first, so nothing of ours is in force, and nothing is ours to thaw."""


@dataclass(frozen=True)
class Wish:
    lease_s: float = LEASE_S
    mounts: tuple[str, ...] = ()  # empty: every one that can freeze
    timeout_s: float = FREEZE_S

    def spec(self, normal: Normal) -> Normal:
        """The spec with this freeze in the place of its filesystems' state; a trim stays as it was."""
        others = {k: v for k, v in normal.get(KIND, {}).items() if k not in ("state", "lease", "mounts")}
        frozen: dict[str, Json] = {"state": "frozen", "lease": _whole(self.lease_s)}
        return {**normal, KIND: others | frozen | ({"mounts": list(self.mounts)} if self.mounts else {})}


@dataclass
class Freeze:
    """A freeze that was seen to hold."""

    guest: Guest
    generation: int
    epoch: int
    lease_s: float
    lost: str = ""  # why it holds no more

    async def keep(self) -> None:
        """Renew the lease until it is lost; then return."""
        while not self.lost:
            try:
                epoch, remaining_s = await self.guest.renew(
                    self.generation, self.lease_s, timeout_s=self.lease_s
                )
            except (NotHeld, DriverError) as error:
                self.lost = f"the guest says that it holds no more: {error}"
            except ReconcilerError as error:
                self.lost = f"its lease could not be renewed: {error}"
            else:
                self._compare(epoch)
                # The guest's policy may have cut the lease short, which is why the first renewal is now.
                every_s = max(EVERY_S_MIN, min(self.lease_s, remaining_s) / RENEWALS_IN_A_LEASE)
                await asyncio.sleep(every_s)

    async def check(self) -> None:
        """Ask the guest now whether this same freeze holds. Raises FreezeLost."""
        if not self.lost:
            try:
                # A guest that is away for longer than the lease has thawed by then.
                status = await self.guest.status(timeout_s=self.lease_s)
                self._compare(_epoch(status, "freeze", self.generation))
            except ReconcilerError as error:
                self.lost = f"the guest could not be asked: {error}"
        if self.lost:
            raise FreezeLost(f"cannot trust what was saved: {self.lost}")

    def _compare(self, epoch: int | None) -> None:
        if epoch != self.epoch:
            self.lost = (
                f"freeze {self.epoch} had ended; the guest now says {epoch or 'that nothing is frozen'}"
            )


@asynccontextmanager
async def frozen(guest: Guest, wish: Wish) -> AsyncIterator[Freeze]:
    """The filesystems of a guest frozen, for as long as the block runs; thawed however it ends.

    Raises NotFrozen before the block. The block must call `check` when it has what it wants,
    and how the freeze ended is asked after the thaw: FreezeLost says that it had not held.
    """
    before = await guest.spec()
    if before.normal.get(KIND, {}).get("state") == "frozen":
        raise NotFrozen(f"cannot freeze: generation {before.generation} of the spec already says frozen")
    freeze: Freeze | None = None
    after: Status | None = None
    ours = True
    try:
        freeze = await _begin(guest, before, wish)
        renewing = asyncio.create_task(freeze.keep())
        try:
            yield freeze
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
    except Overtaken:
        ours = False
        raise
    finally:
        if ours:
            after = await _through(_thaw(guest, before, wish))
    _ended_well(freeze, after)


async def _begin(guest: Guest, before: InForce, wish: Wish) -> Freeze:
    generation = before.generation + 1
    follower = Follower()
    done = so(KIND, "InSync", generation)

    def over(status: Status) -> bool:
        follower.news(status)
        return done(status) or guest.lost(generation) or bool(_failure(status, generation))

    try:
        await guest.apply(wish.spec(before.normal), generation=generation)
    except Conflict as error:
        raise Overtaken(f"cannot freeze: somebody else has just written: {error}") from None
    except ReconcilerError as error:
        raise NotFrozen(f"cannot freeze: {error}") from None
    try:
        status = await guest.wait(over, timeout_s=wish.timeout_s)
    except TimedOut as error:
        last = condition(follower.before or {}, KIND) or {}
        raise NotFrozen(f"cannot freeze: {error}: {last.get('message') or 'no news'}") from None
    except ReconcilerError as error:
        raise NotFrozen(f"cannot freeze: {error}") from None
    epoch = _epoch(status, "freeze", generation)
    if not done(status) or epoch is None:
        why = _failure(status, generation) or "the guest says so, and shows no freeze"
        why = "the agent was killed before it had begun" if guest.lost(generation) else why
        raise NotFrozen(f"cannot freeze: {why}")
    return Freeze(guest, generation, epoch, wish.lease_s)


def _failure(status: Status, generation: int) -> str:
    """Why the freeze of this generation has failed, or nothing."""
    found = condition(status, KIND) or {}
    if found.get("observedGeneration") != generation or found.get("status") == "True":
        return ""
    # Other kinds may fail as they like: they are neither frozen nor waited for.
    if found.get("attempts") or found.get("reason") in HOPELESS | {"LeaseEnded"}:
        return f"{found.get('reason')}: {found.get('message')}"
    return ""


async def _through(work: Awaitable[Status | None]) -> Status | None:
    """Let `work` end although we are being cancelled; the cancellation follows after it."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


async def _thaw(guest: Guest, before: InForce, wish: Wish) -> Status | None:
    """Put the filesystems' part of the spec back, and see them thawed; the status that says so."""
    try:
        async with asyncio.timeout(wish.lease_s + THAW_S):
            return await thaw(
                guest,
                lambda _: before.normal.get(KIND),
                lambda part: _is_ours(part, wish),
                timeout_s=wish.lease_s + THAW_S,
            )
    except (TimeoutError, ReconcilerError):
        # It thaws by itself at the end of the lease; that it did not hold is told by the caller.
        return None


async def thaw(
    guest: Guest, rest: Callable[[Json], Json], frozen: Callable[[Json], bool], *, timeout_s: float
) -> Status:
    """Let go, as `let_go` has it, and see it thawed; once more where the guest has lost that document."""
    while True:
        generation = await let_go(guest, rest, frozen)
        over = thawed(generation)

        def met(status: Status, generation: int = generation, over: Met = over) -> bool:
            return over(status) or guest.lost(generation)

        status = await guest.wait(met, timeout_s=timeout_s)
        if not guest.lost(generation):
            return status


async def let_go(guest: Guest, rest: Callable[[Json], Json], frozen: Callable[[Json], bool]) -> int:
    """Put `rest` of the filesystems' part of the spec in force, as long as `frozen` says so of it.

    Where `rest` is None they are not managed any more. The generation in force then. A writer
    who was faster is read again, not overtaken.
    """
    for tries_left in reversed(range(CONFLICTS_MAX)):
        now = await guest.spec()
        part = now.normal.get(KIND)
        if not frozen(part):
            return now.generation
        others = {kind: value for kind, value in now.normal.items() if kind != KIND}
        left = rest(part)
        try:
            normal = others if left is None else {**others, KIND: left}
            return (await guest.apply(normal, generation=now.generation + 1)).generation
        except Conflict:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _is_ours(part: Json, wish: Wish) -> bool:
    return isinstance(part, dict) and part.get("state") == "frozen" and part == wish.spec({KIND: part})[KIND]


def thawed(generation: int) -> Met:
    """Nothing is frozen any more under this generation, whatever else is the matter."""

    def met(status: Mapping[str, Json]) -> bool:
        about = (condition(status, KIND) or {}).get("observedGeneration", status.get("observedGeneration"))
        still = "freeze" in section(section(status, "observed"), KIND)
        return type(about) is int and about >= generation and not still

    return met


def _epoch(status: Status, which: str, generation: int) -> int | None:
    """The epoch of the freeze (or lastFreeze) of this generation."""
    freeze = _freeze(status, which)
    epoch = freeze.get("epoch") if freeze.get("generation") == generation else None
    return epoch if type(epoch) is int else None


def _freeze(status: Status, which: str) -> dict[str, Json]:
    """What the guest shows as `freeze` or `lastFreeze`; empty where that is nothing of use."""
    return section(section(section(status, "observed"), KIND), which)


def _ended_well(freeze: Freeze | None, after: Status | None) -> None:
    if freeze is None:
        return
    if after is None:
        raise FreezeLost("cannot trust what was saved: the guest did not say how the freeze ended")
    last = _freeze(after, "lastFreeze")
    if _epoch(after, "lastFreeze", freeze.generation) != freeze.epoch or last.get("ended") != "Thawed":
        how = last.get("ended", "nobody knows how")
        raise FreezeLost(f"cannot trust what was saved: freeze {freeze.epoch} was not ended by us: {how}")


def _whole(seconds: float) -> float:
    return int(seconds) if seconds == int(seconds) else seconds
