"""`reconciler wait`: until a condition or a phase is reached, or a guest is there at all."""

import argparse
import time
from typing import TYPE_CHECKING

from reconciler.host.arguments import duration, guest_arguments, on_guest
from reconciler.host.failures import Exit, TimedOut, Unreachable
from reconciler.host.following import Follower, so, wanted
from reconciler.host.output import note, progress
from reconciler.resource import Json

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "wait for a condition or a phase; exits 1 if it is not reached in time"
EXAMPLES = """\
  reconciler wait --for Converged
  reconciler wait --for session --timeout 30s
  reconciler wait --for filesystems=LeaseEnded --timeout 2m
"""

TIMEOUT_S = 120.0


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser, patience=False)
    parser.add_argument(
        "--for",
        dest="goal",
        metavar="CONDITION",
        required=True,
        help="KIND (ready), KIND=True|False|Unknown, KIND=REASON, phase=PHASE or PHASE",
    )
    parser.add_argument(
        "--timeout", metavar="TIME", type=duration, default=TIMEOUT_S, help="how long, all told (default: 2m)"
    )


def run(args: argparse.Namespace) -> int:
    what, value = wanted(args.goal)
    end_s = time.monotonic() + args.timeout
    # A guest that still boots is a part of the wait, not an error.
    args.connect_timeout = args.timeout
    follower = Follower()

    async def work(guest: "Guest") -> int:
        met = so(what, value, guest.hello.generation)

        def watched(status: dict[str, Json]) -> bool:
            for line in follower.news(status):
                progress(line)
            return met(status)

        await guest.wait(watched, timeout_s=max(0.0, end_s - time.monotonic()))
        return Exit.DONE

    try:
        return on_guest(args, work)
    except (TimedOut, Unreachable) as error:
        last = "; ".join(Follower().news(follower.before)) if follower.before else str(error)
        note(f"reconciler: {args.goal} was not reached in {args.timeout:g} s: {last}")
        return Exit.NO
