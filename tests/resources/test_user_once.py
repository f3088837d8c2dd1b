"""A credential is judged once in each generation: with the real loop and store, crashes and retries."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.resources.user import User
from reconciler.secret import Safe, Secret
from reconciler.spec import Spec
from reconciler.status import Condition
from reconciler.store import Store
from reconciler.subjects import admission, seating
from reconciler.subjects.seating import REFUSALS, Login
from tests.resources.user_fake import PASSWORD, FakeGuest

DOCUMENT = {"user": {"name": "alice", "state": "logged-in", "credential": {"fromFile": "secrets/alice"}}}
STEPS_MAX = 50  # of one pass, which needs some ten


PLACES = ["before PAM", "after PAM", "over a lock", "after the door"]


class Killed(BaseException):
    """The agent dies here."""


@dataclass
class Disk:
    data: bytes | None = None

    def read(self) -> bytes | None:
        return self.data

    def replace(self, data: bytes) -> None:
        self.data = data

    def set_aside(self) -> None:
        raise AssertionError

    def broken(self) -> bool:
        return False


@dataclass
class Guest(FakeGuest):
    """Its agent may be killed at a place within a login."""

    killed_at: str = ""

    def check(self, user: str, tty: str, take: Callable[[], Secret] | None) -> str:
        self.pass_by("before PAM")
        said = super().check(user, tty, take)
        self.pass_by("after PAM")
        return said

    def lock(self, session: str, within_s: float) -> bool:
        self.pass_by("over a lock")
        return super().lock(session, within_s)

    def await_login(self, user: str, seat: str, known: frozenset[str], within_s: float) -> str:
        self.pass_by("after the door")
        return super().await_login(user, seat, known, within_s)

    def pass_by(self, place: str) -> None:
        if self.killed_at == place:
            self.killed_at = ""
            raise Killed


@dataclass
class World:
    """A guest, its disk, and an agent that is started anew after each death."""

    guest: Guest = field(default_factory=Guest)
    disk: Disk = field(default_factory=Disk)
    now_s: float = 1000.0
    generation: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.safe, self.kind = Safe(), User((self.guest,))
        self.kind.secrets = self.safe.of("user")
        self.loop = Loop(Setting(resources={"user": self.kind}), Store(self.disk, "boot"), str)

    def send(self, *, new: bool, password: bytes) -> None:
        self.generation += new or not self.generation
        self.loop.offer(Spec(self.generation, "sha256:0", DOCUMENT))
        self.safe.put({("user", "credential"): Secret(password)}, self.now_s, of_another=new)

    def go_on(self, passed_s: float) -> None:
        """Let time pass, and all be done that is due; the agent may be killed at it."""
        self.now_s += passed_s
        self.guest.clock_s = self.now_s
        self.safe.expire(self.now_s)
        self.loop.wake("user")
        for _ in range(STEPS_MAX):
            for job in self.loop.step(self.now_s):
                self.kind.secrets = self.safe.of("user")
                try:
                    self.loop.answer(job, job.run(), None, self.now_s)
                except ReconcilerError as error:
                    self.loop.answer(job, None, error, self.now_s)
                except Killed:
                    return self.start()
            self.now_s += 0.1

    @property
    def reason(self) -> str:
        return self.condition.reason

    @property
    def message(self) -> str:
        return self.condition.message

    @property
    def condition(self) -> Condition:
        (condition,) = self.loop.status().conditions
        return condition


steps = st.one_of(
    st.tuples(st.just("send"), st.booleans(), st.sampled_from([PASSWORD, b"wrong"])),
    st.tuples(st.just("go on"), st.sampled_from([0.1, 5.0, 40.0, 700.0]), st.none()),
    st.tuples(st.just("kill at"), st.sampled_from(PLACES), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
    st.tuples(st.just("log out"), st.none(), st.none()),
    st.tuples(st.just("broken"), st.booleans(), st.none()),
    st.tuples(st.just("deaf"), st.booleans(), st.none()),
    st.tuples(st.just("bob comes"), st.none(), st.none()),
    st.tuples(st.just("upgrade"), st.none(), st.none()),
)
BOB = Login(id="3", user="bob", seat="seat0", tty="tty1", active=True)
NEWER = {reason: f"{reason}, in other words" for reason in REFUSALS}  # as another version says it


@settings(deadline=None)
@given(story=st.lists(steps, max_size=20))
def test_whatever_happens(story: list[tuple[str, object, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        happen(World(), story, patch)


def happen(world: World, story: list[tuple[str, object, object]], patch: pytest.MonkeyPatch) -> None:
    for what, first, second in story:
        match what, first, second:
            case "send", bool(new), bytes(password):
                world.send(new=new, password=password)
            case "go on", float(passed_s), _:
                world.go_on(passed_s)
            case "kill at", str(place), _:
                world.guest.killed_at = place
            case "broken" | "deaf", bool(on), _:
                setattr(world.guest, what, on)
            case "log out", _, _:
                world.guest.held.clear()
            case "bob comes", _, _:
                world.guest.held["3"] = BOB
            case "upgrade", _, _:
                patch.setattr(admission, "REFUSALS", NEWER)
                world.start()
            case "restart", _, _:
                world.start()
        assert world.guest.judged <= world.generation
    assert PASSWORD not in (world.disk.data or b"")


def test_a_story_in_which_somebody_is_judged() -> None:
    """Or the one above would not say anything."""
    world = World()
    world.send(new=True, password=b"wrong")
    world.go_on(0.1)
    assert world.guest.judged == 1


def test_a_version_with_other_words_knows_what_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.send(new=True, password=b"wrong")
    world.go_on(0.1)
    monkeypatch.setattr(admission, "REFUSALS", NEWER)
    monkeypatch.setattr(seating, "REFUSALS", NEWER)
    world.start()
    world.send(new=False, password=PASSWORD)
    world.go_on(400.0)
    assert (world.reason, world.guest.judged) == ("WrongPassword", 1)


def test_time_passes_with_a_deaf_locker() -> None:
    world = World(Guest(held={"3": BOB}, deaf=True))
    world.send(new=True, password=PASSWORD)
    world.go_on(0.1)
    assert world.reason == "SeatBusy"
    world.go_on(40.0)
    assert world.reason == "SecretMissing"
    assert "3 (bob, seat0 tty1) has not locked" in world.message
    world.guest.deaf = False
    world.go_on(700.0)
    assert world.reason == "SecretMissing"
    assert world.guest.judged == 1


def test_a_death_between_consent_and_login_lets_nobody_in() -> None:
    world = World(Guest(held={"3": BOB}, killed_at="over a lock"))
    world.send(new=True, password=PASSWORD)
    world.go_on(0.1)
    world.go_on(0.1)
    assert world.reason == "OutcomeUnknown"
    assert set(world.guest.held) == {"3"}
    assert world.guest.judged == 1


def test_a_document_without_it_leaves_the_session() -> None:
    world = World()
    world.send(new=True, password=PASSWORD)
    world.go_on(0.1)
    world.loop.offer(Spec(2, "sha256:1", {}))
    world.go_on(700.0)
    assert world.guest.held["9"].user == "alice"


def test_a_death_after_pam_has_judged_is_not_made_up_for() -> None:
    world = World(Guest(killed_at="after PAM"))
    world.send(new=True, password=PASSWORD)
    world.go_on(0.1)
    world.go_on(0.1)
    assert world.reason == "OutcomeUnknown"
    world.send(new=False, password=PASSWORD)
    world.go_on(400.0)
    assert world.reason == "OutcomeUnknown"
    assert world.guest.judged == 1
    world.send(new=True, password=PASSWORD)
    world.go_on(0.1)
    assert world.reason == "InSync"


def test_a_death_behind_the_door_leaves_the_session() -> None:
    world = World(Guest(killed_at="after the door"))
    world.send(new=True, password=PASSWORD)
    world.go_on(0.1)
    world.go_on(0.1)
    assert world.guest.held["9"].user == "alice"
    assert world.guest.judged == 1


def test_a_refusal_outlives_the_agent() -> None:
    world = World()
    world.send(new=True, password=b"wrong")
    world.go_on(0.1)
    assert world.reason == "WrongPassword"
    world.start()
    world.go_on(0.1)
    assert world.reason == "WrongPassword"
