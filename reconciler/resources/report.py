"""Report: what the guest has and how it fares, each item in its own period.

The rules of the inventory:

1. An item is read when it is newly asked for, when its period is over and when an
   event has touched it; in between its last reading stands.
2. It is sent when it changed by at least its threshold since it was last *sent*: a
   slow drift adds up and is not lost.
3. Each item fails alone. It is then left out of the inventory, named in the condition
   and tried again, ever more slowly, until its period is reached.
4. Things that have names stand in a mapping by name, so that a change to one of them
   travels as a small merge patch.
5. Periods end at whole multiples on the boot clock: items of one period, and those of
   its multiples, cost one wake-up together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from reconciler.errors import DriverError, Unsupported
from reconciler.resource import (
    Cancellable,
    Change,
    Driver,
    Json,
    Past,
    Resource,
    Rules,
    Verdict,
    Watch,
    Watching,
)
from reconciler.subjects.items import KEPT, Kept, bulk, significant

MERGED = frozenset({"apps", "containers", "metrics"})  # mappings by source, joined from every source
EVERY_S_MIN = 1  # below it, reading costs more than what it shows is worth
EVERY_S_MAX = 86_400  # less often than daily, and nobody could tell whether it is read at all
RETRY_FIRST_S = 5.0  # doubled at each failure in a row, up to the item's own period
FAULT_CHARS_MAX = 300  # of one item in the condition's message: a person reads it
ITEM_CHARS_MAX = 4 << 20  # half of what the host takes in one message; some 20,000 packages


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How one item is wanted."""

    every_s: float
    threshold: float = 0.0  # the share of change that is worth telling: 0.01 is 1 %


@dataclass(frozen=True, kw_only=True)
class Desired:
    """The items that are asked for."""

    items: Mapping[str, Ask] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What is kept of one item: the value that was last sent, and what failed since."""

    read_s: float  # on the boot clock
    value: Json = None
    fault: str = ""
    unsupported: bool = False
    failures: int = 0  # in a row


@dataclass(frozen=True)
class Observed:
    """The readings as of now, by item."""

    boot_clock_s: float
    readings: Mapping[str, Reading] = field(default_factory=dict)


class Source(Driver, Protocol):
    """A facility of the OS from which some items can be read.

    A driver inherits from this class to be found; a test's fake only has its shape. Where
    several sources offer an item the first by module name wins, and the next is tried when
    it says Unsupported. For `apps`, `containers` and `metrics` every source is read and the
    mappings, whose keys are the sources' names (`dpkg`, `textfile`), are joined.

    A source may have `watches` as well. What a watch says in `items: tuple[str, ...]` is read
    again when it drains to True; of a watch that does not say, all that its source offers.
    """

    items: ClassVar[tuple[str, ...]]
    needs: ClassVar[str]  # what a guest lacks where this is not available: "systemd on D-Bus"

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def read(self, item: str) -> Json:
        """One of `items`, now. JSON without null, names in camelCase, sizes in bytes.

        Bounded in time (all sources together have `observe_deadline_s`) and in size by the
        source itself. Raises DriverError when the OS refuses just now, and Unsupported
        when this guest will never tell.
        """


class _Listener:
    """What the loop sees of a source: its watches, which note the items they found touched."""

    def __init__(self, source: Source, report: "Report") -> None:
        self._source = source
        self._report = report

    @classmethod
    def available(cls) -> bool:
        return True

    def watches(self) -> Sequence[Watch]:
        if not isinstance(self._source, Watching):
            return ()
        return [_Heard(watch, self._source.items, self._report) for watch in self._source.watches()]

    def cancel(self) -> None:
        if isinstance(self._source, Cancellable):
            self._source.cancel()


class _Heard:
    """A watch of a source, that tells the kind which items it found touched."""

    def __init__(self, watch: Watch, items: tuple[str, ...], report: "Report") -> None:
        self._watch = watch
        self._items: tuple[str, ...] = getattr(watch, "items", ()) or items
        self._report = report

    def fileno(self) -> int:
        return self._watch.fileno()

    def drain(self) -> bool:
        return self._watch.drain() and self._report.touch(self._items)


def _rule(kept: Kept) -> Rules:
    fields: dict[str, Json] = {"every": _every(kept.every_s)}
    if kept.percent:
        fields["threshold"] = _threshold(kept.percent)
    return {"type": "dict", "schema": fields}


def _every(default_s: float) -> Rules:
    meta = {"description": "How often it is read.", "default": default_s}
    return {"type": "duration", "min": EVERY_S_MIN, "max": EVERY_S_MAX, "meta": meta}


def _threshold(default: float) -> Rules:
    meta = {"description": "The change that is worth telling, in percent.", "default": default}
    return {"type": "number", "min": 0, "max": 100, "meta": meta}


class Report(Resource[Desired, Observed, Source], kind="report"):
    """Holds what was last sent: the one kind that keeps something between two looks."""

    several = True
    section = "inventory"
    # What the sources allow themselves is 17 s, should all be slow in one look; so none makes the kind stuck.
    observe_deadline_s = 20.0
    summary = "What the guest tells of itself, each item in its own period."
    rules: ClassVar[Rules] = {item: _rule(kept) for item, kept in KEPT.items()}
    short: ClassVar[Rules] = {
        "type": "list",
        "schema": {"type": "string", "allowed": list(KEPT)},
        "minlength": 1,
        "maxlength": len(KEPT),
    }

    def __init__(self, driver: tuple[Source, ...]) -> None:
        super().__init__(driver)
        self._readings: dict[str, Reading] = {}
        self._touched: set[str] = set()  # by an event, and not read since
        self._asked: frozenset[str] = frozenset()
        # Asked now: a source that this guest has no use for may be unloaded soon.
        offered = {item for source in driver for item in source.items}
        self._lacking = {item: _why_not(item) for item in KEPT if item not in offered}
        self._listeners = tuple(_Listener(source, self) for source in driver)

    def drivers(self) -> tuple[Driver, ...]:
        return self._listeners

    def touch(self, items: Collection[str]) -> bool:
        """An event says that items changed; whether the document asks for any of them."""
        # A look may be under way in another thread; adding to a set and taking from it are atomic.
        self._touched.update(items)
        return not self._asked.isdisjoint(items)

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {item: {} for item in short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        return Desired(items={item: _ask(KEPT[item], normal[item]) for item in KEPT if item in normal})

    def observe(self, desired: Desired, past: Past) -> Observed:
        now_s: float = self.driver[0].boot_clock_s()
        readings, touched = self._readings, self._touched
        if past.preview:
            readings, touched = dict(readings), set(touched)
        else:
            self._asked = frozenset(desired.items)
        for item in readings.keys() - desired.items.keys():
            del readings[item]
        for item, ask in desired.items.items():
            old = readings.get(item)
            if item in touched or due(ask, old, now_s):
                touched.discard(item)  # before it is read: an event during it counts
                # Kept one by one: when a source hangs, those before it are not lost.
                readings[item] = renewed(item, ask, old, self._read(item, now_s))
        return Observed(now_s, dict(readings))

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        faulty = {item: reading for item, reading in observed.readings.items() if reading.fault}
        if not faulty:
            return Verdict(True, "InSync")
        message = "; ".join(f"cannot read {item}: {reading.fault}" for item, reading in faulty.items())
        alone = all(reading.unsupported for reading in faulty.values())
        return Verdict(False, "Unsupported" if alone else "Degraded", message, failed=True)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        return min((next_s(desired.items[item], r) for item, r in observed.readings.items()), default=None)

    @staticmethod
    def show(observed: Observed) -> Json:
        return {item: r.value for item, r in observed.readings.items() if r.value is not None}

    def _read(self, item: str, now_s: float) -> Reading:
        """One reading, from one source or joined from all; never raises for a source's failure."""
        value: Json = None
        refused, lacking = [], []
        for source in self.driver:
            if item not in source.items or (value is not None and item not in MERGED):
                continue
            try:
                got = source.read(item)
                value = {**(value or {}), **got} if item in MERGED else got
            except Unsupported as error:
                lacking.append(str(error))
            except DriverError as error:
                refused.append(str(error))
                if item not in MERGED:
                    break
            except Exception as fault:  # a guest is full of surprises, and no item costs another
                refused.append(f"{type(fault).__name__}: {fault}")
                if item not in MERGED:
                    break
        if not refused and value is not None:
            return Reading(now_s, value)
        why = "; ".join(refused or lacking) or self._lacking.get(item, "it is empty")
        return Reading(now_s, value, why[:FAULT_CHARS_MAX], unsupported=not refused)


