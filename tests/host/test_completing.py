"""Completion scripts: bash's is really sourced and asked."""

import subprocess
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
        pytest.param(["get", "-o", "json", "s"], ["status", "spec"], id="argument"),
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


def test_zsh_is_given_no_empty_message() -> None:
    # _arguments takes the three colons for a form of their own, and offers nothing.
    assert ":::" not in script("zsh", PARSER)
