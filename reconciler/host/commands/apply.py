"""`reconciler apply`: gives a guest its document, and may wait until the guest is so."""

import argparse
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from reconciler.errors import InvalidSpec, ReconcilerError
from reconciler.host.arguments import (
    PLACE,
    channel_of,
    duration,
    file_arguments,
    guest_arguments,
    meant_guest,
    on_guest,
    output_arguments,
)
from reconciler.host.failures import Exit, Misused, TimedOut, exit_code
from reconciler.host.files import load, placed
from reconciler.host.following import Follower, converged, hopeless, reached
from reconciler.host.output import encode, escape, note, progress, say
from reconciler.host.secrets import read_secrets
from reconciler.host.views import actions, change_lines, changes, hindrances
from reconciler.resource import Json

if TYPE_CHECKING:
    from reconciler.documents import Document
    from reconciler.host.client import Applied, Guest

    Put = Callable[[], Coroutine[object, object, Applied]]

T = TypeVar("T")

SUMMARY = "give a guest its document"
EXAMPLES = """\
  reconciler apply -f web-01.yaml --wait
  reconciler apply -c 'unix:/run/guests/{guest}.sock' -f site/
  reconciler apply -f web-01.yaml --dry-run
"""

GONE_S = 5.0  # a guest that restarts its agent is back within one
WAIT_S = 120.0  # a reboot and some slow acts fit in


def arguments(parser: argparse.ArgumentParser) -> None:
    guest_arguments(parser)
    file_arguments(parser)
    output_arguments(parser, "table", "json", "yaml", "name")
    parser.add_argument(
        "--wait",
        metavar="TIME",
        nargs="?",
        type=duration,
        const=WAIT_S,
        help="wait until the guest is as the document says, at most TIME (2m if none is given)",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="as a new generation, though the guest has this document: secrets are sent anew, "
        "and what is enforced once is done once more",
    )
    parser.add_argument(
        "--secrets-from",
        metavar="DIR",
        action="append",
        default=[],
        help="secrets may also lie in this folder, and not in the document's own alone; may be given again",
    )
    parser.add_argument(
        "--dry-run",
        nargs="?",
        const="guest",
        choices=("client", "guest"),
        help="do nothing; guest (if neither is given): ask the guest what it would do, in its order; "
        "client: show the normal form",
    )


def run(args: argparse.Namespace) -> int:
    if args.dry_run and args.wait is not None:
        raise Misused("cannot wait for a dry run: nothing comes of it")
    if args.dry_run and args.again:
        raise Misused("cannot apply again for a dry run: nothing comes of it")
    if args.dry_run and args.output == "name":
        raise Misused("cannot show a dry run as names: choose table, json or yaml")
    documents = load(args.file)
    if args.dry_run == "client":
        # Late: with the kinds, cerberus and yaml, which have been loaded by now.
        from reconciler.documents.secrets import without_secrets

        shown = [without_secrets(d.normal) for d in documents]
        say(encode(shown if len(shown) > 1 else shown[0], _form(args)))
        return Exit.DONE
    channels = [channel_of(args.channel, meant_guest(args.guest, d.name)) for d in documents]
    if len(set(channels)) < len(channels):
        raise Misused(f"cannot apply {len(documents)} documents to one guest: write {{guest}} in the channel")
    # Each guest gets its document whatever becomes of the others; the worst of their codes is ours.
    return max(_apply_one(args, document) for document in documents)


def _form(args: argparse.Namespace) -> str:
    return "json" if args.output == "json" else "yaml"


def _apply_one(args: argparse.Namespace, document: "Document") -> int:
    async def work(guest: "Guest") -> int:
        return await (_plan if args.dry_run else _apply)(guest, args, document)

    try:
        return on_guest(args, work, name=document.name, prepare=not args.dry_run)
    except InvalidSpec as error:
        for fault in placed(document, error).faults:
            note(fault)
        return Exit.REFUSED
    except ReconcilerError as error:
        note(f"reconciler: cannot apply {document.source}: {error}")
        return exit_code(error)


async def _apply(guest: "Guest", args: argparse.Namespace, document: "Document") -> int:
    # Said along, because after a reconnect another guest may be at the other end.
    named = (document.name or args.guest) and PLACE not in args.channel
    name = guest.hello.name if named else ""
    secrets = partial(read_secrets, document, *args.secrets_from)
    put = partial(guest.apply, document.normal, guest=name, again=args.again, secrets=secrets)
    applied = await put()
    result = {
        "guest": document.name or args.guest or guest.hello.name,
        "generation": applied.generation,
        "digest": applied.digest,
        "accepted": "new" if applied.new else "same",
    }
    _show(args, result)
    if args.wait is not None:
        return await _wait(guest, args, document, put, applied.generation)
    return Exit.DONE


def _show(args: argparse.Namespace, result: dict[str, object]) -> None:
    if args.output in ("json", "yaml"):
        say(encode(result, args.output))
    elif args.output == "name":
        say(f"{escape(result['guest'])}\n")
    else:
        done = "applied" if result["accepted"] == "new" else "unchanged"
        say(f"{escape(result['guest'])} {done}: generation {result['generation']}\n")


async def _first(
    waiting: Coroutine[object, object, T], leaving: Coroutine[object, object, None] | None
) -> T | None:
    """What `waiting` comes to, or None where `leaving` ends before it does."""
    # Late: asyncio takes 40 ms; it is loaded by now.
    import asyncio

    tasks = [asyncio.ensure_future(waiting)]
    others = [asyncio.ensure_future(leaving)] if leaving is not None else []
    try:
        await asyncio.wait([*tasks, *others], return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in (*tasks, *others):
            task.cancel()
        await asyncio.gather(*tasks, *others, return_exceptions=True)


async def _wait(
    guest: "Guest", args: argparse.Namespace, document: "Document", put: "Put", generation: int
) -> int:
    follower = Follower()

    def over(status: dict[str, Json]) -> bool:
        for line in follower.news(status):
            progress(line)
        done = reached(status, generation) and (converged(generation)(status) or bool(hopeless(status)))
        return done or guest.lost(generation)

    # A guest that is to be off says nothing once it is.
    leaves = document.normal.get("power", {}).get("state") in ("off", "halted")
    until_s = monotonic() + args.wait
    try:
        while True:
            waiting = guest.wait(over, timeout_s=until_s - monotonic())
            status = await _first(waiting, guest.absent(GONE_S) if leaves else None)
            if status is None or not guest.lost(generation):
                break
            generation = (await put()).generation  # it was killed before it could save
    except TimedOut:
        last = "; ".join(Follower().news(guest.mirror.status)) or "no status came"
        raise TimedOut(f"the guest was not so within {args.wait:g} s: {last}") from None
    if status is None:
        progress("the guest is gone, as it should be")
        return Exit.DONE
    if why := hopeless(status):
        note(f"reconciler: the guest will not get there: {why}")
        return Exit.FAILED
    return Exit.DONE


async def _plan(guest: "Guest", args: argparse.Namespace, document: "Document") -> int:
    plans = await guest.plan(document.normal)
    if args.output in ("json", "yaml"):
        say(encode(plans, args.output))
        return Exit.DONE
    say(change_lines(changes(plans)))
    for action in actions(plans):
        say(
            escape(f"{action.get('phase')}: {action['kind']}: {action.get('verb')} {action.get('target')}")
            + "\n"
        )
    for line in hindrances(plans):
        note(line)
    if not actions(plans) and not hindrances(plans):
        note("nothing to do")
    return Exit.DONE