def _why_not(item: str) -> str:
    """What the sources that could read an item would need, in their words."""
    sources = sorted(Source.__subclasses__(), key=lambda source: source.__module__)
    needs = [source.needs for source in sources if item in source.items]
    return "this guest has no " + " and no ".join(needs) if needs else "there is no driver"


def _ask(kept: Kept, fields: Mapping[str, Json]) -> Ask:
    percent: float = fields.get("threshold", kept.percent)
    return Ask(every_s=float(fields.get("every", kept.every_s)), threshold=percent / 100)


def next_s(ask: Ask, reading: Reading) -> float:
    """When, on the boot clock, an item is to be read again without an event."""
    period_s = (reading.read_s // ask.every_s + 1) * ask.every_s
    if not reading.fault or reading.unsupported:
        return period_s
    return min(period_s, reading.read_s + RETRY_FIRST_S * 2.0 ** min(reading.failures - 1, 16))


def due(ask: Ask, reading: Reading | None, now_s: float) -> bool:
    return reading is None or now_s >= next_s(ask, reading)


def renewed(item: str, ask: Ask, old: Reading | None, new: Reading) -> Reading:
    """What is kept after a reading: the value that was last sent stands while little changed."""
    if new.fault:
        new = replace(new, failures=1 + (old.failures if old else 0))
    if new.value is None or (old and old.value is new.value):
        return new
    if old and old.value is not None and not significant(item, old.value, new.value, ask.threshold):
        return replace(new, value=old.value)
    if bulk(new.value) > ITEM_CHARS_MAX:
        return Reading(new.read_s, None, f"more than {ITEM_CHARS_MAX} characters", failures=1)
    return new
