"""`reconciler diff`: a document against what the guest is, and against the spec in force."""

import argparse
from typing import TYPE_CHECKING

from reconciler.errors import InvalidSpec, Unsupported
from reconciler.host.arguments import file_arguments, guest_arguments, on_guest, output_arguments
from reconciler.host.failures import Exit, Misused
from reconciler.host.files import load, placed
from reconciler.host.output import encode, note, say
from reconciler.host.views import change_lines, changes, spec_lines
from reconciler.resource import Json

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "show what a document would change; exits 1 if anything"
EXAMPLES = """\
  reconciler diff -f web-01.yaml
  reconciler diff -f web-01.yaml -o json | jq .changes
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    file_arguments(parser)
    output_arguments(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    documents = load(args.file)
    # Late: with the kinds, cerberus and yaml, which have been loaded by now.
    from reconciler.documents.secrets import without_secrets

    if len(documents) > 1:
        raise Misused(f"cannot compare {len(documents)} documents: give one of them")
    document = documents[0]

    async def work(guest: "Guest") -> int:
        in_force = await guest.spec()
        plans: dict[str, dict[str, Json]] = {}
        try:
            plans = await guest.plan(document.normal)
        except InvalidSpec as error:
            raise placed(document, error) from None
        except Unsupported:
            note("this guest makes no plans: only the specs are compared")
        have, want = without_secrets(in_force.normal), without_secrets(document.normal)
        lines = spec_lines(have, want)
        if not lines and in_force.normal != document.normal:
            lines = "a secret differs\n"
        found = changes(plans)
        if args.output == "table":
            say(lines + change_lines(found))
        else:
            say(
                encode(
                    {"spec": {"have": have, "want": want}, "changes": found},
                    args.output,
                )
            )
        return Exit.NO if lines or found else Exit.DONE

    return on_guest(args, work, name=document.name)
