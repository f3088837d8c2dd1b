"""Run: commands and scripts, each once for its token, with what became of them.

The rules of this kind:

1. A token stands for one start. It is spent before the command begins, so nothing that
   dies in between can make it begin twice; another command with the same token is not run.
2. A task is done when it was started. That it failed is seen, told and not repaired:
   another token is another try.
3. What a document drops goes on to its end. Only what is written is looked at.
4. A result is shown as soon as it is there, and written down as soon as the disk may be
   written to. That is housekeeping, and no drift: `verdict` does not speak of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import (
    Action,
    Change,
    Deed,
    Driver,
    Json,
    Notice,
    Past,
    Phase,
    Resource,
    Rules,
    Touch,
    Verdict,
)
from reconciler.subjects.listing import first_few
from reconciler.subjects.task import DEADLINE_S, FIELDS, SHELL, Outcome, Task

TASKS_MAX = 32  # with what is kept of their output, a quarter of what a host takes in one message
_NAMED_MAX = 3  # in one message; all of them stand in what is observed
_AGAIN_S = 0.05  # after a look that only judged an act
_BEGINNING_S = 5.0  # where systemd has not answered, nothing tells that it has not begun either

# The worst first: a kind has one reason, and the others stand in its message.
_REASONS = (
    "Lost",
    "OutcomeUnknown",
    "Failed",
    "Killed",
    "DeadlinePassed",
    "Stopped",
    "SecretMissing",
    "Running",
    "Succeeded",
)


@dataclass(frozen=True)
class Desired:
    """In order of name."""

    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Due(Change):
    """A task that is to be run, or whose result is to be kept."""

    task: Task


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What is known of each task that the document names, by task."""

    boot_clock_s: float = 0.0
    runs: Mapping[str, Outcome] = field(default_factory=dict)
    deeds: Mapping[str, Deed] = field(default_factory=dict)  # by their token
    secrets: frozenset[str] = frozenset()  # tasks whose secret is here
    acted: bool = False  # this look is to judge an act


class Commands(Driver, Protocol):
    """What this kind asks of the OS."""

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def check(self, tasks: Sequence[Task]) -> None:
        """Raises Forbidden where links would lead a task around the guest's policy."""

    def runs(self, tasks: Sequence[Task]) -> Mapping[str, Outcome]:
        """What is known of the tokens of these tasks, by name; nothing of one that never began."""

    def start(self, task: Task, secret: bytes | bytearray, wanted: Sequence[Task]) -> None:
        """Begin, and return. Raises ReconcilerError only when nothing was begun.

        What is known of a token in `wanted` is not forgotten to make room.
        """

    def keep(self, task: Task) -> None:
        """Write the result down so that it outlives this boot."""


_TASKS: Rules = {
    "type": "dict",
    "keysrules": {
        "type": "string",
        "regex": r"[A-Za-z][A-Za-z0-9_-]*",
        "maxlength": 48,  # it is part of the name of a unit
        "meta": {"expected": "a task's name: a letter, then letters, digits, _ and -"},
    },
    "valuesrules": {"type": "dict", "schema": FIELDS},
    "minlength": 1,
    "maxlength": TASKS_MAX,
    "meta": {"description": "Tasks by name: {certificates: {command: [/usr/bin/update-ca], token: 7}}."},
}


