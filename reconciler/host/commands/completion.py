"""`reconciler completion`: the shell's tab key, from the same parser that reads the words."""

import argparse

from reconciler.host.failures import Exit
from reconciler.host.output import say

SUMMARY = "print a script that completes words in a shell"
EXAMPLES = """\
  . <(reconciler completion bash)
  reconciler completion zsh > ~/.zfunc/_reconciler
  reconciler completion fish > ~/.config/fish/completions/reconciler.fish
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose script")


def run(args: argparse.Namespace) -> int:
    # Late: the two know each other; the parser of all commands has this one among them.
    from reconciler.host.cli import build_parser, names
    from reconciler.host.completing import script

    say(script(args.shell, build_parser(names())))
    return Exit.DONE
