"""The command line `reconciler`: finds the command, runs it, turns errors into exit codes.

A command is a file in `commands/`: its name, SUMMARY, EXAMPLES, `arguments(parser)` and
`run(args)`, which returns the exit code. No list of them is kept here.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from reconciler import __version__
from reconciler.errors import InvalidSpec, ReconcilerError
from reconciler.host.failures import Exit, exit_code
from reconciler.host.output import note

_FOLDER = os.path.join(os.path.dirname(__file__), "commands")

_EPILOG = """\
examples:
  reconciler validate examples/
  reconciler apply -c unix:/run/guests/web-01.sock -f web-01.yaml --wait
  reconciler diff -f web-01.yaml && echo nothing to do
  reconciler freeze web-01 -- lvcreate -s -n snap -L1G vg/web-01

environment:
  RECONCILER_CHANNEL  the channel where no --channel is given
  NO_COLOR            no colours, even on a terminal

exit codes: 0 done, 1 no, 2 refused, 3 failed in the guest, 4 unreachable, 5 timed out;
more of them in docs/cli.md"""


class Command(Protocol):
    """What a module in `commands/` has."""

    SUMMARY: str
    EXAMPLES: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def names() -> list[str]:
    return sorted(file[:-3] for file in os.listdir(_FOLDER) if file.endswith(".py") and file[0] != "_")


def command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"reconciler.host.commands.{name}"))


def build_parser(only: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with the commands `only`."""
    parser = argparse.ArgumentParser(
        prog="reconciler",
        description="Write what a virtual machine should be, see what it is.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"reconciler {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name in only:
        module = command(name)
        inner = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[0].upper() + module.SUMMARY[1:] + ".",
            epilog=f"examples:\n{module.EXAMPLES.rstrip()}" if module.EXAMPLES else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.arguments(inner)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    if words == ["--version"]:
        # The parsers of all commands are not needed for it.
        print(f"reconciler {__version__}")
        return Exit.DONE
    known = names()
    try:
        # Only the command that is meant is loaded, unless all are to be shown.
        parser = build_parser(words[:1] if words and words[0] in known else known)
        ours, theirs = _split(words)
        args = parser.parse_args(ours, argparse.Namespace(words=theirs))
        return int(command(args.command).run(args))
    except ReconcilerError as error:
        for line in error.faults if isinstance(error, InvalidSpec) else [f"reconciler: {error}"]:
            note(line)
        return _code(words, exit_code(error))
    except BrokenPipeError:
        _drop_output()  # whoever read it has enough
        return Exit.PIPE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except OSError as error:
        _drop_output()
        note(f"reconciler: cannot go on: {error.strerror or error}")
        return _code(words, Exit.FAILED)
    except ModuleNotFoundError as error:
        note(f"reconciler: cannot go on: the Python package {error.name} is missing")
        return _code(words, Exit.FAILED)
    except Exception:
        # Late: it takes 3 ms, and is for faults of ours alone.
        import traceback

        # Python's own code for it is 1, which would be taken for an answer.
        for line in traceback.format_exc().splitlines():
            note(line)
        return _code(words, Exit.FAILED)


def _open_streams() -> None:
    """Somewhere to write to where the caller has closed standard output or error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process


def _drop_output() -> None:
    """What is still to be written is lost; the interpreter must not try again at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of `freeze`, and those of the COMMAND behind its `--`, which argparse would mix."""
    if words[:1] != ["freeze"] or "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _code(words: Sequence[str], code: Exit) -> Exit:
    # `diff` has one code for everything that is neither yes nor no, as diff(1) has.
    return Exit.REFUSED if words[:1] == ["diff"] else code
