"""Memory-blocks: how much of the guest's memory is online, in blocks of the kernel's.

The rules of this kind:

1. What is online stays as far as it can. What comes online is the lowest; what goes is
   movable first, for only such a block is sure to be emptied, and then the highest.
2. No more goes than is free, and something is left over. A block that refuses is
   remembered, and the next one is tried in its place.
3. A block that the host plugs in comes offline, and its event leads to a look. So
   `online: all` is all that it takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from reconciler.errors import DriverError, Fault, InvalidSpec, ReconcilerError
from reconciler.resource import Action, Change, Driver, Json, Notice, Past, Phase, Resource, Rules, Verdict
from reconciler.subjects.numbers import listed
from reconciler.subjects.refusals import Refusals

Zone = Literal["movable", "kernel"]

BLOCKS_MAX = 4096  # 512 GiB of the smallest blocks; larger machines have larger ones
IN_USE_S = 30.0  # until it is looked whether enough has become free
_TRIES_MAX = 4  # blocks tried in one act, each of which may take its deadline
_LEFT_BYTES_MIN = 64 << 20  # below it, what runs in the guest is killed for want of memory
_LEFT_SHARE = 20  # a twentieth of all memory stays available


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Nothing of it: not managed."""

    online: int | Literal["all"] | None = None  # blocks
    size: int | None = None  # bytes
    zone: Zone | None = None  # of blocks that are brought online; None: the kernel's choice

    @property
    def managed(self) -> bool:
        return self.online is not None or self.size is not None


@dataclass(frozen=True)
class Block:
    """One block; `zone` is empty where it holds parts of several, or is offline."""

    id: int
    online: bool = True
    removable: bool = True
    zone: str = "Normal"


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The blocks, and which of them refused in this generation, with their words."""

    blocks: tuple[Block, ...] = ()  # by number
    block_bytes: int = 0
    auto: str = ""  # what the kernel does with a block that is plugged in: offline, online, ...
    total_bytes: int = 0
    available_bytes: int = 0  # without taking it from what runs
    boot_clock_s: float = 0.0
    refused: Mapping[int, str] = field(default_factory=dict)

    @property
    def online(self) -> tuple[int, ...]:
        return tuple(block.id for block in self.blocks if block.online)


@dataclass(frozen=True)
class Switch(Change):
    """A block that is to go, and which may go in its place."""

    or_else: tuple[int, ...] = ()


class Blocks(Driver, Protocol):
    """What this kind asks of the OS."""

    def blocks(self) -> Observed:
        """All of them as they are now; nothing is refused. Raises Unsupported."""

    def online(self, block: int, zone: Zone | None) -> None:
        """Raises DriverError with the kernel's reason."""

    def offline(self, block: int) -> None:
        """Empty the block and switch it off, within seconds. Raises DriverError with the kernel's reason."""


@dataclass(frozen=True)
class _Aim:
    """What is to be switched, what may go instead, and what cannot be."""

    on: tuple[int, ...] = ()
    off: tuple[int, ...] = ()
    spare: tuple[int, ...] = ()
    reason: str = ""  # one word, when not all of it can be
    lack: str = ""


_COUNT: Rules = {
    "anyof": [
        {"type": "integer", "min": 1, "max": BLOCKS_MAX},
        {"type": "string", "allowed": ["all"]},
    ],
    "meta": {
        "description": "How many blocks are online, or all that are plugged in.",
        "expected": "a number of blocks, or all",
    },
}


