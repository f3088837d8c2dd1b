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
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

from reconciler.resource import Driver, Json, Resource, Watching

MERGED = frozenset({"apps", "metrics"})  # mappings by source, joined from every source


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How one item is wanted."""

    every_s: float
    threshold: float = 0.0  # the share of change that is worth telling: 0.01 is 1 %


@dataclass(frozen=True, kw_only=True)
class Desired:
    items: Mapping[str, Ask] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What is kept of one item: the value that was last sent, or why there is none."""

    read_s: float  # on the boot clock
    value: Json = None
    fault: str = ""
    unsupported: bool = False
    failures: int = 0  # in a row


@dataclass(frozen=True)
class Observed:
    boot_clock_s: float
    readings: Mapping[str, Reading] = field(default_factory=dict)


class Source(Driver, Protocol):
    """A facility of the OS from which some items can be read.

    A driver inherits from this class to be found; a test's fake only has its shape. Where
    several sources offer an item the first by module name wins, and the next is tried when
    it says Unsupported. For `apps` and `metrics` every source is read and the mappings,
    whose keys are the sources' names (`dpkg`, `textfile`), are joined.
    """

    items: ClassVar[tuple[str, ...]]
    needs: ClassVar[str]  # what a guest lacks where this is not available: "systemd on D-Bus"

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def read(self, item: str) -> Json:
        """One of `items`, now. JSON without null, in camelCase, SI units and bytes.

        Bounded in time (all sources together have `observe_deadline_s`) and in size by the
        source itself. Raises DriverError when the OS refuses just now, and Unsupported
        when this guest will never tell.
        """


@runtime_checkable
class Noticing(Watching, Protocol):
    """A source that learns of changes through its watches."""

    def noticed(self) -> Collection[str]:
        """The items that its watches, when drained, found touched; asking forgets them.

        Called from another thread than `drain`.
        """


class Report(Resource[Desired, Observed, Source], kind="report"):
    pass