class Run(Resource[Desired, Observed, Commands], kind="run"):
    summary = "Commands and scripts, each run once for its token."
    verbs = frozenset({"run", "keep"})
    earliest = Phase.TASKS
    short: ClassVar[Rules] = _TASKS
    rules: ClassVar[Rules] = {"tasks": {**_TASKS, "required": True}}

    def __init__(self, driver: Commands) -> None:
        super().__init__(driver)
        self._wanted: tuple[Task, ...] = ()
        self._acted = False

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"tasks": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        faults = [fault for name, fields in normal["tasks"].items() for fault in _faults(name, fields)]
        if faults:
            raise InvalidSpec(*faults)
        return Desired(tuple(_task(name, normal["tasks"][name]) for name in sorted(normal["tasks"])))

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: Commands = self.driver
        if not past.preview:  # an act may follow, on behalf of the document in force
            self._wanted = desired.tasks
        if not desired.tasks:
            return Observed()
        driver.check(desired.tasks)
        acted = self._acted and not past.preview
        self._acted = self._acted and past.preview
        return Observed(
            boot_clock_s=driver.boot_clock_s(),
            runs=driver.runs(desired.tasks),
            deeds=past.deeds,
            secrets=frozenset(
                task.name
                for task in desired.tasks
                if task.secret
                and (past.preview or self.secrets.has(task.secret_path))  # they come as it is sent
            ),
            acted=acted,
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        due = [task for task in desired.tasks if _is_due(task, observed) and not _lacks(task, observed)]
        # What ended while another began is no fault of that act.
        unkept = [] if observed.acted else _unkept(desired, observed)
        kept = [Due(task.name, "result", "kept", "in memory", task=task) for task in unkept]
        begin = [Due(task.name, "token", task.token, "not run", task=task) for task in due]
        # Those that were refused come last: what fails ends the plan, and they are to hold up nobody.
        refused = [each for each in begin if each.task.deed in observed.deeds]
        fresh = [each for each in begin if each not in refused]
        return (*fresh, *kept, *refused)

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        return tuple(
            Action("run", due.target, Phase.TASKS, due.task.deed, dict(vars(due.task)))
            if due.field == "token"
            else Action("keep", due.target, Phase.TASKS, value=dict(vars(due.task)))
            for due in changes
            if isinstance(due, Due)
        )

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        token = action.value["token"]
        if action.verb == "run":
            run = Outcome(token=token, state="ended", exit_code=0, kept=True)
        else:
            run = replace(observed.runs[action.target], kept=True)
        return replace(observed, runs={**observed.runs, action.target: run})

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if due := [change.target for change in changes if change.field == "token"]:
            return Verdict(False, "Drifted", _listed((name, "to be run") for name in due))
        outcomes = {task.name: _judged(task, observed) for task in desired.tasks}
        if not outcomes:
            return Verdict(True, "InSync")
        ranked = sorted(outcomes, key=lambda name: _REASONS.index(outcomes[name][0]))
        reason = outcomes[ranked[0]][0]
        message = _listed((name, outcomes[name][1]) for name in ranked)
        if reason == "Succeeded":
            return Verdict(True, "Succeeded", message)
        if reason == "Running":
            return Verdict(False, reason, message, waiting=not changes)  # else nothing would be kept
        return Verdict(False, reason, message, failed=True)

    @staticmethod
    def insists(desired: Desired, observed: Observed) -> bool:
        return bool(_unkept(desired, observed))

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        if observed.acted and _unkept(desired, observed):
            return observed.boot_clock_s + _AGAIN_S
        if any(run.beginning for run in observed.runs.values()):
            return observed.boot_clock_s + _BEGINNING_S
        return None

    @staticmethod
    def show(observed: Observed) -> Json:
        return {"tasks": {name: run.show() for name, run in observed.runs.items()}} if observed.runs else {}

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        ended = [
            (name, run)
            for name, run in after.runs.items()
            if run.state != "running" and before.runs.get(name, run).state == "running"
        ]
        ended += [(n, r) for n, r in after.runs.items() if n not in before.runs and not r.kept]
        return tuple(Notice("TaskEnded", f"{name}: {run}") for name, run in ended if run.state != "running")

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        touches = [
            touch
            for task in desired.tasks
            for touch in (
                Touch("command", task.argv[0]),
                Touch("user", task.user),
                Touch("path", task.cwd),
            )
            if touch.name
        ]
        return tuple(touches)

    def act(self, action: Action) -> None:
        driver: Commands = self.driver
        task = Task(**action.value)
        self._acted = True
        if action.verb == "keep":
            driver.keep(task)
        elif task.secret:
            with self.secrets.take(task.secret_path) as secret:
                driver.start(task, secret.data, self._wanted)
        else:
            driver.start(task, b"", self._wanted)


def _faults(name: str, fields: Mapping[str, Json]) -> Iterator[Fault]:
    """What rules cannot say of one task."""
    if "command" in fields and not _is_plain(program := fields["command"][0]):
        words = f"must be a full path without //, . and .. (got {program[:60]!r})"
        yield Fault(0, 0, f"tasks.{name}.command.0", words)
    if "command" not in fields and "shell" not in fields:
        yield Fault(0, 0, f"tasks.{name}", "must have command or shell")


def _is_plain(path: str) -> bool:
    """Whether a path is in the form in which the guest's policy compares it."""
    steps = path.split("/")
    return steps[0] == "" and len(steps) > 1 and not {"", ".", ".."} & set(steps[1:])


def _task(name: str, fields: Mapping[str, Json]) -> Task:
    given: dict[str, Any] = {key: fields[key] for key in ("user", "group", "cwd") if key in fields}
    stdin = fields.get("stdin", "")
    return Task(
        name=name,
        token=fields["token"],
        argv=tuple(fields.get("command", (fields.get("interpreter", SHELL),))),
        script=fields.get("shell"),
        environment=tuple(sorted(fields.get("environment", {}).items())),
        stdin=stdin if isinstance(stdin, str) else "",
        secret=not isinstance(stdin, str),
        deadline_s=fields.get("deadline", DEADLINE_S),
        **given,
    )


def _is_due(task: Task, observed: Observed) -> bool:
    deed = observed.deeds.get(task.deed)
    return task.name not in observed.runs and not (deed and deed.spent)


def _lacks(task: Task, observed: Observed) -> bool:
    return task.secret and task.name not in observed.secrets


def _unkept(desired: Desired, observed: Observed) -> list[Task]:
    runs = observed.runs
    return [t for t in desired.tasks if (run := runs.get(t.name)) and run.state == "ended" and not run.kept]


def _judged(task: Task, observed: Observed) -> tuple[str, str]:
    """A reason, and its words."""
    run = observed.runs.get(task.name)
    if run is not None:
        return run.reason, str(run)
    if _is_due(task, observed):
        return "SecretMissing", "its secret is needed and not here: apply the document again"
    generation = observed.deeds[task.deed].generation
    return "OutcomeUnknown", f"begun in generation {generation}, and no result is known"


def _listed(outcomes: Iterable[tuple[str, str]]) -> str:
    return first_few((f"{name}: {said}" for name, said in outcomes), _NAMED_MAX, "; ")
