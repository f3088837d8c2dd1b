"""What happens to a run at moments of its own, whoever does what just then."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.run import Run


def schedule(run: "Run") -> None:
    """All of it, each at its moments."""
    acts: dict[str, Callable[[Run], None]] = {
        "cuts": _cut,
        "deaf": _deafen,
        "leaving": _leave,
        "kills": lambda run: run.kill(),
        "reboots": lambda run: run.machine.reboot(),
        "pauses": _pause,
        "hands": _meddle,
        "clock": _step,
    }
    for name, act in acts.items():
        for at_s in run.luck.moments(name):
            run.clock.after(at_s, lambda name=name, act=act: _happen(run, name, act))  # type: ignore[misc]


def _happen(run: "Run", name: str, act: "Callable[[Run], None]") -> None:
    if not run.luck.over:
        run.say(f"trouble: {name}")
        act(run)


def _cut(run: "Run") -> None:
    if run.line.stream is not None:
        run.line.stream.end()


def _deafen(run: "Run") -> None:
    run.line.deafen(run.luck.draw.uniform(0.5, 20))


def _leave(run: "Run") -> None:
    run.leave_host()


def _pause(run: "Run") -> None:
    agent = run.agent
    if agent is None:
        return
    agent.paused = True

    def go_on() -> None:
        agent.paused = False
        agent.turn()

    run.clock.after(run.luck.draw.uniform(0.5, 20), go_on)


def _meddle(run: "Run") -> None:
    machine, draw = run.machine, run.luck.draw
    match draw.randrange(3):
        case 0:
            machine.static = machine.transient = f"rogue-{draw.randrange(3)}"
            machine.stirred("hostname")
        case 1:
            machine.sessions = {id: draw.random() < 0.5 for id in machine.sessions}
            machine.touched_s = machine.clock.time()
            machine.stirred("session")
        case _:
            machine.guardian.frozen.clear()


def _step(run: "Run") -> None:
    run.machine.wall_s += run.luck.draw.choice((-1e9, -3600, -1, 1, 3600, 1e8))
