"""`reconciler watch`: the status as it changes, until it is interrupted."""

import argparse
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.host.arguments import guest_arguments, on_guest, output_arguments
from reconciler.host.failures import Exit
from reconciler.host.following import Follower
from reconciler.host.output import as_json, as_yaml, colour, escape, say

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "show changes of the status as they happen"
EXAMPLES = """\
  reconciler watch
  reconciler watch -o json | jq -r .phase
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    output_arguments(parser, "table", "json", "yaml")


def run(args: argparse.Namespace) -> int:
    follower = Follower()

    async def work(guest: "Guest") -> int:
        async for status in guest.changes():
            if args.output == "json":
                say(as_json(status, indent=None))
            elif args.output == "yaml":
                say("---\n" + as_yaml(status))
            else:
                time = colour(f"{datetime.now():%H:%M:%S}", "dim")
                say("".join(f"{time}  {escape(line)}\n" for line in follower.news(status)))
        return Exit.DONE

    async def watch(guest: "Guest") -> int:
        # Late: it needs asyncio.
        from reconciler.host.reading import while_read

        return await while_read(work(guest))

    return on_guest(args, watch)
