"""What reaches the driver, and what is remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from reconciler.errors import DriverError, Unsupported
from reconciler.resource import Action, Deed, Past
from reconciler.resources.filesystems import (
    Desired,
    Filesystems,
    Freezer,
    Seen,
)
from reconciler.subjects.mounts import Mount
from tests.resources.test_filesystems import FREEZE, NOTHING, THAW, TRIM, freeze, trim


@dataclass
class FakeFreezer:
    """A guest in memory: freezes at once and remembers."""

    seen: Seen = field(default_factory=lambda: NOTHING.seen)
    lease_s_max: float = 600.0
    done: list[object] = field(default_factory=list)

    @classmethod
    def available(cls) -> bool:
        return True

    def look(self) -> Seen:
        return self.seen

    def prepare(self) -> None:
        self.done.append("prepare")

    def freeze(self, generation: int, lease_s: float, mounts: Sequence[Mount]) -> None:
        self.done.append((generation, lease_s, [mount.path for mount in mounts]))

    def thaw(self) -> None:
        self.done.append("thaw")

    def renew(self, generation: int, lease_s: float) -> tuple[int, float]:
        if generation != 7:
            raise DriverError("cannot renew: no freeze of that generation holds")
        return 4, self.seen.boot_clock_s + lease_s

    def trim(self, token: str, minimum: int, mounts: Sequence[Mount]) -> None:
        self.done.append((token, minimum, [mount.path for mount in mounts]))


FREEZER: Freezer = FakeFreezer()  # holds the fake to its port, for the type checker


def test_acts_reach_the_driver() -> None:
    guest = FakeFreezer()
    kind = Filesystems(guest)
    for action in (freeze(3600.0), THAW, trim()):
        kind.act(action)
    assert guest.done == [
        (7, 600.0, ["/mnt/image", "/home", "/"]),
        "thaw",
        ("t1", 4096, ["/", "/home", "/mnt/image"]),
    ]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("/boot/efi", "cannot freeze /boot/efi: vfat cannot freeze", id="it cannot"),
        pytest.param(
            "/nowhere", "cannot freeze /nowhere: no filesystem on a disk is mounted there", id="none there"
        ),
    ],
)
def test_a_mount_that_cannot_freeze_refuses_them_all(path: str, why: str) -> None:
    guest = FakeFreezer()
    with pytest.raises(Unsupported, match=why):
        Filesystems(guest).act(freeze(mounts=["/home", path]))
    assert guest.done == []


def test_a_lease_is_renewed_up_to_the_cap() -> None:
    kind = Filesystems(FakeFreezer())
    assert kind.renew(7, 30.0) == {"epoch": 4, "remaining": 30.0}
    assert kind.renew(7, 9000.0) == {"epoch": 4, "remaining": 600.0}
    with pytest.raises(DriverError, match="at least 1 s"):
        kind.renew(7, 0.5)
    with pytest.raises(DriverError, match="of that generation"):
        kind.act(Action("renew", "filesystems", value={"generation": 6, "lease_s": 30.0}))


def test_the_past_is_observed() -> None:
    deeds = {
        "freeze@7": Deed("done", "b", 7),
        "trim@t1": Deed("refused", "b", 7),
        "trim@t2": Deed("begun", "b", 7),
    }
    past = Past(in_force=7, boot_id="b", deeds=deeds)
    observed = Filesystems(FakeFreezer()).observe(Desired(trim=TRIM), past)
    assert (observed.frozen_before, observed.trimmed) == (True, "")
    assert (
        Filesystems(FakeFreezer()).observe(Desired(trim=replace(TRIM, token="t2")), past).trimmed == "begun"
    )


@pytest.mark.parametrize(
    ("desired", "generation", "done"),
    [
        pytest.param(FREEZE, 8, ["prepare"], id="a freeze will follow"),
        pytest.param(FREEZE, 7, [], id="it was there already"),
        pytest.param(Desired(state="thawed"), 8, [], id="none will"),
    ],
)
def test_the_guardian_starts_while_the_token_is_still_being_written(
    desired: Desired, generation: int, done: list[object]
) -> None:
    guest = FakeFreezer()
    deeds = {"freeze@7": Deed("done", "b", 7)}
    Filesystems(guest).observe(desired, Past(in_force=generation, boot_id="b", deeds=deeds))
    assert guest.done == done
    Filesystems(guest).observe(desired, Past(in_force=8, deeds=deeds, preview=True))
    assert guest.done == done, "a preview starts nothing"
