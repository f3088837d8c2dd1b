"""The life of a freeze, whatever happens in whatever order."""

import errno
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_runtime.lease import ENTERING, HELD, HOOK, LEAVING, OVER, Lease

MOUNTS = ("/loop", "/home", "/")
HOOKS = ("10-db", "20-web")


@dataclass
class Guest:
    """Filesystems and hooks that do as real ones do, and a clock that is owned."""

    hooks: tuple[str, ...] = HOOKS
    refusing: frozenset[str] = frozenset()  # hooks and mounts that fail
    now_s: float = 100.0
    frozen: set[int] = field(default_factory=set)
    ran: list[str] = field(default_factory=list)
    lease: Lease = field(init=False)
    step: tuple[str, int, str] | None = None  # under way
    returned: int | str = 0  # of that step

    def __post_init__(self) -> None:
        self.lease = Lease(60.0, MOUNTS, self.hooks)

    def begin(self) -> None:
        """Start what is to be done; the kernel does it at once and takes its time to return."""
        self.thaw()
        step = self.lease.next(self.now_s)
        if step is None:
            return
        self.step = step
        what, index, verb = step
        if what == HOOK:
            self.ran.append(f"{self.hooks[index]} {verb}")
            self.returned = "it failed" if f"{self.hooks[index]} {verb}" in self.refusing else ""
        elif MOUNTS[index] in self.refusing:
            self.returned = errno.EIO
        else:
            self.returned = errno.EBUSY if index in self.frozen else 0
            self.frozen.add(index)

    def finish(self) -> None:
        if self.step is not None:
            self.step = None
            self.lease.finish(self.returned, self.now_s)

    def thaw(self) -> None:
        for index in self.lease.to_thaw():
            self.lease.thawed(index, 0 if index in self.frozen else errno.EINVAL)
            self.frozen.discard(index)

    def drain(self) -> None:
        """Go on until nothing is left to do."""
        for _ in range(100):
            self.begin()
            if self.step is None:
                return
            self.finish()
        raise AssertionError("it does not come to rest")


def held(hooks: tuple[str, ...] = ()) -> Guest:
    guest = Guest(hooks)
    guest.drain()
    assert guest.lease.state == HELD
    return guest


def test_hooks_then_all_filesystems_and_back() -> None:
    guest = held(HOOKS)
    assert guest.frozen == {0, 1, 2}
    assert guest.lease.until_s == 160.0
    assert guest.ran == ["10-db freeze", "20-web freeze"]
    guest.lease.end("Thawed")
    guest.drain()
    assert guest.lease.state == OVER
    assert guest.frozen == set()
    assert guest.ran[2:] == ["20-web thaw", "10-db thaw"]
    assert guest.lease.ended == "Thawed"


def test_the_backing_filesystem_thaws_before_its_loop_mount() -> None:
    guest = held()
    guest.lease.end("Thawed")
    assert guest.lease.to_thaw() == [2, 1, 0]


def test_the_lease_begins_with_the_first_filesystem_not_with_the_hooks() -> None:
    guest = Guest()
    guest.begin()
    guest.now_s += 20
    guest.finish()
    guest.drain()
    assert guest.lease.until_s == 180.0


@pytest.mark.parametrize(
    ("refusing", "message", "ran"),
    [
        pytest.param("/home", "cannot freeze /home: Input/output error", 4, id="a filesystem"),
        pytest.param("20-web freeze", "cannot freeze: it failed", 3, id="the second hook"),
        pytest.param("10-db freeze", "cannot freeze: it failed", 1, id="the first hook"),
    ],
)
def test_a_refusal_lets_all_go(refusing: str, message: str, ran: int) -> None:
    guest = Guest(refusing=frozenset({refusing}))
    guest.drain()
    assert guest.frozen == set()
    assert (guest.lease.state, guest.lease.ended, guest.lease.message) == (OVER, "Refused", message)
    assert len(guest.ran) == ran
    assert "20-web thaw" not in guest.ran or "20-web freeze" in guest.ran[:-1]


