"""Cpus: how many of the guest's processors are online, or which of them.

The rules of this kind:

1. A number is met with the fewest switches: what is online stays, and what comes online
   is the lowest. What goes first is a second thread of a core, then the highest; a
   processor that is isolated for some task goes last, and one that refused after all.
2. What cannot be is not tried. The condition says why: no such processor, no switch of
   its own, the last one.
3. A processor that the host plugs in comes offline, and its event leads to a look. So
   `online: all` is all that it takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from reconciler.errors import Fault, InvalidSpec, ReconcilerError
from reconciler.resource import Action, Change, Driver, Json, Notice, Past, Phase, Resource, Rules, Verdict
from reconciler.subjects.numbers import NUMBERS_MAX, listed, members
from reconciler.subjects.refusals import Refusals

CPUS_MAX = NUMBERS_MAX
_LIST = r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*"


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Nothing of it: not managed."""

    online: int | Literal["all"] | None = None
    on: frozenset[int] = frozenset()
    off: frozenset[int] = frozenset()

    @property
    def managed(self) -> bool:
        return self != Desired()


@dataclass(frozen=True)
class Cpu:
    """A processor that is plugged in."""

    id: int
    online: bool = True
    switchable: bool = True
    second: bool = False  # a thread of a core of which a lower number is online too
    isolated: bool = False  # kept free for some task


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The processors, and which of them refused in this generation, with their words."""

    cpus: tuple[Cpu, ...] = ()  # by number
    possible: int = 0  # as many as the kernel has made room for
    smt: str = ""  # whether threads of one core may be online together, in the kernel's words
    refused: Mapping[int, str] = field(default_factory=dict)

    @property
    def online(self) -> tuple[int, ...]:
        return tuple(cpu.id for cpu in self.cpus if cpu.online)


class Processors(Driver, Protocol):
    """What this kind asks of the OS."""

    def processors(self) -> Observed:
        """All of them as they are now; nothing is refused."""

    def switch(self, cpu: int, *, online: bool) -> None:
        """Bring one online, or take it offline. Raises DriverError with the kernel's reason."""


@dataclass(frozen=True)
class _Aim:
    """What is to be switched, and what cannot be."""

    on: tuple[int, ...] = ()
    off: tuple[int, ...] = ()
    reason: str = ""  # one word, when not all of it can be
    lack: str = ""


def _list(description: str) -> Rules:
    meta = {
        "description": description,
        "default": "left as they are",
        "expected": "a list such as 2 or 0-3,7",
    }
    return {
        "type": ["integer", "string"],
        "regex": _LIST,
        "maxlength": 1000,
        "min": 0,
        "max": CPUS_MAX - 1,
        "excludes": "online",
        "meta": meta,
    }


_ONLINE = "How many are online, or all that are plugged in."
_COUNT: Rules = {
    "anyof": [
        {"type": "integer", "min": 1, "max": CPUS_MAX},
        {"type": "string", "allowed": ["all"]},
    ],
    "meta": {"description": _ONLINE, "expected": "a number, or all"},
}


