"""`reconciler get`: the status of a guest, its spec, or any part of them."""

import argparse
from typing import TYPE_CHECKING

from reconciler.host.arguments import guest_arguments, on_guest, output_arguments
from reconciler.host.failures import Exit
from reconciler.host.output import FORMATS, encode, escape, grid, note, say
from reconciler.host.views import condition, condition_table, conditions, headline, remarks, section
from reconciler.resource import Json

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "show the status, the spec, a kind or an item of the inventory"
EXAMPLES = """\
  reconciler get
  reconciler get spec -o yaml
  reconciler get memory
  reconciler get nics -o wide
  reconciler get observed.filesystems.freeze.epoch
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    output_arguments(parser, *FORMATS)
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="?",
        default="status",
        help="status, spec, a kind, an item of the inventory, or a path such as observed.hostname",
    )


def run(args: argparse.Namespace) -> int:
    async def work(guest: "Guest") -> int:
        if args.what == "spec":
            in_force = await guest.spec()
            if args.output == "name":
                say("".join(f"{escape(kind)}\n" for kind in in_force.normal))
            else:
                # Late: the kinds, cerberus and yaml take 100 ms.
                from reconciler.documents.secrets import without_secrets

                # A table of nested fields would say less than the document itself.
                shown = without_secrets(in_force.normal)
                say(encode(shown, "json" if args.output == "json" else "yaml"))
            return Exit.DONE
        status = await guest.status()
        return _status(args, guest.hello.name, status) if args.what == "status" else _part(args, status)

    return on_guest(args, work)


def _status(args: argparse.Namespace, name: str, status: dict[str, Json]) -> int:
    if args.output in ("json", "yaml"):
        say(encode(status, args.output))
    elif args.output == "name":
        say("".join(f"{escape(c.get('type', '?'))}\n" for c in conditions(status)))
    else:
        say(headline(name, status) + remarks(status) + condition_table(status, wide=args.output == "wide"))
    return Exit.DONE


def _part(args: argparse.Namespace, status: dict[str, Json]) -> int:
    found, value = _find(status, args.what)
    if not found:
        known = sorted({*section(status, "observed"), *section(status, "inventory")})
        note(f"reconciler: nothing here is called {args.what}; there is {', '.join(known) or 'nothing yet'}")
        if left_out := remarks({"leftOut": status.get("leftOut")}):
            note(left_out.rstrip("\n"))
        return Exit.NO
    if args.output in ("json", "yaml"):
        say(encode(value, args.output))
    elif args.output == "name":
        say("".join(f"{escape(name)}\n" for name in _names(value)))
    else:
        say(grid(value, wide=args.output == "wide"))
    return Exit.DONE


def _find(status: dict[str, Json], what: str) -> tuple[bool, Json]:
    """Whether there is such a part, and the part. A bare word is a kind first, then an item."""
    for place in (section(status, "observed"), section(status, "inventory")):
        if what in place:
            return True, place[what]
    if (of_kind := condition(status, what)) is not None:
        return True, of_kind
    value: Json = status
    for step in what.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step[:9]) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _names(value: Json) -> list[str]:
    if isinstance(value, list):
        return [
            str(row.get("name", row.get("path", "?"))) if isinstance(row, dict) else str(row) for row in value
        ]
    return list(value) if isinstance(value, dict) else [str(value)]
