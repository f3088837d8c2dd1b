"""`reconciler thaw`: lets go of a freeze that the spec in force asks for."""

import argparse
from typing import TYPE_CHECKING

from reconciler.host.arguments import guest_arguments, on_guest
from reconciler.host.failures import Exit, Misused
from reconciler.resource import Json

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "thaw a guest, as after a `freeze` that could not do it itself"
EXAMPLES = "  reconciler thaw web-01\n"

THAW_S = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    parser.add_argument("name", metavar="GUEST", nargs="?", default="", help="the same as --guest")


def run(args: argparse.Namespace) -> int:
    if args.guest and args.name and args.guest != args.name:
        raise Misused(f"cannot thaw: two guests are named, {args.guest} and {args.name}")
    args.guest = args.guest or args.name

    async def work(guest: "Guest") -> int:
        # Late: it needs asyncio.
        from reconciler.host.freezing import thaw

        await thaw(guest, _rest, _frozen, timeout_s=THAW_S)
        return Exit.DONE

    return on_guest(args, work)


def _frozen(part: Json) -> bool:
    return isinstance(part, dict) and part.get("state") == "frozen"


def _rest(part: Json) -> Json:
    """Whatever else was said of filesystems stays; with nothing left, the kind is not managed."""
    return {key: value for key, value in part.items() if key not in ("state", "lease", "mounts")} or None
