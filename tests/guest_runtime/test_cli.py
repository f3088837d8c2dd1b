"""The guest's command line: what it takes, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from guest_runtime.cli import Options, main, parse
from reconciler import resources


def test_run_takes_several_channels() -> None:
    words = ["run", "--channel", "unix:/a", "--channel=serial:/dev/ttyS1", "--state-dir", "/s", "--rehearse"]
    assert parse(words) == Options("run", ("unix:/a", "serial:/dev/ttyS1"), "/s", rehearse=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param("", "the commands are", id="nothing"),
        pytest.param("freeze", "the commands are", id="an unknown command"),
        pytest.param("run --channel unix:/a", "are needed", id="no state directory"),
        pytest.param("run --state-dir /s", "are needed", id="no channel"),
        pytest.param("run --channel", "needs a value", id="an option without its value"),
        pytest.param("check --rehearse", "cannot use '--rehearse'", id="an option of another command"),
        pytest.param("run --channel foo --state-dir /nowhere/s", "cannot use channel", id="no such channel"),
    ],
)
def test_wrong_usage_ends_with_2(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "run --channel unix:guest.sock --state-dir state"])
def test_a_package_that_is_missing_is_named(command: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    start = f"import sys; sys.path += [{str(root)!r}]; from guest_runtime.cli import main; sys.exit(main())"
    # Isolated and without `site`: an interpreter that has nothing but its own library.
    argv = [sys.executable, "-IS", "-c", start, *command.split()]
    ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "guest-reconciler: cannot read documents: the Python package cerberus is missing\n"


def test_check_names_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) in (0, 1)  # by what this machine can do
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(resources.names())
    assert {line.split()[1] for line in lines} <= {"yes", "no"}


def test_a_policy_that_makes_no_sense_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("forbid: 1\n")
    assert main(["check", "--policy", str(policy)]) == 2
    assert f"{policy}:1" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--help", "-h", "run --help", "check -h", "run --channel unix:/a --help"])
def test_whoever_asks_for_help_is_told_the_usage(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: guest-reconciler run")
    assert said.err == ""


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("guest-reconciler ")
