"""How a run ended, and in what this may differ from the end without trouble."""

from dataclasses import dataclass
from typing import Any

from reconciler.spec import Normal, digest
from reconciler.store import Store
from tests.lamps import MemoryDisk
from tests.simulation.agent import Agent
from tests.simulation.host import Keeper
from tests.simulation.machine import Machine

Json = Any


@dataclass(frozen=True)
class End:
    digest: str
    phase: str
    names: dict[str, str]  # that the last document manages
    locked: tuple[bool, ...]  # likewise
    frozen: tuple[str, ...]
    conditions: dict[str, tuple[str, str]]
    touched: bool  # a person's hand, or another boot, was on the screens
    done: frozenset[tuple[str, str]]  # the last document's once-only acts that took effect


def end_of(machine: Machine, agent: Agent, normal: Normal) -> End:
    status = agent.report.document
    return End(
        digest=agent.loop.spec.digest,
        phase=status["phase"],
        names={name: vars(machine)[name] for name in normal.get("hostname", {})},
        locked=tuple(machine.sessions.values()) if "session" in normal else (),
        frozen=tuple(sorted(machine.guardian.frozen)),
        conditions={c["type"]: (c["status"], c["reason"]) for c in status["conditions"]},
        touched=machine.touched_s >= 0,
        done=frozenset(token for token in tokens(normal) if machine.spent[token]),
    )


def in_doubt(end: End) -> bool:
    """Whether something was begun of which nobody will know more."""
    return end.phase == "Degraded" and ("False", "OutcomeUnknown") in end.conditions.values()


def tokens(normal: Normal) -> set[tuple[str, str]]:
    """The once-only acts that a document asks for, as their kinds name them."""
    reboot, trim = normal.get("power", {}).get("reboot"), normal.get("filesystems", {}).get("trim")
    asked = {("power", f"reboot:{reboot['token']}")} if reboot else set()
    return asked | ({("filesystems", f"trim@{trim['token']}")} if trim else set())


def differences(want: End, have: End, machine: Machine, normal: Normal) -> list[str]:
    """What is not as it should be. Some things are as they may be, and not as without trouble."""
    wanted, found = vars(want).copy(), vars(have).copy()
    conditions = dict(have.conditions)
    if machine.unsure:
        # A token was on record, and the agent died before the act: at most once means not at all then.
        found["done"] = have.done | (want.done & {token for token in want.done if _is_begun(machine, token)})
        if conditions.get("power") == ("False", "OutcomeUnknown") and "power" in machine.unsure:
            conditions["power"] = want.conditions["power"]
    for kind, token in tokens(normal):
        # Whether it was done or not, the agent died before it had saved which.
        begun = f'"{token}":{{"state":"begun"'.encode() in (machine.disk.content or b"")
        if begun and conditions.get(kind) == ("False", "OutcomeUnknown"):
            conditions[kind] = want.conditions[kind]
    if in_doubt(have) and conditions != have.conditions:
        found["phase"] = want.phase
    session = normal.get("session", {})
    if (want.touched or have.touched) and session and session.get("enforce") != "always":
        # Nobody is fought: locked or not, it is as the person left it or as the document says.
        so = all(locked == (session["state"] == "locked") for locked in have.locked)
        # Not confirmed: somebody was faster than our second look.
        may_be = [("True", "InSync")] if so else [("False", "Drifted"), ("False", "NotConfirmed")]
        if conditions.get("session") in may_be:
            found["locked"], conditions["session"] = want.locked, want.conditions["session"]
    found["conditions"] = conditions
    return [
        f"{name}: {found[name]!r}, and without trouble {wanted[name]!r}"
        for name in wanted
        if name != "touched" and found[name] != wanted[name]
    ]


def _is_begun(machine: Machine, token: tuple[str, str]) -> bool:
    content = machine.disk.content or b""
    kind, name = token
    return kind in machine.unsure and f'"{name}":{{"state":"begun"'.encode() in content


def is_saved(machine: Machine, agent: Agent) -> bool:
    """Whether another agent would find all that this one knows."""
    known, found = agent.store, Store(MemoryDisk(machine.disk.content), agent.boot_id())
    kinds = agent.loop.tracks
    return found.spec == known.spec and all(
        (found.past(kind), found.settled(kind)) == (known.past(kind), known.settled(kind)) for kind in kinds
    )


def out_of_step(host: Keeper, agent: Agent, normal: Normal) -> list[str]:
    """Where the host's view is not the guest's."""
    client = host.client
    if client is None:
        return ["the host has no client"]
    wrong = []
    if client.mirror.status != agent.report.document:
        wrong.append(f"the host sees revision {client.mirror.revision}, it is {agent.report.revision}")
    if agent.loop.spec.digest != digest(normal):
        wrong.append(f"generation {agent.loop.spec.generation} in force is not the last document")
    if host.generation != agent.loop.spec.generation:
        wrong.append(f"the host was told another generation: {host.generation}")
    return wrong