class Cpus(Resource[Desired, Observed, Processors], kind="cpus"):
    summary = "Which of the guest's processors are online."
    verbs = frozenset({"online", "offline"})
    earliest = Phase.CHANGE
    short: ClassVar[Rules] = _COUNT
    rules: ClassVar[Rules] = {
        "online": {**_COUNT, "excludes": ["on", "off"]},
        "on": _list("Processors that are online, by number."),
        "off": _list("Processors that are offline, by number."),
    }

    def __init__(self, driver: Processors) -> None:
        super().__init__(driver)
        self._refusals: Refusals[int] = Refusals()

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"online": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        faults = []
        sets: dict[str, frozenset[int]] = {}
        for name in ("on", "off"):
            written = str(normal.get(name, ""))
            sets[name] = frozenset(members(written))
            if any(int(first) > int(last) for first, _, last in _ranges(written) if last):
                faults.append(Fault(0, 0, name, "has a range that goes backwards"))
            if max(sets[name], default=0) >= CPUS_MAX:
                faults.append(Fault(0, 0, name, f"must be below {CPUS_MAX}"))
        if both := sets["on"] & sets["off"]:
            faults.append(Fault(0, 0, "off", f"has processors that are to be online: {listed(both)}"))
        if faults:
            raise InvalidSpec(*faults)
        return Desired(online=normal.get("online"), **sets)

    def observe(self, desired: Desired, past: Past) -> Observed:
        if not desired.managed:
            return Observed()
        driver: Processors = self.driver
        return replace(driver.processors(), refused=self._refusals.standing(past))

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        aim = _aim(desired, observed)
        return tuple(
            Change(f"cpu{cpu}", "online", want, not want)
            for want, cpus in ((True, aim.on), (False, aim.off))
            for cpu in cpus
        )

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(Action("online" if change.want else "offline", change.target) for change in changes)

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        online, id = action.verb == "online", _id(action)
        cpus = tuple(replace(cpu, online=online) if cpu.id == id else cpu for cpu in observed.cpus)
        return replace(observed, cpus=cpus)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if changes:
            wrong = {
                word: listed(int(change.target[3:]) for change in changes if change.want is want)
                for word, want in (("to come online", True), ("to go offline", False))
            }
            message = ", ".join(f"{cpus} {word}" for word, cpus in wrong.items() if cpus)
            return Verdict(False, "Drifted", message)
        aim = _aim(desired, observed)
        if aim.lack:
            return Verdict(False, aim.reason, aim.lack, failed=True)
        return Verdict(True, "InSync", f"{listed(observed.online)} online" if desired.managed else "")

    @staticmethod
    def show(observed: Observed) -> Json:
        if not observed.cpus:
            return {}
        lists = {
            "onlineList": observed.online,
            "presentList": [cpu.id for cpu in observed.cpus],
            "fixedList": [cpu.id for cpu in observed.cpus if not cpu.switchable],
            "isolatedList": [cpu.id for cpu in observed.cpus if cpu.isolated],
        }
        return {
            "online": len(observed.online),
            "possible": observed.possible,
            **{name: listed(cpus) for name, cpus in lists.items() if cpus},
            **({"smt": observed.smt} if observed.smt else {}),
        }

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        out = []
        plugged = {cpu.id for cpu in before.cpus}, {cpu.id for cpu in after.cpus}
        if not all(plugged):
            return ()  # it was not managed, or is no longer
        if plugged[0] != plugged[1]:
            out.append(Notice("CpusPlugged", f"{listed(plugged[1])}, was {listed(plugged[0])}"))
        if before.online != after.online:
            out.append(Notice("CpusSwitched", f"{listed(after.online)} online, was {listed(before.online)}"))
        return tuple(out)

    def act(self, action: Action) -> None:
        driver: Processors = self.driver
        try:
            driver.switch(_id(action), online=action.verb == "online")
        except ReconcilerError as error:
            self._refusals.note(_id(action), str(error))
            raise
        self._refusals.drop(_id(action))


def _ranges(written: str) -> list[tuple[str, str, str]]:
    return [part.partition("-") for part in written.split(",")]


def _id(action: Action) -> int:
    return int(action.target.removeprefix("cpu"))


def _aim(desired: Desired, observed: Observed) -> _Aim:
    if not desired.managed:
        return _Aim()
    if desired.online is None:
        return _by_number(desired, observed)
    want = len(observed.cpus) if desired.online == "all" else desired.online
    online = len(observed.online)
    return _more(want, online, observed) if want >= online else _fewer(want, online, observed)


def _more(want: int, online: int, observed: Observed) -> _Aim:
    offline = [cpu.id for cpu in observed.cpus if not cpu.online]
    first = sorted(offline, key=lambda id: (id in observed.refused, id))[: want - online]
    if len(first) == want - online:
        return _Aim(on=tuple(first))
    room = f"; there is room for {observed.possible}" if observed.possible > len(observed.cpus) else ""
    lack = f"{want} are to be online, and {len(observed.cpus)} are plugged in{room}"
    return _Aim(tuple(first), (), "NotPresent", lack)


def _fewer(want: int, online: int, observed: Observed) -> _Aim:
    able = [cpu for cpu in observed.cpus if cpu.online and cpu.switchable]
    able.sort(key=lambda cpu: (cpu.id in observed.refused, cpu.isolated, not cpu.second, -cpu.id))
    first = tuple(cpu.id for cpu in able[: online - want])
    if len(first) == online - want:
        return _Aim(off=first)
    fixed = listed(cpu.id for cpu in observed.cpus if cpu.online and not cpu.switchable)
    return _Aim((), first, "NoSwitch", f"{want} are to be online, and {fixed} cannot be taken offline")


def _by_number(desired: Desired, observed: Observed) -> _Aim:
    cpus = {cpu.id: cpu for cpu in observed.cpus}
    absent = desired.on - cpus.keys()
    on = [id for id in desired.on if id in cpus and not cpus[id].online]
    on.sort(key=lambda id: (id in observed.refused, id))
    off = [id for id in desired.off if id in cpus and cpus[id].online]
    off.sort(key=lambda id: (id in observed.refused, -id))
    fixed = [id for id in off if not cpus[id].switchable]
    off = [id for id in off if cpus[id].switchable]
    last = () if on or len(off) < len(observed.online) else (off.pop(),)
    rows = (
        ("NotPresent", absent, "not plugged in"),
        ("NoSwitch", fixed, "without a switch, and cannot be taken offline"),
        ("LastOne", last, "the last one online"),
    )
    lacks = {reason: f"{listed(ids)}: {why}" for reason, ids, why in rows if ids}
    return _Aim(tuple(on), tuple(off), next(iter(lacks), ""), "; ".join(lacks.values()))