def test_what_freezes_after_the_end_thaws_at_once() -> None:
    guest = Guest(hooks=())
    guest.begin()
    guest.finish()
    guest.begin()  # and /home takes its time
    guest.lease.end("LeaseEnded")
    guest.thaw()
    assert guest.frozen == {1}
    assert not guest.lease.let_go
    guest.finish()
    guest.thaw()
    assert guest.frozen == set()
    assert guest.lease.state == OVER


def test_a_renewal_begins_the_lease_anew() -> None:
    guest = held()
    guest.now_s = 150.0
    assert guest.lease.renew(30.0)
    assert guest.lease.renewing
    assert guest.lease.until_s == 160.0  # until all are seen to be frozen still
    guest.drain()
    assert guest.lease.until_s == 180.0
    assert not guest.lease.renewing


def test_nothing_is_renewed_that_does_not_hold() -> None:
    assert not Guest().lease.renew(30.0)
    guest = held()
    guest.lease.end("LeaseEnded")
    assert not guest.lease.renew(30.0)


def test_a_renewal_finds_what_somebody_else_has_thawed() -> None:
    guest = held()
    guest.frozen.discard(1)
    guest.lease.renew(30.0)
    guest.drain()
    assert guest.lease.ended == "Broken"
    assert guest.lease.message == "/home was thawed by somebody else"
    assert guest.frozen == set()


def test_the_end_finds_what_somebody_else_has_thawed() -> None:
    guest = held()
    guest.frozen.discard(2)
    guest.lease.end("LeaseEnded")
    guest.drain()
    assert (guest.lease.ended, guest.lease.state) == ("Broken", OVER)


def test_a_thaw_that_is_refused_is_tried_again() -> None:
    guest = held()
    guest.lease.end("Thawed")
    for index in guest.lease.to_thaw():
        guest.lease.thawed(index, errno.EIO if index == 0 else 0)
    assert guest.lease.to_thaw() == [0]
    assert guest.lease.state == LEAVING
    guest.lease.thawed(0, 0)
    assert guest.lease.state == OVER


def test_the_first_end_counts() -> None:
    guest = held()
    guest.lease.end("AgentDied")
    guest.lease.end("Thawed")
    assert guest.lease.ended == "AgentDied"


def test_faults_of_second_halves_are_told() -> None:
    guest = Guest(refusing=frozenset({"20-web thaw"}))
    guest.drain()
    guest.lease.end("Thawed")
    guest.drain()
    assert guest.lease.faults == ["it failed"]
    assert guest.ran[-1] == "10-db thaw"


events = st.lists(
    st.one_of(
        st.sampled_from(["begin", "finish", "thaw", "Thawed", "LeaseEnded", "AgentDied", "renew"]),
        st.integers(0, 2),  # somebody else thaws this mount
    ),
    max_size=40,
)
refusals = st.frozensets(
    st.sampled_from([*MOUNTS, *(f"{hook} {verb}" for hook in HOOKS for verb in ("freeze", "thaw"))])
)


@given(events, refusals)
def test_whatever_happens_nothing_stays_frozen_and_every_hook_is_undone(
    happening: list[str | int], refusing: frozenset[str]
) -> None:
    guest = Guest(refusing=refusing)
    meddled = False
    for event in happening:
        if isinstance(event, int):
            meddled = meddled or event in guest.frozen
            guest.frozen.discard(event)
        elif event in ("begin", "finish", "thaw"):
            getattr(guest, event)()
        elif event == "renew":
            guest.lease.renew(30.0)
        else:
            guest.lease.end(event)
        if guest.lease.state == HELD and not meddled:
            assert guest.frozen == {0, 1, 2}
        if guest.lease.state == ENTERING:
            assert guest.frozen <= {0, 1, 2}
    guest.finish()
    guest.lease.end("AgentDied")
    guest.drain()
    assert guest.lease.state == OVER
    assert guest.frozen == set()
    for hook in HOOKS:
        succeeded = f"{hook} freeze" in guest.ran and f"{hook} freeze" not in refusing
        assert guest.ran.count(f"{hook} thaw") == int(succeeded)
        assert guest.ran.count(f"{hook} freeze") <= 1
