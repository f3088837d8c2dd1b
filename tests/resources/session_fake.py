"""A guest's sessions in memory, whose clock a test owns; lockers in it answer, late or never."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reconciler.errors import DriverError
from reconciler.resources.session import Sessions
from reconciler.subjects.logins import Login, Station

NOW = "2026-03-01T12:00:00Z"


@dataclass
class FakeSessions:
    """Fills the port."""

    held: dict[str, Login] = field(default_factory=dict)
    now_s: float = 1000.0  # of every clock in it
    locker_s: float = 0.0  # until one answers
    deaf: frozenset[str] = frozenset()  # sessions whose lockers never do
    refused: frozenset[str] = frozenset()  # sessions of which logind says that they cannot
    heard: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[float, str, bool]] = field(default_factory=list)  # to come: when, whose, locked
    at: Callable[[str], None] = lambda step: None  # before and after each call

    @classmethod
    def available(cls) -> bool:
        return True

    def clocks(self) -> tuple[float, str]:
        return self.now_s, NOW

    def station(self) -> Station:
        return Station()

    def sessions(self) -> tuple[Login, ...]:
        self.at("before sessions")
        found = tuple(self.held.values())
        self.at("after sessions")
        return found

    def lock(self, session: str) -> None:
        self._hear("lock", session, locked=True)

    def unlock(self, session: str) -> None:
        self._hear("unlock", session, locked=False)

    def end(self, session: str) -> None:
        self.at("before end")
        self.heard.append(("end", session))
        self.held.pop(session, None)
        self.at("after end")

    def come(self, login: Login) -> None:
        self.held[login.id] = replace(login, since_s=self.now_s)

    def answer(self) -> bool:
        """Have the lockers say what they are to say by now; whether any did."""
        due = [answer for answer in self.answers if answer[0] <= self.now_s]
        for answer in due:
            self.answers.remove(answer)
            _, session, locked = answer
            if session in self.held:
                self.held[session] = replace(self.held[session], locked=locked)
        return bool(due)

    def _hear(self, verb: str, session: str, *, locked: bool) -> None:
        self.at(f"before {verb}")
        if session in self.refused:
            raise DriverError(f"cannot {verb} {session}: it has no screen")
        self.heard.append((verb, session))
        if session not in self.deaf:
            self.answers.append((self.now_s + self.locker_s, session, locked))
            self.answer()
        self.at(f"after {verb}")


SESSIONS: Sessions = FakeSessions()  # holds it to the port, for the type checker
