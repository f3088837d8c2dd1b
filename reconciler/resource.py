"""The one abstraction: a kind of resource and its verbs.

The rules of the abstraction:

1. `observe` and `act` reach the OS, through a driver. Everything else is static,
   so it cannot, and is a pure function of what it is given.
2. Time is observed, never read: a kind that needs a clock puts it in `Observed`.
3. What was done before is observed too: `Past` is given to `observe`, and what the
   kind needs of it stands in `Observed`.
4. `diff` of what `foresee` returns for a whole plan is empty: so a plan converges,
   and a rehearsal shows what an act would have done.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args, runtime_checkable

from reconciler.errors import Unsupported
from reconciler.secret import NONE, Secrets

Json = Any  # what json.loads returns; a name, so that a reader knows that no more is known
Rules = Mapping[str, Any]  # a schema in cerberus' words


@dataclass(frozen=True)
class Change:
    """One field of one target that is not as desired."""

    target: str
    field: str
    want: object
    have: object


class Phase(IntEnum):
    """When an action runs: after all of lower phases. So kinds need not know one another."""

    RELEASE = 1  # lets the rest proceed: thaw, unlock
    CHANGE = 2  # the machine itself: its name, its clock, its processors
    PEOPLE = 3  # accounts, which own files and run programs
    CONTENT = 4  # files, which programs read as they start
    PROGRAMS = 5
    TASKS = 6  # commands, which may need all of that
    LEAVE = 7  # a session is locked or ended before another one gets its screen
    ENTER = 8
    HOLD = 9  # stops the rest from proceeding: freeze, suspend, shut down


@dataclass(frozen=True)
class Action:
    """One thing to do. Plain data: a plan prints, compares and replays."""

    verb: str
    target: str
    phase: Phase = Phase.CHANGE
    token: str | None = None  # ACT@... or ACT:..., saved before the act, which is then done at most once
    value: Json = None  # whatever else the act needs, as JSON; never a secret


@dataclass(frozen=True)
class Deed:
    """What is remembered of an action that carried a token."""

    state: Literal["begun", "done", "refused"]  # begun: nobody knows; refused: surely not done
    boot_id: str  # the boot in which it was begun
    generation: int
    message: str = ""
    reason: str = ""  # why it was refused, as the name of an error's class: DriverError

    @property
    def spent(self) -> bool:
        """Whether the act must not be done again."""
        return self.state != "refused"


@dataclass(frozen=True)
class Past:
    """What one kind has already done, as the durable store remembers it."""

    generation: int = 0  # since which the document says of this kind what it says
    in_force: int = 0  # of the document
    boot_id: str = ""  # of the boot we are in
    deeds: Mapping[str, Deed] = field(default_factory=dict)  # by token
    preview: bool = False  # for a document that is not in force: a look must leave no trace in the kind
    began_s: float = 0.0  # when `generation` came into force, on CLOCK_MONOTONIC; 0.0: in another boot

    def spent(self, token: str) -> bool:
        return token in self.deeds and self.deeds[token].spent


@dataclass(frozen=True)
class Verdict:
    """What a second look means: a condition without its bookkeeping."""

    ready: bool
    reason: str  # one CamelCase word for machines
    message: str = ""
    waiting: bool = False  # not ready, but under way: nothing failed and nothing is to be retried
    failed: bool = False  # not ready, and nothing of ours is left to do about it: the guest is degraded


@dataclass(frozen=True)
class Touch:
    """Something a document reaches for, so that the guest's policy can forbid it."""

    what: Literal["user", "path", "command"]
    name: str


@dataclass(frozen=True)
class Notice:
    """Something that happened in the guest and is worth telling the host once."""

    reason: str  # one CamelCase word: SessionLocked
    message: str


class Driver(Protocol):
    """One facility of the OS. Mechanism only: a driver never decides."""

    @classmethod
    def available(cls) -> bool:
        """Whether this guest has the facility."""


class Watch(Protocol):
    """Wake-ups from the OS: a descriptor that turns readable when a look is worth its while."""

    def fileno(self) -> int: ...

    def drain(self) -> bool:
        """Take in what has come, without blocking; whether the kind should look."""


@runtime_checkable
class Watching(Protocol):
    """A driver that notices changes by itself."""

    def watches(self) -> Sequence[Watch]: ...


@runtime_checkable
class Cancellable(Protocol):
    """A driver whose call in another thread can be cut short."""

    def cancel(self) -> None:
        """Make the running call fail soon. Must not block."""


@runtime_checkable
class Preparing(Protocol):
    """A driver that is faster after a warning that it will be needed."""

    def prepare(self) -> None:
        """Get ready. Must not block, must change nothing that a person could notice."""


