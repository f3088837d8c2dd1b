"""`reconciler describe`: all about one guest, on a page for a person."""

import argparse
from typing import TYPE_CHECKING

from reconciler.host.arguments import guest_arguments, on_guest
from reconciler.host.failures import Exit
from reconciler.host.output import say
from reconciler.host.views import page

if TYPE_CHECKING:
    from reconciler.host.client import Guest

SUMMARY = "show all about a guest, for a person to read"
EXAMPLES = "  reconciler describe -c unix:/run/guests/web-01.sock\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)


def run(args: argparse.Namespace) -> int:
    async def work(guest: "Guest") -> int:
        say(page(guest.hello, await guest.status()))
        return Exit.DONE

    return on_guest(args, work)
