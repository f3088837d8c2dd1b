"""The guest that is not the agent: its clock, names, screens, disk, power and frozen filesystems."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from guest_runtime.lease import HELD, OVER, Lease
from reconciler.errors import DriverError
from reconciler.guarding import kernel
from reconciler.resources.filesystems import Freeze, PastFreeze
from reconciler.subjects.mounts import Mount
from tests.lamps import Crash, MemoryDisk
from tests.simulation.clock import Clock
from tests.simulation.luck import Luck

MOUNTS = (
    Mount(1, "/", "ext4", "8:1", ("vda",), 1 << 30, 1 << 20),
    Mount(2, "/data", "xfs", "8:2", ("vdb",), 1 << 30, 1 << 20),
    Mount(3, "/boot", "vfat", "8:3", ("vda",), 1 << 28, 1 << 20, why_not="vfat cannot freeze"),
)
LOCKER_S = 0.4
STOP_S = 1.0  # from the wish to reboot to the end of the old boot
START_S = 2.0  # from there to the agent
SLACK_S = 0.001


class Mishap(Exception):
    """A fault of a driver that says nothing about what was done."""


@dataclass
class Machine:
    luck: Luck
    clock: Clock
    say: Callable[[str], None]  # into the trace
    stirred: Callable[[str], None] = lambda kind: None  # an event that the agent can see
    killed: Callable[[], None] = lambda: None  # the agent is gone
    booted: Callable[[], None] = lambda: None  # the agent may start

    boots: int = 1
    booted_s: float = -100.0
    wall_s: float = 1.7e9  # what the wall clock says at the event loop's zero
    static: str = "debian"
    transient: str = "debian"
    pretty: str = ""
    stopping: bool = False
    asked: int = 0  # lockers that have not answered yet
    touched_s: float = -1.0  # when somebody's hand was last on the screens
    spent: Counter[tuple[str, str]] = field(default_factory=Counter)  # once-only acts, as they took effect
    acts: int = 0
    acting: tuple[str, str | None] = ("", None)  # kind and token of the act under way
    late: bool = False  # the call under way hung beyond its deadline; its write waits for the thaw
    unsure: set[str] = field(default_factory=set)  # kinds whose record may say begun of what was not done
    wrongs: list[str] = field(default_factory=list)
    between: Callable[[], None] = lambda: None  # lets others have their turn in the middle of a call

    def __post_init__(self) -> None:
        self.sessions = {"c1": False}  # locked
        self.disk = Disk(self)
        self.guardian = Guardian(self)

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def now_s(self) -> float:
        return self.clock.time() - self.booted_s

    def wrong(self, what: str) -> None:
        self.say(f"WRONG: {what}")
        self.wrongs.append(what)

    def point(self, where: str) -> None:
        """A place within a call where anything may happen."""
        if self.luck.strikes("crashes", 0.3):
            self.say(f"the agent dies: {where}")
            self.unsure.add(self.acting[0])
            raise Crash
        if self.luck.strikes("power-cuts", 0.15):
            self.say(f"the guest dies: {where}")
            self.unsure.add(self.acting[0])
            self.reboot()
            raise Crash
        if self.luck.troubles and self.luck.draw.random() < 0.2:
            self.between()

    def effect(self, what: str) -> None:
        """An act takes effect now."""
        kind, token = self.acting
        self.acts += 1
        self.say(f"act: {kind} {what} {token or ''}")
        if token is not None:
            self.spent[kind, token] += 1
            if self.spent[kind, token] > 1:
                self.wrong(f"{kind} did {token} twice")

    def lock(self, id: str, locked: bool) -> None:
        self.effect(f"{id} {locked}")
        self.asked += 1
        boots = self.boots

        def answered() -> None:
            self.asked -= 1
            if boots == self.boots:
                self.sessions[id] = locked
                self.stirred("session")

        self.clock.after(LOCKER_S, answered)

    def stop(self) -> None:
        self.effect("reboot")
        self.stopping, boots = True, self.boots
        self.stirred("power")
        self.clock.after(STOP_S, lambda: self.reboot() if boots == self.boots else None)

    def reboot(self) -> None:
        """Also by a power cut: nothing is asked and nothing is saved."""
        self.say("reboot")
        self.killed()
        self.boots += 1
        self.booted_s = self.clock.time() + 0.5  # a boot clock begins with the kernel
        self.stopping, self.transient = False, self.static
        self.sessions = {f"c{self.boots}": False}
        self.touched_s = self.clock.time()
        self.guardian = Guardian(self)
        boots = self.boots
        # No boot takes as long as another, so that the same revision hardly ever comes in two of them.
        start_s = START_S + (self.luck.draw.random() if self.luck.troubles else 0.0)
        self.clock.after(start_s, lambda: self.booted() if boots == self.boots else None)


class Disk(MemoryDisk):
    """What is on it survives everything; that nothing is written while it is frozen is watched."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def replace(self, data: bytes) -> None:
        machine = self._machine
        machine.point("before a write")
        if machine.guardian.frozen and not machine.late:
            machine.wrong(f"written to while frozen, for {machine.acting}")
        if machine.luck.strikes("disk"):
            raise OSError(28, "No space left on device")
        super().replace(data)
        machine.point("after a write")
        if machine.luck.strikes("disk", 0.5):
            machine.unsure.add(machine.acting[0])
            raise OSError(5, "Input/output error")  # of the folder's fsync: the new content is there


