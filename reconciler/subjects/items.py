"""The items of the inventory: how often each is read, which change of it is worth telling.

An item is told anew when anything in it changed. Figures never stand still, so each of
them has to change by a share of something, which is its item's threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.resource import Json


@dataclass(frozen=True)
class Kept:
    """How an item is kept unless the document says otherwise."""

    every_s: float
    percent: float = 0.0  # of change that is worth telling; 0: any change is, and that is fixed


# In the order of reading: what may take long comes last, and holds up nothing.
KEPT: Mapping[str, Kept] = {
    "memory": Kept(10, 1),
    "swap": Kept(30, 1),
    "load": Kept(30, 10),
    "pressure": Kept(30, 5),
    "nics": Kept(60, 5),  # addresses and states come by event; the period is for counters
    "cpus": Kept(600),
    "hostname": Kept(3600),
    "kernel": Kept(3600),
    "os": Kept(3600),
    "timezone": Kept(600),  # summer time begins without an event
    "filesystems": Kept(60, 1),
    "disks": Kept(600),
    "sessions": Kept(600),
    "users": Kept(600),
    "services": Kept(600),
    "fqdn": Kept(600),
    "reboot": Kept(600),
    "sockets": Kept(300),  # who owns them is found by a walk through all processes
    "smart": Kept(3600, 10),  # disks age slowly
    "containers": Kept(60),
    "metrics": Kept(30, 1),
    "apps": Kept(600),
}


@dataclass(frozen=True)
class _Figure:
    """A number that always changes, and what its threshold is a share of."""

    whole: str = ""  # the field beside it that holds the whole; empty: the number itself
    floor: float = 0.0  # a smaller change is never worth telling, unless the threshold is 0 %
    of: float = 1.0  # the whole where it stands nowhere beside the figure


_BYTES = _Figure(floor=64 << 10)  # a quiet network's broadcasts in some minutes
_PACKETS = _Figure(floor=100)
_OF_TOTAL = _Figure("total", 4 << 20)  # 1 % of a small guest is what one process takes
_OF_SIZE = _Figure("size", 1 << 20)
_PERCENT = _Figure("all", of=100.0)
_ALL = "*"

FIGURES: Mapping[str, Mapping[str, _Figure]] = {
    "memory": {
        name: _OF_TOTAL for name in ("available", "free", "buffers", "cached", "shared", "slab", "dirty")
    },
    "swap": {
        "free": _OF_TOTAL,
        "used": _OF_TOTAL,
        "in": _Figure(floor=1 << 20),
        "out": _Figure(floor=1 << 20),
    },
    # Their whole is one busy processor.
    "load": {"one": _Figure("cpu"), "five": _Figure("cpu"), "fifteen": _Figure("cpu")},
    "pressure": {
        **dict.fromkeys(("avg10", "avg60", "avg300"), _PERCENT),
        "stalledS": _Figure(floor=1.0),
    },
    "smart": {"temperatureC": _Figure(), "powerOnHours": _Figure(floor=24.0)},
    "nics": {"rxBytes": _BYTES, "txBytes": _BYTES, "rxPackets": _PACKETS, "txPackets": _PACKETS}
    | {name: _Figure() for name in ("rxErrors", "txErrors", "rxDropped", "txDropped")},
    "filesystems": {"used": _OF_SIZE, "available": _OF_SIZE, "filesUsed": _Figure("files", 100)},
    "metrics": {_ALL: _Figure()},
}


def significant(item: str, old: Json, new: Json, threshold: float) -> bool:
    """Whether the change of an item is worth telling: of a figure by its share, of all else any."""
    return _differs(old, new, FIGURES.get(item, {}), threshold)


def _differs(old: Json, new: Json, figures: Mapping[str, _Figure], threshold: float) -> bool:
    if not isinstance(old, dict) or not isinstance(new, dict) or old.keys() != new.keys():
        return bool(old != new)
    for name, after in new.items():
        before, figure = old[name], figures.get(name) or figures.get(_ALL)
        if figure and isinstance(before, int | float) and isinstance(after, int | float):
            if before != after and abs(after - before) >= _step(figure, old, before, threshold):
                return True
        elif _differs(before, after, figures, threshold):
            return True
    return False


def _step(figure: _Figure, beside: Mapping[str, Json], before: float, threshold: float) -> float:
    """By how much a figure must change to be told."""
    if not threshold:
        return 0.0
    whole = beside.get(figure.whole, figure.of) if figure.whole else before
    share: float = threshold * abs(whole)
    return max(figure.floor, share)


def bulk(value: Json) -> int:
    """About how many characters a value takes as JSON, without making them."""
    if isinstance(value, dict):
        return 2 + sum(len(name) + 4 + bulk(part) for name, part in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + bulk(part) for part in value)
    return len(value) + 2 if isinstance(value, str) else 8
