"""A guest in memory that people log in to, held to the ports of the kind `user`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.secret import Secret
from reconciler.subjects.seating import Door, Entry, Login

CONSOLE = Door(way="agetty", seat="seat0", tty="tty2")
PASSWORD = b"correct horse"


@dataclass
class FakeGuest:
    """A guest in memory with one way in; the password of everybody is PASSWORD."""

    name: ClassVar[str] = "agetty"
    held: dict[str, Login] = field(default_factory=dict)
    open: tuple[Door, ...] = (CONSOLE,)
    answer: str = "ok"
    broken: bool = False  # the door
    deaf: bool = False  # the lockers
    comes_undone: bool = False  # a lock, as soon as it is there
    ends_in_s: float = 0.0  # a session that is told to
    judged: int = 0  # credentials that PAM has seen
    heard: list[tuple[str, str]] = field(default_factory=list)
    passwordless: tuple[str, ...] = ()
    clock_s: float = 1000.0
    ids: int = 8

    @classmethod
    def available(cls) -> bool:
        return True

    def now_s(self) -> float:
        return self.clock_s

    def doors(self) -> tuple[Door, ...]:
        self.heard.append(("doors", ""))
        return self.open

    @property
    def did(self) -> list[tuple[str, str]]:
        """What it heard, but for looks."""
        return [heard for heard in self.heard if heard[0] != "doors"]

    def logins(self, user: str) -> tuple[Login, ...]:
        return tuple(self.held.values())

    def trusted(self, user: str) -> bool:
        return user in self.passwordless

    def lock(self, session: str, within_s: float) -> bool:
        self.heard.append(("lock", session))
        if not self.deaf:
            self.held[session] = replace(self.held[session], locked=not self.comes_undone)
        return not self.deaf

    def end(self, session: str, within_s: float) -> None:
        self.heard.append(("end", session))
        self.clock_s += min(within_s, self.ends_in_s)
        del self.held[session]

    def activate(self, session: str) -> None:
        self.heard.append(("activate", session))
        self.held = {id: replace(login, active=id == session) for id, login in self.held.items()}

    def await_login(self, user: str, seat: str, known: frozenset[str], within_s: float) -> str:
        mine = [login for login in self.held.values() if (login.user, login.seat) == (user, seat)]
        return next((login.id for login in mine if login.id not in known), "")

    def check(self, user: str, tty: str, take: Callable[[], Secret] | None) -> str:
        if self.answer != "ok" or take is None:
            return self.answer
        with take() as secret:
            self.judged += 1
            return "ok" if secret.data == PASSWORD else "WrongPassword"

    def enter(self, entry: Entry) -> None:
        self.heard.append(("enter", entry.user))
        if self.broken:
            raise DriverError("cannot open the door: it is stuck")
        self.ids += 1
        id, door = str(self.ids), entry.door
        kind = "wayland" if door.graphical else "tty"
        self.held = {of: replace(login, active=False) for of, login in self.held.items()}
        self.held[id] = Login(id=id, user=entry.user, seat=door.seat, tty=door.tty, type=kind, active=True)
