"""Words of the command line that many commands share, and what they come to."""

import argparse
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from reconciler.host.failures import Misused, WrongGuest

if TYPE_CHECKING:
    from reconciler.host.client import Guest

CHANNEL_VARIABLE = "RECONCILER_CHANNEL"
PLACE = "{guest}"


def guest_arguments(parser: argparse.ArgumentParser, *, patience: bool = True) -> None:
    """How to reach the guest; without `patience` the command says itself for how long that is tried."""
    parser.add_argument(
        "-c",
        "--channel",
        metavar="CHANNEL",
        default=os.environ.get(CHANNEL_VARIABLE, ""),
        help="the way to the guest: unix:PATH, serial:DEV[,BAUD] or vsock:CID:PORT; "
        f"{PLACE} in it is replaced by the guest's name (default: ${CHANNEL_VARIABLE})",
    )
    parser.add_argument(
        "-g", "--guest", metavar="NAME", default="", help="the guest that is meant; another one is refused"
    )
    if patience:
        parser.add_argument(
            "--connect-timeout",
            metavar="TIME",
            type=duration,
            default=10.0,
            help="how long to try to reach the guest (default: 10s)",
        )


def output_arguments(parser: argparse.ArgumentParser, *formats: str) -> None:
    """The first format is the default."""
    parser.add_argument(
        "-o",
        "--output",
        choices=formats,
        default=formats[0],
        help=f"the form of the output (default: {formats[0]})",
    )


def file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        "--file",
        metavar="PATH",
        action="append",
        required=True,
        help="a document, a folder of them, or - for standard input; may be given again",
    )


def duration(text: str) -> float:
    """Seconds of `30s`, `10m`, `1h30m`, `250ms` or a number of them; for argparse."""
    # Late: the documents' reader takes 100 ms, and most calls have no duration.
    from reconciler.documents import duration_s

    try:
        return float(duration_s(float(text) if text.replace(".", "", 1).isdigit() else text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def on_guest(
    args: argparse.Namespace,
    work: Callable[["Guest"], Awaitable[int]],
    *,
    name: str = "",
    prepare: bool = False,
) -> int:
    """Reach the guest that the arguments (or a document's `name`) mean, and do the work there."""
    # Late: asyncio takes 40 ms, and `--help` and `validate` have no guest.
    import asyncio

    return asyncio.run(_on_guest(args, work, name=name, prepare=prepare))


async def _on_guest(
    args: argparse.Namespace, work: Callable[["Guest"], Awaitable[int]], *, name: str, prepare: bool
) -> int:
    # Late: it needs asyncio.
    from reconciler.host.client import connect

    meant = meant_guest(args.guest, name)
    async with connect(
        channel_of(args.channel, meant), timeout_s=args.connect_timeout, prepare=prepare
    ) as guest:
        # A channel that was chosen by the name has chosen the guest; its host name is its own affair.
        if PLACE not in args.channel:
            check_name(meant, guest.hello.name)
        return await work(guest)


def meant_guest(said: str, documents: str) -> str:
    """The name from the command line and from the document, which must not differ."""
    if said and documents and said != documents:
        raise WrongGuest(f"cannot go on: the document is for {documents}, and the guest named is {said}")
    return said or documents


def channel_of(channel: str, guest: str) -> str:
    """The channel's text with the name in its place. Raises Misused."""
    if not channel:
        raise Misused(f"cannot reach a guest: no --channel is given, and ${CHANNEL_VARIABLE} is not set")
    if PLACE not in channel:
        return channel
    if not guest:
        raise Misused(f"cannot reach a guest: the channel {channel} wants a name, and none is given")
    if "/" in guest or guest.startswith("."):
        raise Misused(f"cannot reach a guest: {guest!r} is not a name")
    return channel.replace(PLACE, guest)


def check_name(meant: str, found: str) -> None:
    """Raises WrongGuest. A host name matches with or without its domain."""
    wanted, have = meant.lower(), found.lower()
    if wanted and wanted not in (have, have.partition(".")[0]) and wanted.partition(".")[0] != have:
        raise WrongGuest(
            f"cannot go on: the guest on this channel is {found or 'without a name'}, not {meant}"
        )