class Guardian:
    """The guardian process around the real `Lease`; it outlives the agent, and ends with the boot."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._mounts: Sequence[Mount] = ()
        self._generation = 0
        self._lease: Lease | None = None
        self._allowed_until_s = 0.0  # by the documents and renewals, counted without the product
        self.epoch = 0
        self.last: PastFreeze | None = None
        self.frozen: set[str] = set()

    def held(self) -> Freeze | None:
        lease = self._lease
        if lease is None:
            return None
        devices = tuple(mount.device for mount in self._mounts)
        paths = tuple(mount.path for mount in self._mounts)
        return Freeze(self.epoch, self._generation, lease.until_s or 0.0, devices, paths)

    def freeze(self, generation: int, lease_s: float, mounts: Sequence[Mount]) -> None:
        if self._lease is not None:
            raise DriverError("cannot freeze: another freeze is under way")
        machine = self._machine
        now_s = machine.now_s()
        lease = self._lease = Lease(lease_s, [mount.path for mount in mounts], [])
        self._mounts, self._generation = mounts, generation
        self._allowed_until_s = now_s + lease_s
        self.epoch += 1
        while step := lease.next(now_s):
            error = 95 if machine.luck.strikes("errors", 0.5) else 0
            self.frozen |= set() if error else {mounts[step[1]].path}
            lease.finish(error, now_s)
        if lease.state != HELD:
            self._settle()
            raise DriverError(lease.message)
        machine.effect(f"freeze of generation {generation} for {lease_s:g} s")
        self._watch(lease)

    def renew(self, generation: int, lease_s: float) -> tuple[int, float]:
        lease, now_s = self._lease, self._machine.now_s()
        if lease is None or generation != self._generation or not lease.renew(lease_s):
            raise DriverError(f"cannot renew: no freeze of generation {generation} holds")
        while step := lease.next(now_s):
            path = self._mounts[step[1]].path
            lease.finish(kernel.FROZEN_ALREADY if path in self.frozen else 0, now_s)
            self.frozen.add(path)
        if lease.state != HELD or lease.until_s is None:
            self._settle()
            raise DriverError("cannot renew: it is broken")
        self._allowed_until_s = max(self._allowed_until_s, now_s + lease_s)
        self._machine.say(f"renewed until {lease.until_s:g}")
        self._watch(lease)
        return self.epoch, lease.until_s

    def end(self, why: str) -> None:
        if self._lease is not None:
            self._lease.end(why)
            self._settle()

    def _watch(self, lease: Lease) -> None:
        """Look when the lease ends."""

        def look() -> None:
            over = lease.until_s is not None and self._machine.now_s() >= lease.until_s - SLACK_S
            if lease is self._lease and over:
                self.end("LeaseEnded")
                self._machine.stirred("filesystems")

        assert lease.until_s is not None
        self._machine.clock.after(max(0.0, lease.until_s - self._machine.now_s()), look)

        def judge() -> None:
            here = self is self._machine.guardian and lease is self._lease
            if here and self.frozen and self._machine.now_s() > self._allowed_until_s + SLACK_S:
                self._machine.wrong(f"frozen beyond its lease: {sorted(self.frozen)}")

        self._machine.clock.after(lease.until_s - self._machine.now_s() + 1.0, judge)

    def _settle(self) -> None:
        lease = self._lease
        assert lease is not None
        for index in lease.to_thaw():
            path = self._mounts[index].path
            lease.thawed(index, 0 if path in self.frozen else kernel.THAWED_ALREADY)
            self.frozen.discard(path)
        if lease.state == OVER:
            self.last = PastFreeze(self.epoch, self._generation, lease.ended, lease.message)
            self._machine.say(f"thawed: {lease.ended}")
            self._lease = None
