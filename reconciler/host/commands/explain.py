"""`reconciler explain`: what a field of a document means and takes."""

import argparse
from typing import TYPE_CHECKING

from reconciler.host.failures import Exit
from reconciler.host.output import colour, say, table

if TYPE_CHECKING:
    from reconciler.documents import FieldDoc

SUMMARY = "say what a field means and takes"
EXAMPLES = """\
  reconciler explain spec
  reconciler explain filesystems.lease
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("field", metavar="FIELD", nargs="?", default="spec", help="such as filesystems.lease")


def run(args: argparse.Namespace) -> int:
    # Late: the kinds and cerberus take 100 ms, and `--help` does not need them.
    from reconciler.documents import describe_field

    say(_page(describe_field(args.field)))
    return Exit.DONE


def _page(field: "FieldDoc") -> str:
    facts = {
        "must be": field.expected,
        "short form": field.short,
        "default": field.default,
        "required": "yes" if field.required else "",
        "secret": "yes: never shown, stored or logged" if field.secret else "",
    }
    lines = [colour(field.path or "document", "bold")]
    if field.description:
        lines.append(f"  {field.description}")
    lines += [f"  {name + ':':<12}{value}" for name, value in facts.items() if value]
    inner = [(f.path.rpartition(".")[2], f.expected, f.description) for f in field.fields]
    fields = "\n" + table(("FIELD", "MUST BE", "MEANING"), inner, wide=True) if inner else ""
    return "\n".join(lines) + "\n" + fields
