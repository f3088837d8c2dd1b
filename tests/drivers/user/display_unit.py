"""A systemd that is made up and knows one unit, held to org.freedesktop.systemd1(5)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.bus import Refusal, Reply

PATH = "/org/freedesktop/systemd1"


@dataclass
class FakeUnit:
    name: str
    state: str = "active"
    job: int = 0
    refuses: str = ""  # an error's text for whoever starts a unit
    started: list[tuple[Any, ...]] = field(default_factory=list)
    silent: bool = False
    on_start: Callable[[], object] = lambda: None

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if self.silent:
            return None
        if method == "GetUnit":
            if body[0] != self.name:
                raise Refusal("org.freedesktop.systemd1.NoSuchUnit", f"Unit {body[0]} not loaded.")
            return "o", (f"{PATH}/unit/one",)
        if method == "GetAll":
            job = f"{PATH}/job/{self.job}" if self.job else "/"
            return "a{sv}", ({"ActiveState": ("s", self.state), "Job": ("(uo)", (self.job, job))},)
        assert method == "StartTransientUnit"
        if self.refuses:
            raise Refusal("org.freedesktop.DBus.Error.InvalidArgs", self.refuses)
        self.started.append(body)
        self.on_start()
        return "o", (f"{PATH}/job/1",)
