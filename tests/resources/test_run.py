"""Tasks, each once for its token, decided without anything to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import Forbidden, InvalidSpec
from reconciler.resource import Deed, Notice, Past, Phase, Touch
from reconciler.resources.run import Commands, Desired, Observed, Run
from reconciler.secret import Safe, Secret
from reconciler.subjects.task import Outcome, Task

BACKUP = Task(name="backup", token="7", argv=("/usr/bin/backup",))
LOGIN = Task(name="login", token="1", argv=("/usr/bin/login",), secret=True)
BOTH = Desired((BACKUP, LOGIN))
RUNS = Outcome(token="7", state="running", started_at="2026-03-01T12:00:00Z")
WELL = Outcome(token="7", state="ended", exit_code=0, kept=True)
BADLY = replace(WELL, exit_code=3)
LOST = Outcome(token="7", state="lost", fault="the guest went down")


def parsed(fields: Mapping[str, Any], name: str = "job") -> Task:
    (document,) = read("run: " + _json({name: fields}))
    (task,) = Run.parse(document.normal["run"]).tasks
    return task


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def deeds(task: Task, state: Any = "done") -> Observed:
    return Observed(deeds={task.deed: Deed(state, "b1", 4)})


# How it is written


def test_a_command_is_taken_as_it_is_written() -> None:
    argv = ["/bin/echo", "a b", "'\"", "new\nline", "$HOME", ""]
    task = parsed({"command": argv, "token": 7})
    assert task == Task(name="job", token="7", argv=tuple(argv))


def test_everything_can_be_said() -> None:
    fields = {
        "shell": "echo $X\nexit 3\n",
        "interpreter": "/bin/bash",
        "token": "t-1",
        "user": "alice",
        "group": "adm",
        "cwd": "/srv//www/",
        "environment": {"X": "1 2", "A": ""},
        "stdin": "in\n",
        "deadline": "2h",
    }
    assert parsed(fields) == Task(
        name="job",
        token="t-1",
        argv=("/bin/bash",),
        script="echo $X\nexit 3\n",
        user="alice",
        group="adm",
        cwd="/srv/www",
        environment=(("A", ""), ("X", "1 2")),
        stdin="in\n",
        deadline_s=7200,
    )


def test_a_script_is_for_sh_and_a_secret_stays_where_it_is() -> None:
    task = parsed({"shell": "cat", "token": 1, "stdin": {"fromFile": "secrets/alice"}})
    assert (task.argv, task.secret, task.stdin) == (("/bin/sh",), True, "")
    assert "secrets/alice" not in repr(task)


@pytest.mark.parametrize(
    ("name", "fields", "place"),
    [
        pytest.param("job", {"command": ["/bin/ls"]}, "job", id="no token"),
        pytest.param("job", {"token": 1}, "job", id="nothing to run"),
        pytest.param("job", {"token": 1, "command": []}, "command", id="an empty command"),
        pytest.param("job", {"token": 1, "command": "/bin/ls -l"}, "command", id="a command line"),
        pytest.param("job", {"token": 1, "command": ["ls"]}, "command[0]", id="no path"),
        pytest.param("job", {"token": 1, "command": [""]}, "command[0]", id="an empty path"),
        pytest.param("job", {"token": 1, "command": ["/"]}, "command[0]", id="the root"),
        pytest.param("job", {"token": 1, "command": ["/bin/../sbin/x"]}, "command[0]", id="dots"),
        pytest.param("job", {"token": 1, "command": ["/bin//x"]}, "command[0]", id="two slashes"),
        pytest.param("job", {"token": 1, "command": ["/bin/ls", 5]}, "command", id="a number"),
        pytest.param("job", {"token": 1, "command": ["/x"], "shell": "y"}, "", id="both"),
        pytest.param("job", {"token": 1, "command": ["/x"], "interpreter": "/y"}, "", id="no script"),
        pytest.param("job", {"token": 1, "shell": ""}, "shell", id="an empty script"),
        pytest.param(
            "job", {"token": 1, "shell": "x", "interpreter": "sh"}, "interpreter", id="no full path"
        ),
        pytest.param("job", {"token": 1, "shell": "x", "user": "-rf"}, "user", id="an option"),
        pytest.param("job", {"token": 1, "shell": "x", "user": "a\nb"}, "user", id="two users"),
        pytest.param("job", {"token": 1, "shell": "x", "cwd": "/a/../b"}, "cwd", id="up"),
        pytest.param("job", {"token": 1, "shell": "x", "environment": {"1X": ""}}, "environment", id="digit"),
        pytest.param("job", {"token": 1, "shell": "x", "environment": {"A=B": ""}}, "environment", id="sign"),
        pytest.param("job", {"token": 1, "shell": "x", "environment": {"A": 1}}, "environment", id="no text"),
        pytest.param("job", {"token": 1, "shell": "x", "deadline": 0}, "deadline", id="no time"),
        pytest.param("job", {"token": 1, "shell": "x", "deadline": "2d"}, "deadline", id="a service"),
        pytest.param(
            "job", {"token": 1, "shell": "x", "stdin": "y" * 16_385}, "stdin", id="more than a pipe"
        ),
        pytest.param("job", {"token": 1, "shell": "x", "stdin": {"file": "y"}}, "stdin", id="no such source"),
        pytest.param("job", {"token": "a b", "shell": "x"}, "token", id="a token with a space"),
        pytest.param("../job", {"token": 1, "shell": "x"}, "", id="a path for a name"),
        pytest.param("a.b", {"token": 1, "shell": "x"}, "", id="a dot in a name"),
        pytest.param("-rf", {"token": 1, "shell": "x"}, "", id="an option for a name"),
        pytest.param("n" * 49, {"token": 1, "shell": "x"}, "", id="a long name"),
        pytest.param("job", {"token": 1, "shell": "x", "sudo": True}, "sudo", id="an unknown field"),
    ],
)
def test_refused(name: str, fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parsed(fields, name)
    assert place in str(refused.value)


def test_a_task_with_the_name_of_a_field_takes_the_long_form() -> None:
    (document,) = read("run: {tasks: {tasks: {token: 1, shell: x}}}")
    assert [task.name for task in Run.parse(document.normal["run"]).tasks] == ["tasks"]


def test_the_policy_hears_of_the_program_the_user_and_the_folder() -> None:
    task = parsed({"shell": "x", "token": 1, "cwd": "/srv"})
    assert Run.touches(Desired((task,))) == (
        Touch("command", "/bin/sh"),
        Touch("user", "root"),
        Touch("path", "/srv"),
    )


# What is to be done


@pytest.mark.parametrize(
    ("observed", "verbs"),
    [
        pytest.param(Observed(), ["run"], id="never run"),
        pytest.param(deeds(BACKUP, "refused"), ["run"], id="surely not begun"),
        pytest.param(deeds(replace(BACKUP, token="6")), ["run"], id="another token was"),
        pytest.param(deeds(BACKUP), [], id="begun, and forgotten"),
        pytest.param(deeds(BACKUP, "begun"), [], id="nobody knows"),
        pytest.param(Observed(runs={"backup": RUNS}), [], id="it runs, and its token was forgotten"),
        pytest.param(Observed(runs={"backup": LOST}), [], id="lost"),
        pytest.param(Observed(runs={"backup": BADLY}), [], id="it failed"),
        pytest.param(Observed(runs={"backup": replace(WELL, kept=False)}), ["keep"], id="it has just ended"),
        pytest.param(
            Observed(runs={"backup": replace(WELL, kept=False)}, acted=True), [], id="while another began"
        ),
    ],
)
def test_plan(observed: Observed, verbs: list[str]) -> None:
    desired = Desired((BACKUP,))
    plan = Run.plan(desired, Run.diff(desired, observed))
    assert [action.verb for action in plan] == verbs
    assert all(action.phase is Phase.TASKS and action.verb in Run.verbs for action in plan)
    assert [action.token for action in plan if action.verb == "run"] == [BACKUP.deed] * verbs.count("run")


def test_a_task_that_runs_keeps_nobody_from_being_run_or_kept() -> None:
    desired = Desired((BACKUP, replace(BACKUP, name="other")))
    observed = Observed(runs={"backup": RUNS, "other": replace(WELL, kept=False)})
    changes = Run.diff(desired, observed)
    assert [change.field for change in changes] == ["result"]
    verdict = Run.verdict(desired, observed, changes)
    assert (verdict.reason, verdict.waiting, verdict.failed) == ("Running", False, False)


def test_one_that_was_refused_holds_up_nobody() -> None:
    first, second = replace(BACKUP, name="a"), replace(BACKUP, name="b")
    desired = Desired((first, second))
    refused = deeds(first, "refused")
    assert [change.target for change in Run.diff(desired, refused)] == ["b", "a"]
    ended = replace(refused, runs={"b": replace(WELL, kept=False)})
    changes = Run.diff(desired, ended)
    assert [(change.target, change.field) for change in changes] == [("b", "result"), ("a", "token")]


def test_without_its_secret_it_waits_for_the_next_document() -> None:
    desired = Desired((LOGIN,))
    assert Run.diff(desired, Observed()) == ()
    verdict = Run.verdict(desired, Observed(), ())
    assert (verdict.ready, verdict.reason, verdict.failed) == (False, "SecretMissing", True)
    assert Run.diff(desired, Observed(secrets=frozenset({"login"})))


@pytest.mark.parametrize(
    ("observed", "ready", "reason", "waiting", "failed", "words"),
    [
        pytest.param(Observed(), False, "Drifted", False, False, "backup: to be run", id="to be run"),
        pytest.param(
            Observed(runs={"backup": RUNS}), False, "Running", True, False, "backup: runs since", id="runs"
        ),
        pytest.param(
            Observed(runs={"backup": WELL}), True, "Succeeded", False, False, "backup: exit code 0", id="well"
        ),
        pytest.param(
            Observed(runs={"backup": replace(WELL, kept=False)}),
            True,
            "Succeeded",
            False,
            False,
            "backup: exit code 0",
            id="to write it down is no drift",
        ),
        pytest.param(
            Observed(runs={"backup": BADLY}), False, "Failed", False, True, "exit code 3", id="badly"
        ),
        pytest.param(Observed(runs={"backup": LOST}), False, "Lost", False, True, "went down", id="lost"),
        pytest.param(
            deeds(BACKUP, "begun"), False, "OutcomeUnknown", False, True, "generation 4", id="nobody knows"
        ),
    ],
)
def test_verdict(
    observed: Observed, ready: bool, reason: str, waiting: bool, failed: bool, words: str
) -> None:
    desired = Desired((BACKUP,))
    verdict = Run.verdict(desired, observed, Run.diff(desired, observed))
    assert (verdict.ready, verdict.reason) == (ready, reason)
    assert (verdict.waiting, verdict.failed) == (waiting, failed)
    assert words in verdict.message


def test_the_worst_gives_the_reason_and_all_are_named_up_to_three() -> None:
    tasks = tuple(replace(BACKUP, name=name) for name in "abcde")
    runs = {"a": WELL, "b": RUNS, "c": BADLY, "d": LOST, "e": WELL}
    verdict = Run.verdict(Desired(tasks), Observed(runs=runs), ())
    assert (verdict.reason, verdict.waiting, verdict.failed) == ("Lost", False, True)
    assert verdict.message == (
        "d: the guest went down; c: exit code 3; b: runs since 2026-03-01T12:00:00Z; and 2 more"
    )


def test_what_is_not_written_down_is_looked_at_again_soon_after_an_act() -> None:
    seen = Observed(boot_clock_s=10.0, runs={"backup": replace(WELL, kept=False)}, acted=True)
    desired = Desired((BACKUP,))
    assert Run.due_s(desired, seen) == pytest.approx(10.05)
    assert Run.due_s(desired, replace(seen, acted=False)) is None
    late = Observed(boot_clock_s=10.0, runs={"backup": replace(RUNS, beginning=True)})
    assert Run.due_s(desired, late) == pytest.approx(15.0)
    assert Run.insists(desired, seen)
    assert not Run.insists(desired, Observed(runs={"backup": WELL}))


def test_an_end_is_told_once() -> None:
    before, after = Observed(runs={"backup": RUNS}), Observed(runs={"backup": replace(BADLY, kept=False)})
    told = (Notice("TaskEnded", "backup: exit code 3"),)
    assert Run.notices(before, after) == told
    assert Run.notices(Observed(), after) == told  # it began and ended between two looks
    assert Run.notices(after, after) == ()
    assert Run.notices(Observed(), Observed(runs={"backup": BADLY})) == ()  # long ago
    assert Run.notices(Observed(), before) == ()


def test_what_is_shown() -> None:
    assert Run.show(Observed()) == {}
    assert Run.show(Observed(runs={"backup": WELL})) == {
        "tasks": {"backup": {"token": "7", "state": "ended", "exitCode": 0}}
    }


TASKS = st.builds(
    replace,
    st.sampled_from([BACKUP, LOGIN]),
    name=st.sampled_from(["a", "b", "c"]),
    token=st.sampled_from(["1", "2"]),
)
OUTCOMES = st.sampled_from([RUNS, WELL, BADLY, LOST, replace(WELL, kept=False), replace(BADLY, kept=False)])


@given(
    tasks=st.lists(TASKS, unique_by=lambda task: task.name),
    runs=st.dictionaries(st.sampled_from("abc"), OUTCOMES),
    secrets=st.frozensets(st.sampled_from("abc")),
    state=st.sampled_from(["begun", "done", "refused"]),
    known=st.lists(TASKS),
)
def test_what_is_planned_converges(
    tasks: list[Task], runs: dict[str, Outcome], secrets: frozenset[str], state: Any, known: list[Task]
) -> None:
    desired = Desired(tuple(tasks))
    past = {task.deed: Deed(state, "b1", 3) for task in known}
    observed = Observed(runs=runs, deeds=past, secrets=secrets)
    plan = Run.plan(desired, Run.diff(desired, observed))
    assert not any(action.token in past and past[action.token].spent for action in plan if action.token)
    assert Run.diff(desired, Run.foresee_all(observed, plan)) == ()


# How it reaches the OS


@dataclass
class FakeCommands:
    """Fills the port: everything ends at once."""

    began: list[tuple[Task, bytes]] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    looks: int = 0
    forbids: str = ""

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return 10.0

    def check(self, tasks: Sequence[Task]) -> None:
        if any(task.name == self.forbids for task in tasks):
            raise Forbidden(self.forbids)

    def runs(self, tasks: Sequence[Task]) -> Mapping[str, Outcome]:
        self.looks += 1
        names = {task.name for task, _ in self.began}
        return {
            task.name: replace(WELL, token=task.token, kept=task.name in self.kept)
            for task in tasks
            if task.name in names
        }

    def start(self, task: Task, secret: bytes | bytearray, wanted: Sequence[Task]) -> None:
        self.began.append((task, bytes(secret)))
        self.wanted = [each.name for each in wanted]

    def keep(self, task: Task) -> None:
        self.kept.append(task.name)


FAKE: Commands = FakeCommands()  # holds the fake to the port, for the type checker


def test_who_is_not_managed_looks_at_nothing() -> None:
    driver = FakeCommands()
    assert Run(driver).observe(Desired(), Past()) == Observed()
    assert driver.looks == 0


def test_from_nothing_to_a_result_that_is_kept() -> None:
    driver = FakeCommands()
    kind = Run(driver)
    safe = Safe()
    safe.put({("run", "tasks.login.stdin"): Secret(b"hunter2\n")}, 0.0)
    kind.secrets = safe.of("run")

    def turn() -> Observed:
        observed = kind.observe(BOTH, Past())
        for action in Run.plan(BOTH, Run.diff(BOTH, observed)):
            assert "hunter2" not in repr(action)
            kind.act(action)
        return observed

    turn()
    assert driver.began == [(BACKUP, b""), (LOGIN, b"hunter2\n")]
    assert driver.wanted == ["backup", "login"]
    assert turn().acted  # it only judges what was done
    assert driver.kept == []
    turn()
    assert driver.kept == ["backup", "login"]
    assert turn().acted
    assert Run.diff(BOTH, turn()) == ()
    assert len(driver.began) == 2
    assert not safe.of("run").has("tasks.login.stdin")


def test_a_preview_leaves_no_trace_and_has_every_secret() -> None:
    driver = FakeCommands()
    kind = Run(driver)
    kind.observe(Desired((BACKUP,)), Past())
    seen = kind.observe(Desired((LOGIN,)), Past(preview=True))
    assert [change.target for change in Run.diff(Desired((LOGIN,)), seen)] == ["login"]
    kind.act(Run.plan(Desired((BACKUP,)), Run.diff(Desired((BACKUP,)), Observed()))[0])
    assert driver.wanted == ["backup"]


def test_a_link_around_the_policy_forbids_the_kind() -> None:
    with pytest.raises(Forbidden):
        Run(FakeCommands(forbids="backup")).observe(BOTH, Past())
