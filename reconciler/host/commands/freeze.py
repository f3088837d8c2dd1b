"""`reconciler freeze`: runs a command while a guest's filesystems are frozen."""

import argparse
from typing import TYPE_CHECKING

from reconciler.host.arguments import duration, guest_arguments, on_guest
from reconciler.host.failures import Misused

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "run a command while the filesystems are frozen, and make sure that they were"
EXAMPLES = """\
  reconciler freeze web-01 -- lvcreate -s -n snap -L1G vg/web-01
  reconciler freeze --lease 30s --mount /data -- ./snapshot.sh

It exits with COMMAND's status if the freeze held from before its start to after its
end. 120: the freeze failed and COMMAND was not started. 121: the freeze did not hold,
and what COMMAND saved is not to be trusted.
"""

LEASE_S_MIN = 1.0  # as the guest


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    parser.usage = "reconciler freeze [options] [GUEST] -- COMMAND [ARGUMENT ...]"
    parser.add_argument("name", metavar="GUEST", nargs="?", default="", help="the same as --guest")
    parser.add_argument(
        "--lease",
        metavar="TIME",
        type=duration,
        help="how long the guest stays frozen if this side falls silent; renewed meanwhile (default: 60s)",
    )
    parser.add_argument(
        "--mount",
        metavar="PATH",
        action="append",
        default=[],
        help="freeze this filesystem, not every one; may be given again",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=duration,
        help="for the freeze itself (default: 2m)",
    )


def run(args: argparse.Namespace) -> int:
    if not args.words:
        raise Misused("cannot freeze: no COMMAND is given after --")
    if args.lease is not None and args.lease < LEASE_S_MIN:
        raise Misused(f"cannot freeze: a lease is at least {LEASE_S_MIN:g} s")
    if args.guest and args.name and args.guest != args.name:
        raise Misused(f"cannot freeze: two guests are named, {args.guest} and {args.name}")
    args.guest = args.guest or args.name

    async def work(guest: "Guest") -> int:
        # Late: it needs asyncio, and `--help` does not.
        from reconciler.host.freezing import Wish
        from reconciler.host.snapshot import snapshot

        given = {"lease_s": args.lease, "mounts": tuple(args.mount), "timeout_s": args.timeout}
        wish = Wish(**{key: value for key, value in given.items() if value is not None})
        return await snapshot(guest, wish, args.words)

    return on_guest(args, work, prepare=True)
