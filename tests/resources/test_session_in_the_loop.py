"""Sessions through the real loop: slow lockers, people who come later, an agent that is killed."""

from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.errors import ReconcilerError
from reconciler.loop import Job, Loop, Setting
from reconciler.resource import Json
from reconciler.resources.session import CONFIRM_S, Session
from reconciler.store import Store
from reconciler.subjects.logins import Login
from tests.lamps import Crash, Lamps, MemoryDisk, lamp, written
from tests.resources.session_fake import FakeSessions

ALICE = Login(id="2", user="alice", seat="seat0", tty="tty2", type="wayland")
EVE = Login(id="3", user="eve", type="x11")  # a screen at no seat
BOB = Login(id="9", user="bob", seat="seat0", tty="tty3")
CAROL = Login(id="10", user="carol", seat="seat0", tty="tty4")
FREEZE = {"frozen": True}
CAME, DEAF = "9 (bob, seat0 tty3) came since", "asked, and no locker answered"
STEPS_MAX = 200  # of a life: far more than there are


class Guest:
    """What outlives an agent, and the agent; a lamp lets users in, another one freezes."""

    def __init__(self, *logins: Login, **fake: Any) -> None:
        self.sessions = FakeSessions(**fake)
        for login in logins:
            self.sessions.come(login)
        self.sessions.now_s += 1
        self.users, self.mounts = Lamps(), Lamps()
        self.users.at_act = self.let_in
        self.disk = MemoryDisk()
        self.start()

    def start(self) -> None:
        kinds = {"doors": lamp("doors", self.users), "disks": lamp("disks", self.mounts)}
        self.store = Store(self.disk, "boot-1", lambda: self.sessions.now_s)
        setting = Setting(resources={"session": Session(self.sessions), **kinds})
        self.loop = Loop(setting, self.store, lambda time_s: f"{time_s:g}")

    def offer(self, generation: int, **normal: Mapping[str, Json]) -> None:
        self.loop.offer(written(generation, **normal))

    def let_in(self) -> None:
        self.sessions.now_s += 0.01  # no login is as fast as the look before it
        self.sessions.come(CAROL if self.users.acts[-1].value == "enter@2" else BOB)

    def live(self, seconds: float) -> None:
        end_s = self.sessions.now_s + seconds
        for _ in range(10_000):
            jobs = self.loop.step(self.sessions.now_s)
            for job in jobs:
                self.finish(job)
            if not jobs:
                if self.sessions.now_s >= end_s:
                    return
                times = [time_s for time_s, _, _ in self.sessions.answers]
                self.sessions.now_s = min([end_s, max(self.sessions.now_s, self.loop.next_s()), *times])
            if self.sessions.answer():
                self.loop.wake("session")
        raise AssertionError("it never comes to rest")

    def finish(self, job: Job) -> None:
        result, error = None, None
        try:
            result = job.run()
        except ReconcilerError as failure:
            error = failure
        self.loop.answer(job, result, error, self.sessions.now_s)

    def condition(self) -> tuple[str, str, str]:
        [found] = [c for c in self.loop.status().conditions if c.type == "session"]
        return found.status, found.reason, found.message

    def locked(self, login: Login) -> bool:
        return self.sessions.held[login.id].locked


@pytest.mark.parametrize(
    ("how", "after_s", "locked"),
    [
        pytest.param({"locker_s": 1.0}, 1.0, True, id="a locker that draws for a second"),
        pytest.param({"deaf": frozenset("2")}, CONFIRM_S, False, id="one that never answers"),
    ],
)
def test_what_holds_waits_for_the_lock_and_not_for_the_wish(
    how: dict[str, Any], after_s: float, locked: bool
) -> None:
    guest = Guest(ALICE, **how)
    seen: list[tuple[float, bool]] = []
    began_s = guest.sessions.now_s
    guest.mounts.at_act = lambda: seen.append((guest.sessions.now_s - began_s, guest.locked(ALICE)))
    guest.offer(1, session={"state": "locked"}, disks=FREEZE)
    guest.live(2 * CONFIRM_S)
    [(when_s, was_locked)] = seen
    assert after_s <= when_s < after_s + 1
    assert was_locked is locked


