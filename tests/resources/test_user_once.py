"""A credential is judged once in each generation: with the real loop and store, crashes and retries."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.resources.user import User
from reconciler.secret import Safe, Secret
from reconciler.spec import Spec
from reconciler.store import Store
from tests.resources.user_fake import PASSWORD, FakeGuest

DOCUMENT = {"user": {"name": "alice", "state": "logged-in", "credential": {"fromFile": "secrets/alice"}}}
STEPS_MAX = 50  # of one pass, which needs some ten


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
        (condition,) = self.loop.status().conditions
        return condition.reason


steps = st.one_of(
    st.tuples(st.just("send"), st.booleans(), st.sampled_from([PASSWORD, b"wrong"])),
    st.tuples(st.just("go on"), st.sampled_from([0.1, 5.0, 40.0, 700.0]), st.none()),
    st.tuples(st.just("kill at"), st.sampled_from(["before PAM", "after PAM", "after the door"]), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
    st.tuples(st.just("log out"), st.none(), st.none()),
    st.tuples(st.just("break"), st.booleans(), st.none()),
)


@settings(deadline=None)
@given(story=st.lists(steps, max_size=20))
def test_whatever_happens(story: list[tuple[str, object, object]]) -> None:
    world = World()
    for what, first, second in story:
        match what, first, second:
            case "send", bool(new), bytes(password):
                world.send(new=new, password=password)
            case "go on", float(passed_s), _:
                world.go_on(passed_s)
            case "kill at", str(place), _:
                world.guest.killed_at = place
            case "break", bool(broken), _:
                world.guest.broken = broken
            case "log out", _, _:
                world.guest.held.clear()
            case "restart", _, _:
                world.start()
        assert world.guest.judged <= world.generation
    assert PASSWORD not in (world.disk.data or b"")


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