class MemoryBlocks(Resource[Desired, Observed, Blocks], kind="memory-blocks"):
    summary = "How much of the guest's memory is online."
    verbs = frozenset({"online", "offline"})
    earliest = Phase.CHANGE
    short: ClassVar[Rules] = _COUNT
    rules: ClassVar[Rules] = {
        "online": {**_COUNT, "excludes": "size"},
        "size": {
            "type": "size",
            "min": 1,
            "excludes": "online",
            "meta": {"description": "How much is online at least, in whole blocks: 2Gi."},
        },
        "zone": {
            "type": "string",
            "allowed": ["movable", "kernel"],
            "meta": {
                "description": "Where blocks come online: movable ones can go again.",
                "default": "the kernel's choice",
            },
        },
    }

    def __init__(self, driver: Blocks) -> None:
        super().__init__(driver)
        self._refusals: Refusals[int] = Refusals()

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"online": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        if "zone" in normal and not {"online", "size"} & normal.keys():
            raise InvalidSpec(Fault(0, 0, "zone", "goes only with online or size"))
        return Desired(online=normal.get("online"), size=normal.get("size"), zone=normal.get("zone"))

    def observe(self, desired: Desired, past: Past) -> Observed:
        if not desired.managed:
            return Observed()
        driver: Blocks = self.driver
        return replace(driver.blocks(), refused=self._refusals.standing(past))

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        aim = _aim(desired, observed)
        on = (Change(f"memory{id}", "state", "online", "offline") for id in aim.on)
        # Each block that is spare stands in for one alone, so that no two try the same.
        shares = (aim.spare[at :: len(aim.off)][: _TRIES_MAX - 1] for at in range(len(aim.off)))
        pairs = zip(aim.off, shares, strict=True)
        off = (Switch(f"memory{id}", "state", "offline", "online", spare) for id, spare in pairs)
        return (*on, *off)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(
            Action("offline", change.target, value={"orElse": list(change.or_else)})
            if isinstance(change, Switch)
            else Action("online", change.target, value={"zone": desired.zone} if desired.zone else {})
            for change in changes
        )

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        online, id = action.verb == "online", _id(action)
        blocks = tuple(replace(b, online=online) if b.id == id else b for b in observed.blocks)
        more = observed.block_bytes if online else -observed.block_bytes
        return replace(observed, blocks=blocks, available_bytes=observed.available_bytes + more)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        aim = _aim(desired, observed)
        if changes:
            words = (f"{len(aim.on)} to come online", f"{len(aim.off)} to go offline")
            many = [word for word, ids in zip(words, (aim.on, aim.off), strict=True) if ids]
            return Verdict(False, "Drifted", "blocks: " + ", ".join(many))
        if aim.lack:
            return Verdict(False, aim.reason, aim.lack, failed=True)
        if not desired.managed:
            return Verdict(True, "InSync")
        size = len(observed.online) * observed.block_bytes >> 20
        return Verdict(True, "InSync", f"{len(observed.online)} blocks online, {size} MiB")

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        # Memory that becomes free tells nobody.
        in_use = _aim(desired, observed).reason == "InUse"
        return observed.boot_clock_s + IN_USE_S if in_use else None

    @staticmethod
    def show(observed: Observed) -> Json:
        if not observed.blocks:
            return {}
        lists = {
            "onlineList": observed.online,
            "offlineList": [block.id for block in observed.blocks if not block.online],
            "movableList": [b.id for b in observed.blocks if b.online and b.zone == "Movable"],
            "fixedList": [b.id for b in observed.blocks if b.online and not _may_go(b)],
        }
        return {
            "online": len(observed.online),
            "onlineBytes": len(observed.online) * observed.block_bytes,
            "blockBytes": observed.block_bytes,
            **{name: listed(ids) for name, ids in lists.items() if ids},
            **({"auto": observed.auto} if observed.auto else {}),
        }

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        if not before.blocks or not after.blocks:
            return ()  # it was not managed, or is no longer
        out = []
        if (was := len(before.blocks)) != (now := len(after.blocks)):
            out.append(Notice("MemoryPlugged", f"{now} blocks, was {was}"))
        if before.online != after.online:
            was, now = len(before.online), len(after.online)
            out.append(Notice("MemorySwitched", f"{now} blocks online, was {was}"))
        return tuple(out)

    def act(self, action: Action) -> None:
        driver: Blocks = self.driver
        whys = []
        for block in (_id(action), *action.value.get("orElse", ())):
            try:
                if action.verb == "online":
                    driver.online(block, action.value.get("zone"))
                else:
                    driver.offline(block)
            except ReconcilerError as error:
                self._refusals.note(block, str(error))
                whys.append(str(error))
            else:
                self._refusals.drop(block)
                return
        raise DriverError("; ".join(whys))


def _id(action: Action) -> int:
    return int(action.target.removeprefix("memory"))


def _may_go(block: Block) -> bool:
    """A block without a zone holds parts of several, or what the kernel itself stands in."""
    return block.removable and bool(block.zone)


def _aim(desired: Desired, observed: Observed) -> _Aim:
    if not desired.managed:
        return _Aim()
    if desired.size is not None:
        want = -(-desired.size // max(1, observed.block_bytes))
    else:
        want = len(observed.blocks) if desired.online in ("all", None) else int(desired.online or 0)
    less = len(observed.online) - want
    return _fewer(want, less, observed) if less > 0 else _more(want, -less, observed)


def _more(want: int, more: int, observed: Observed) -> _Aim:
    offline = [block.id for block in observed.blocks if not block.online]
    first = tuple(sorted(offline, key=lambda id: (id in observed.refused, id))[:more])
    if len(first) == more:
        return _Aim(on=first)
    lack = f"{want} blocks are to be online, and {len(observed.blocks)} are plugged in"
    return _Aim(on=first, reason="NotPresent", lack=lack)


def _fewer(want: int, less: int, observed: Observed) -> _Aim:
    able = [block for block in observed.blocks if block.online and _may_go(block)]
    able.sort(key=lambda block: (block.id in observed.refused, block.zone != "Movable", -block.id))
    ids = [block.id for block in able]
    left = max(_LEFT_BYTES_MIN, observed.total_bytes // _LEFT_SHARE)
    room = max(0, (observed.available_bytes - left) // max(1, observed.block_bytes))
    first, spare = tuple(ids[: min(less, room)]), tuple(ids[min(less, room) :])
    if len(first) == less:
        return _Aim(off=first, spare=spare)
    wish = f"{want} blocks are to be online, and {len(observed.online)} are"
    if len(first) == len(ids):
        return _Aim((), first, spare, "NotRemovable", f"{wish}; {len(ids)} of these can go")
    free = f"{observed.available_bytes >> 20} MiB are free, and {left >> 20} MiB are to be left"
    return _Aim((), first, spare, "InUse", f"{wish}; {free}")
