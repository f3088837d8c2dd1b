"""What is said of a command that has ended, or of which nothing is known."""

import pytest

from reconciler.subjects.task import Excerpt, Outcome, Task


def ended(**fields: object) -> Outcome:
    return Outcome(**{"token": "7", "state": "ended", "exit_code": 0, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        pytest.param(ended(), "Succeeded", "exit code 0", id="well"),
        pytest.param(ended(exit_code=3), "Failed", "exit code 3", id="badly"),
        pytest.param(
            ended(exit_code=None, fault="cannot start: Permission denied"),
            "Failed",
            "cannot start: Permission denied",
            id="never began",
        ),
        pytest.param(
            ended(exit_code=None, signal="SIGSEGV"), "Killed", "killed by SIGSEGV", id="by a signal"
        ),
        pytest.param(
            ended(exit_code=None, signal="SIGTERM", cut="deadline"),
            "DeadlinePassed",
            "ended at its deadline",
            id="too late",
        ),
        pytest.param(
            ended(cut="deadline"), "DeadlinePassed", "ended at its deadline", id="too late, politely"
        ),
        pytest.param(ended(cut="stopped"), "Stopped", "stopped from outside", id="by systemctl stop"),
        pytest.param(
            ended(cut="stopped", fault="oom-kill"),
            "Stopped",
            "stopped from outside: oom-kill",
            id="for memory",
        ),
        pytest.param(
            Outcome(token="7", state="running", started_at="2026-03-01T12:00:00Z"),
            "Running",
            "runs since 2026-03-01T12:00:00Z",
            id="under way",
        ),
        pytest.param(Outcome(token="7", state="lost", fault="gone"), "Lost", "gone", id="lost"),
    ],
)
def test_how_it_ended(outcome: Outcome, reason: str, words: str) -> None:
    assert (outcome.reason, str(outcome)) == (reason, words)


def test_what_is_shown_has_no_null_and_no_empty_stream() -> None:
    assert Outcome(token="7", state="running", started_at="T").show() == {
        "token": "7",
        "state": "running",
        "startedAt": "T",
    }
    assert ended(
        started_at="S",
        ended_at="E",
        duration_s=1.25,
        stdout=Excerpt(total=4, head="all\n"),
        stderr=Excerpt(total=0, head=""),
    ).show() == {
        "token": "7",
        "state": "ended",
        "startedAt": "S",
        "endedAt": "E",
        "durationSeconds": 1.25,
        "exitCode": 0,
        "stdout": {"bytes": 4, "head": "all\n"},
    }


def test_an_excerpt_says_how_much_there_was() -> None:
    shown = Excerpt(total=99, head="AA==", tail="AQ==", base64=True).show()
    assert shown == {"bytes": 99, "head": "AA==", "tail": "AQ==", "encoding": "base64"}


def test_a_deed_is_of_one_task_and_one_token() -> None:
    tasks = [
        Task(name=name, token=token, argv=("/x",)) for name, token in (("a", "b:c"), ("a", "b"), ("b", "b"))
    ]
    assert len({task.deed for task in tasks}) == 3
    assert all(task.deed.startswith("run@") for task in tasks)