@pytest.mark.parametrize(
    ("state", "how", "message"),
    [
        pytest.param("locked", {"locker_s": 1.0}, f"2 sessions locked; {CAME}", id="lock"),
        pytest.param("locked", {"deaf": frozenset("3")}, f"{DEAF}: 3 (eve, x11)", id="one is deaf"),
        pytest.param("ended", {}, f"no session; {CAME}", id="end"),
    ],
)
def test_whom_the_document_lets_in_it_does_not_lock_out(
    state: str, how: dict[str, Any], message: str
) -> None:
    guest = Guest(ALICE, EVE, **how)
    guest.offer(1, session={"state": state}, doors={"enter": True})
    guest.live(2 * CONFIRM_S)
    guest.start()  # nor after a restart
    guest.live(100)
    assert guest.condition()[2] == message
    assert not guest.locked(BOB)
    assert {target for _, target in guest.sessions.heard} == {"2", "3"}


def test_who_comes_after_is_meant_when_the_document_is_given_anew() -> None:
    guest = Guest(ALICE)
    guest.offer(1, session={"state": "locked"}, doors={"enter": True})
    guest.live(1)
    guest.offer(2, session={"state": "locked"}, doors={"enter": True})
    guest.live(1)
    assert guest.condition() == ("True", "InSync", "2 sessions locked")


def test_one_that_cannot_be_asked_keeps_no_other_open() -> None:
    guest = Guest(EVE, ALICE, refused=frozenset("3"))
    guest.offer(1, session={"state": "locked"})
    guest.live(5)
    assert guest.locked(ALICE)
    assert guest.condition() == ("False", "DriverError", "cannot lock 3: it has no screen")
    guest.sessions.refused = frozenset()
    guest.live(400)
    assert guest.condition() == ("True", "InSync", "2 sessions locked")


DOCUMENTS: list[dict[str, Any]] = [
    {"session": {"state": "locked"}, "doors": {"enter_ring": "enter@1"}},
    {"session": {"state": "unlocked", "id": "2"}},
    {"session": {"state": "ended"}, "doors": {"enter_ring": "enter@2"}},
]


class Mortal:
    """A life with three documents, whose agent dies at one step."""

    def __init__(self, dies_at: int) -> None:
        self.dies_at, self.steps = dies_at, list[str]()
        self.guest = Guest(ALICE, EVE, locker_s=0.5)
        self.guest.sessions.at = self.step
        self.guest.disk.before = lambda: self.step("before save")
        self.guest.disk.after = lambda: self.step("after save")
        self.after: list[dict[str, bool]] = []  # who is there after each document, and locked or not

    def step(self, what: str) -> None:
        self.steps.append(what)
        if len(self.steps) == self.dies_at:
            raise Crash

    def live(self) -> None:
        for number, document in enumerate(DOCUMENTS, 1):
            try:
                self.bring(number, document)
            except Crash:
                self.guest.start()
                self.bring(number, document)  # the host sees that it is not in force, or is the same
            self.after.append({id: login.locked for id, login in self.guest.sessions.held.items()})

    def bring(self, number: int, document: dict[str, Any]) -> None:
        self.guest.offer(number, **document)
        self.guest.live(CONFIRM_S)
        assert self.guest.condition()[:2] == ("True", "InSync")


def test_killed_at_any_step() -> None:
    whole = Mortal(0)
    whole.live()
    assert whole.after == [
        {"2": True, "3": True, "9": False},
        {"2": False, "3": True, "9": False},
        {"10": False},
    ]
    steps = {f"{when} {call}" for when in ("before", "after") for call in ("lock", "unlock", "end", "save")}
    assert steps < set(whole.steps)
    assert len(whole.steps) < STEPS_MAX
    for number in range(1, len(whole.steps) + 1):
        life = Mortal(number)
        life.live()
        where = f"killed at step {number}, {life.steps[number - 1]}"
        for after, wanted in zip(life.after, whole.after, strict=True):
            # Of a login that was begun and not done nobody makes another attempt.
            came = {id: locked for id, locked in wanted.items() if id in after or id in ("2", "3")}
            assert after == came, where
        asked = life.guest.sessions.heard
        assert max(asked.count(ask) for ask in asked) <= 2, where
