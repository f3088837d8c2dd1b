"""Drivers over the simulated machine, with what can go wrong in a call."""

from collections.abc import Sequence
from typing import Any, ClassVar

from reconciler.errors import DriverError
from reconciler.resource import Action, Json, Resource
from reconciler.resources import filesystems, hostname, power
from reconciler.subjects.logins import Login, Station
from reconciler.subjects.mounts import Mount
from tests.simulation.machine import MOUNTS, Machine, Mishap


class _Driver:
    """Fails before an act, which is then not done, or after it, when nobody knows."""

    def __init__(self, machine: Machine) -> None:
        self.guest = machine

    @classmethod
    def available(cls) -> bool:
        return True

    def look_begins(self) -> None:
        if self.guest.luck.strikes("errors", 0.5):
            raise DriverError("cannot look: no answer from the bus")

    def act_begins(self) -> None:
        self.guest.point("before an act")
        if self.guest.luck.strikes("errors"):
            raise DriverError("cannot act: refused for now")

    def act_ended(self) -> None:
        self.guest.point("after an act")
        if self.guest.luck.strikes("errors", 0.5):
            raise Mishap("the answer was lost")


class Names(_Driver):
    def names(self) -> hostname.Observed:
        self.look_begins()
        guest = self.guest
        return hostname.Observed(static=guest.static, transient=guest.transient, pretty=guest.pretty)

    def set(self, name: hostname.Name, value: str) -> None:
        self.act_begins()
        self.guest.effect(f"{name} {value}")
        setattr(self.guest, name, value)
        if name == "static":
            self.guest.transient = value
        self.act_ended()


class Screens(_Driver):
    def station(self) -> Station:
        return Station()

    def clocks(self) -> tuple[float, str]:
        # Nothing here depends on the wall clock; what it says must not matter.
        return self.guest.now_s(), f"2026-01-31T18:00:{int(self.guest.wall_s) % 60:02}Z"

    def sessions(self) -> tuple[Login, ...]:
        self.look_begins()
        return tuple(
            Login(id=id, user="alice", seat="seat0", type="wayland", locked=locked)
            for id, locked in self.guest.sessions.items()
        )

    def lock(self, session: str) -> None:
        self._ask(session, True)

    def unlock(self, session: str) -> None:
        self._ask(session, False)

    def end(self, session: str) -> None:
        raise AssertionError("no document asks for that")

    def _ask(self, id: str, locked: bool) -> None:
        self.act_begins()
        self.guest.lock(id, locked)
        self.act_ended()


class Switch(_Driver):
    def boot_clock_s(self) -> float:
        return self.guest.now_s()

    def machine(self) -> power.Machine:
        self.look_begins()
        return power.Machine(
            boot_id=self.guest.boot_id,
            booted_at="2026-01-31T18:00:00Z",
            state="shutting-down" if self.guest.stopping else "running",
            able=frozenset({"off", "reboot"}),
        )

    def bring(self, verb: power.Verb, *, message: str, heed: bool, deadline_s: float | None) -> None:
        assert verb == "reboot", "no document asks for anything else"
        self.act_begins()
        self.guest.stop()
        self.act_ended()


class Freezer(_Driver):
    lease_s_max = 600.0

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._trimmed: dict[str, Json] = {}

    def prepare(self) -> None:
        pass

    def look(self) -> filesystems.Seen:
        guardian = self.guest.guardian
        self.look_begins()
        return filesystems.Seen(
            boot_clock_s=self.guest.now_s(),
            mounts=MOUNTS,
            epoch=guardian.epoch,
            freeze=guardian.held(),
            last=guardian.last,
            trimmed=self._trimmed,
        )

    def freeze(self, generation: int, lease_s: float, mounts: Sequence[Mount]) -> None:
        self.act_begins()
        self.guest.guardian.freeze(generation, lease_s, mounts)
        self.act_ended()

    def thaw(self) -> None:
        self.act_begins()
        self.guest.guardian.end("Thawed")
        self.act_ended()

    def renew(self, generation: int, lease_s: float) -> tuple[int, float]:
        self.look_begins()
        return self.guest.guardian.renew(generation, lease_s)

    def trim(self, token: str, minimum: int, mounts: Sequence[Mount]) -> None:
        self.act_begins()
        self.guest.effect("trim")
        self._trimmed = {"token": token, "trimmed": {mount.path: 0 for mount in mounts}}
        self.act_ended()


class Memory(_Driver):
    items: ClassVar[tuple[str, ...]] = ("memory",)
    needs: ClassVar[str] = "memory"

    def boot_clock_s(self) -> float:
        return self.guest.now_s()

    def read(self, item: str) -> Json:
        self.look_begins()
        # A leak, so that the inventory has something to say now and then.
        used = (int(self.guest.now_s()) // 4) << 24
        return {"total": 1 << 33, "free": (1 << 33) - used}


def resources(machine: Machine) -> dict[str, Resource[Any, Any, Any]]:
    """The real kinds, whose acts are counted by their tokens."""
    drivers: dict[str, object] = {
        "filesystems": Freezer(machine),
        "hostname": Names(machine),
        "power": Switch(machine),
        "report": (Memory(machine),),
        "session": Screens(machine),
    }
    made = {kind: Resource.kinds[kind](drivers[kind]) for kind in machine.luck.kinds}
    for resource in made.values():
        _count(resource, machine)
    return made


def _count(resource: Resource[Any, Any, Any], machine: Machine) -> None:
    act = resource.act

    def counted(action: Action) -> None:
        machine.acting = (resource.kind, action.token)
        try:
            act(action)
        except DriverError:
            machine.unsure.add(resource.kind)  # should the agent die before it has saved that
            raise

    resource.act = counted  # type: ignore[method-assign]