DesiredT = TypeVar("DesiredT")
ObservedT = TypeVar("ObservedT")
DriverT = TypeVar("DriverT", bound=Driver)


class Resource(ABC, Generic[DesiredT, ObservedT, DriverT]):
    """One kind: how it is written, seen, compared, brought about and shown.

    A subclass says what it is in its class line:
    `class Hostname(Resource[Desired, Observed, Port], kind="hostname")`.
    `Desired()` without arguments must mean "not managed": it lets go and changes nothing.
    """

    kinds: ClassVar[dict[str, type["Resource[Any, Any, Any]"]]] = {}

    # Set by the class line.
    kind: ClassVar[str]
    desired: ClassVar[type]
    port: ClassVar[type[Driver]]

    # How it is written.
    rules: ClassVar[Rules]  # cerberus: the fields of the long form
    short: ClassVar[Rules | None] = None  # cerberus: the rule of the short form
    summary: ClassVar[str]  # one sentence for `explain`

    # How it is kept.
    verbs: ClassVar[frozenset[str]] = frozenset()  # of all actions that it may plan; a policy names them
    enforce: ClassVar[Literal["always", "once"]] = "always"
    several: ClassVar[bool] = False  # takes a tuple of every available driver, not the first
    earliest: ClassVar[Phase] = Phase.RELEASE  # of all that it may plan; what is later waits for its look
    ends_all: ClassVar[bool] = False  # its holds leave nothing to hold: no other begins before them
    awaited: ClassVar[bool] = False  # an act of its is over for other kinds once the verdict is not `waiting`
    section: ClassVar[Literal["observed", "inventory"]] = "observed"
    observe_deadline_s: ClassVar[float] = 5.0  # D-Bus and procfs answer in milliseconds
    act_deadline_s: ClassVar[float] = 30.0

    def __init_subclass__(cls, *, kind: str) -> None:
        assert kind not in Resource.kinds, f"kind declared twice: {kind}"
        Resource.kinds[kind] = cls
        cls.kind = kind
        # The type arguments are the declaration; say them once.
        cls.desired, _, cls.port = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]

    def __init__(self, driver: Any) -> None:
        self.driver = driver  # DriverT, or a tuple of them where `several`
        self.secrets: Secrets = NONE  # those of the document that the call under way is for

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        """The long form of a short form that `short` has let pass."""
        raise AssertionError(f"no short form: {short!r}")

    @staticmethod
    @abstractmethod
    def parse(normal: Mapping[str, Json]) -> Any:
        """The normal form of this kind, validated, as `Desired`."""

    @abstractmethod
    def observe(self, desired: DesiredT, past: Past) -> ObservedT:
        """Read the guest: all that `desired` asks about, with the clock and the past."""

    @staticmethod
    def diff(desired: Any, observed: Any) -> tuple[Change, ...]:
        return ()

    @staticmethod
    def plan(desired: Any, changes: Sequence[Change]) -> tuple[Action, ...]:
        return ()

    @staticmethod
    def foresee(observed: Any, action: Action) -> Any:
        """What would be observed once `action` had succeeded. Raises Unsupported where it could not."""
        return observed

    @classmethod
    def foresee_all(cls, observed: Any, actions: Iterable[Action]) -> Any:
        """What would be observed after all of them, but for those that fit no more, as their disk is gone."""
        for action in actions:
            with suppress(Unsupported):
                observed = cls.foresee(observed, action)
        return observed

    @staticmethod
    def holding(observed: Any) -> bool:
        """Whether every other kind must keep still, as while filesystems are frozen."""
        return False

    @staticmethod
    def verdict(desired: Any, observed: Any, changes: Sequence[Change]) -> Verdict:
        if changes:
            return Verdict(False, "Drifted", ", ".join(f"{c.target}: {c.field}" for c in changes))
        return Verdict(True, "InSync")

    @staticmethod
    def insists(desired: Any, observed: Any) -> bool:
        """Whether drift is repaired right now although this kind is enforced once."""
        return False

    @staticmethod
    def due_s(desired: Any, observed: Any) -> float | None:
        """When, on the boot clock, the next look is needed even if nothing wakes us."""
        return None

    @staticmethod
    def show(observed: Any) -> Json:
        """What the host is told: JSON without null, the same as long as nothing worth telling changed."""
        return {}

    @staticmethod
    def notices(before: Any, after: Any) -> tuple[Notice, ...]:
        """What happened between two looks that the host should hear of once."""
        return ()

    @staticmethod
    def touches(desired: Any) -> tuple[Touch, ...]:
        return ()

    def act(self, action: Action) -> None:
        raise AssertionError(f"unplanned: {action}")

    def drivers(self) -> tuple[Driver, ...]:
        return self.driver if type(self).several else (self.driver,)
