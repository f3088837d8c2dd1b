"""A made-up systemd on a bus of our own, for the driver's tests."""

import threading
from dataclasses import dataclass, field
from typing import Any

from reconciler.subjects.units import object_path
from tests.bus import FakeProgram, Refusal, Reply

NAME = "org.freedesktop.systemd1"
ROOT = "/org/freedesktop/systemd1"
JOB = f"{ROOT}/job/7"


@dataclass
class FakeUnit:
    active: str = "inactive"
    sub: str = "dead"
    file: str = "disabled"
    load: str = "loaded"
    job: str = ""
    triggered_by: list[str] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)
    conditions: list[tuple[str, bool, bool, str, int]] = field(default_factory=list)
    more: dict[str, tuple[str, Any]] = field(default_factory=dict)  # of its type

    def properties(self, id: str) -> dict[str, tuple[str, Any]]:
        return {
            "Id": ("s", id),
            "LoadState": ("s", self.load),
            "LoadError": ("(ss)", ("", "" if self.load == "loaded" else f"Unit {id} has a bad setting")),
            "ActiveState": ("s", self.active),
            "SubState": ("s", self.sub),
            "Job": ("(uo)", (7, JOB) if self.job else (0, "/")),
            "TriggeredBy": ("as", self.triggered_by),
            "Requires": ("as", self.requires),
            "Requisite": ("as", []),
            "BindsTo": ("as", []),
            "PartOf": ("as", []),
            "CanStart": ("b", True),
            "CanStop": ("b", True),
            "CanReload": ("b", False),
            "ConditionResult": ("b", not self.conditions),
            "ConditionTimestamp": ("t", 5 if self.conditions else 0),
            "Conditions": ("a(sbbsi)", self.conditions),
            "AssertResult": ("b", False),
            "AssertTimestamp": ("t", 0),
            "Asserts": ("a(sbbsi)", []),
            "StateChangeTimestampMonotonic": ("t", 99),
            "Result": ("s", "success"),
            "Type": ("s", "simple"),
            "RemainAfterExit": ("b", False),
            "NRestarts": ("u", 4),
            "ReloadResult": ("s", "success"),
            "ExecMainCode": ("i", 0),
            "ExecMainStatus": ("i", 0),
            "JobType": ("s", self.job),
            **self.more,
        }


@dataclass
class FakeSystemd:
    """Jobs end as `outcome` says, or never where it is empty; they change their unit when they are done."""

    units: dict[str, FakeUnit] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    own: str = "agent.service"
    outcome: str = "done"
    carries: bool = True
    impossible: set[str] = field(default_factory=set)  # names
    refuses: dict[str, str] = field(default_factory=dict)  # methods, and why
    silent: set[str] = field(default_factory=set)  # methods whose answer is lost, as the bus tells
    silent_after_a_job: set[str] = field(default_factory=set)
    heard: list[tuple[Any, ...]] = field(default_factory=list)
    program: FakeProgram | None = None
    telling: list[threading.Thread] = field(default_factory=list)  # the ends of jobs

    def close(self) -> None:
        """While its program is still there to tell them."""
        for thread in self.telling:
            thread.join()

    def answer(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method in self.refuses:
            raise Refusal(f"{NAME}.Refused", self.refuses[method])
        reply = self.reply(path, method, body)
        if method in self.silent:
            raise Refusal("org.freedesktop.DBus.Error.NoReply", "it did not answer")
        return reply

    def reply(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method == "Subscribe":
            return "", ()
        if method in ("LoadUnit", "GetUnit", "GetUnitByPID"):
            return "o", (object_path(self.named(method, body[0])),)
        return self.tell(path, method, body) or self.act(method, body)

    def named(self, method: str, name: Any) -> str:
        if method == "GetUnitByPID":
            name = self.own
        elif method == "LoadUnit":
            if name in self.impossible:
                raise Refusal("org.freedesktop.DBus.Error.InvalidArgs", f"Unit name {name} is not valid.")
            name = self.aliases.get(name, name)
            self.units.setdefault(name, FakeUnit(load="not-found", file=""))
        if name not in self.units:
            raise Refusal(f"{NAME}.NoSuchUnit", f"Unit {name} not loaded.")
        return str(name)

    def tell(self, path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        match method:
            case "GetAll":
                return "a{sv}", (self.at(path).properties(self.id_of(path)),)
            case "Get":
                return "v", (self.at(path).properties(self.id_of(path))[body[1]],)
            case "GetUnitFileState" if not self.units[body[0]].file:
                raise Refusal("org.freedesktop.DBus.Error.FileNotFound", "no such file")
            case "GetUnitFileState":
                return "s", (self.units[body[0]].file,)
            case "ListUnitsByNames":
                return "a(ssssssouso)", ([self.row(name) for name in body[0]],)
            case "ListUnitFilesByPatterns":
                assert body == ([], ["*.service"])
                return "a(ss)", ([("/lib/systemd/system/nginx.service", "disabled")],)
        return None

    def act(self, method: str, body: tuple[Any, ...]) -> Reply | None:
        self.heard.append((method, *body))
        if method.endswith("UnitFiles"):
            return ("ba(sss)", (self.carries, [])) if method == "EnableUnitFiles" else ("a(sss)", ([],))
        if method in ("Reload", "ResetFailedUnit", "Ref"):
            return "", ()
        unit = self.units[body[0]]
        if self.outcome == "done" and method != "ReloadUnit":
            up = method != "StopUnit" and not unit.conditions
            unit.active, unit.sub = ("active", "running") if up else ("inactive", "dead")
        self.silent |= {*self.silent_after_a_job}
        self.telling.append(threading.Thread(target=self.end, args=(body[0],)))
        self.telling[-1].start()
        return "o", (JOB,)

    def end(self, unit: str) -> None:
        assert self.program is not None
        # Another unit's, another job's, and this one's.
        for path, name, outcome in (
            (JOB, "x.service", "failed"),
            (f"{JOB}1", unit, "canceled"),
            (JOB, unit, ""),
        ):
            if outcome or self.outcome:
                body = (7, path, name, outcome or self.outcome)
                self.program.emit(ROOT, f"{NAME}.Manager", "JobRemoved", "uoss", *body)

    def at(self, path: str) -> FakeUnit:
        if path == JOB:
            return next(unit for unit in self.units.values() if unit.job)
        return self.units[self.id_of(path)]

    def id_of(self, path: str) -> str:
        return next((id for id in self.units if object_path(id) == path), "")

    def row(self, name: str) -> tuple[Any, ...]:
        unit = self.units[name]
        return (name, "", unit.load, unit.active, unit.sub, "", object_path(name), 0, "", "/")
