"""`reconciler events`: what happened in the guest, and with `--watch` what happens."""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from reconciler.host.arguments import guest_arguments, on_guest, output_arguments
from reconciler.host.failures import Exit
from reconciler.host.output import as_json, encode, escape, flat, note, say, table
from reconciler.resource import Json

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "show what happened in the guest"
EXAMPLES = """\
  reconciler events
  reconciler events -w -o json
"""

_KEYS = ("time", "kind", "reason", "message")


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    output_arguments(parser, "table", "wide", "json", "yaml")
    parser.add_argument("-w", "--watch", action="store_true", help="go on with those that happen from now on")


def run(args: argparse.Namespace) -> int:
    async def work(guest: "Guest") -> int:
        if not args.watch:
            events, _, lost = await guest.events()
            _tell(lost)
            rows = ([flat(event.get(key, "-")) for key in _KEYS] for event in events)
            say(
                encode(events, args.output)
                if args.output in ("json", "yaml")
                else table([k.upper() for k in _KEYS], rows, wide=args.output == "wide")
            )
            return Exit.DONE
        async for events, lost in guest.new_events():
            _tell(lost)
            say("".join(_lines(events, args.output)))
        return Exit.DONE

    async def watch(guest: "Guest") -> int:
        # Late: it needs asyncio.
        from reconciler.host.reading import while_read

        return await while_read(work(guest))

    return on_guest(args, watch)


def _tell(lost: int) -> None:
    if lost:
        note(f"{lost} earlier events are lost")


def _lines(events: Iterable[Mapping[str, Json]], form: str) -> Iterable[str]:
    for event in events:
        if form == "json":
            yield as_json(event, indent=None)
        elif form == "yaml":
            yield "---\n" + encode(event, "yaml")
        else:
            yield escape("  ".join(flat(event.get(key, "-")) for key in _KEYS)).rstrip() + "\n"
