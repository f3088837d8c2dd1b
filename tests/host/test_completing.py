"""Completion scripts: bash's is really sourced and asked."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.host import cli
from reconciler.host.completing import commands, script

PARSER = cli.build_parser(cli.names())


def _complete(cwd: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    listed = " ".join(f"'{word}'" for word in words)
    asked = (
        f"{script('bash', PARSER)}\nCOMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _reconciler\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", asked], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    return [line for line in ran.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param([""], cli.names(), id="commands"),
        pytest.param(["wa"], ["wait", "watch"], id="commands-with-a-start"),
        pytest.param(["--v"], ["--version"], id="options-before-the-command"),
        pytest.param(["apply", "--d"], ["--dry-run"], id="option"),
        pytest.param(["apply", "--dry-run", ""], ["client", "guest"], id="value"),
        pytest.param(["get", "-o", "j"], ["json"], id="value-with-a-start"),
        pytest.param(["apply", "--dry-run", "="], ["client", "guest"], id="value-behind-an-equals-sign"),
        pytest.param(["apply", "--dry-run", "=", "g"], ["guest"], id="start-behind-an-equals-sign"),
        pytest.param(["get", "-o", "json", "s"], ["status", "spec", "services", "session"], id="argument"),
        pytest.param(["explain", "h"], ["hostname"], id="kind"),
        pytest.param(["wait", "--for", "Conv"], ["Converged", "Converging"], id="phase"),
        pytest.param(["completion", ""], ["bash", "zsh", "fish"], id="shells"),
        pytest.param(["apply", "-f", "a"], ["a file.yaml"], id="file-with-a-space"),
        pytest.param(["validate", ""], ["a file.yaml", "b"], id="files"),
        pytest.param(["get", "-g", ""], [], id="free-text"),
        pytest.param(["freeze", "g", "--", "./a"], ["./a file.yaml"], id="behind-the-dashes"),
    ],
)
def test_bash(words: list[str], offered: list[str], tmp_path: Path) -> None:
    for name in ("a file.yaml", "b"):
        (tmp_path / name).touch()
    assert sorted(_complete(tmp_path, "reconciler", *words)) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_every_script(shell: str) -> None:
    text = script(shell, PARSER)
    for name, (_, words) in commands(PARSER).items():
        assert name in text
        for word in words:
            for option in word.names:
                assert (option.lstrip("-") if shell == "fish" else option) in text


def test_bash_at_a_prompt(tmp_path: Path) -> None:
    """The whole way: the words as readline cuts them, and what it puts in their place."""
    (tmp_path / "reconciler").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler.host "$@"\n')
    (tmp_path / "reconciler").chmod(0o755)
    (tmp_path / "inputrc").touch()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "INPUTRC": str(tmp_path / "inputrc"),
        "TERM": "dumb",
        "PS1": "",
    }
    ours, theirs = os.openpty()
    command = ["bash", "--norc", "--noprofile", "-i"]
    bash = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        os.write(ours, b". <(reconciler completion bash); echo rea''dy\n")
        _shown(ours, b"ready\r\n")
        # A word that is found whole is followed by a space.
        os.write(ours, b"reconciler va\t--he\t\n")
        assert b"usage: reconciler validate" in _shown(ours, b"examples:")
        os.write(ours, b"reconciler apply --dry-run=cl\t--he\t\n")
        assert b"--dry-run=client --help" in _shown(ours, b"examples:")
    finally:
        bash.kill()
        bash.wait()
        os.close(ours)


def _shown(fd: int, mark: bytes) -> bytes:
    shown = b""
    while mark not in shown:
        assert select.select([fd], [], [], 30)[0], shown
        shown += os.read(fd, 1024)
    return shown


def test_zsh_is_given_no_empty_message() -> None:
    # _arguments takes the three colons for a form of their own, and offers nothing.
    assert ":::" not in script("zsh", PARSER)
