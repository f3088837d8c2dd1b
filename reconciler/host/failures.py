"""What can go wrong on the way to a guest, and the exit code of each."""

from enum import IntEnum

from reconciler.errors import InvalidSpec, ReconcilerError


class Unreachable(ReconcilerError):
    """Nobody answers at the channel's other end."""


class TimedOut(ReconcilerError):
    """The guest is there, and what was asked for did not come about in time."""


class WrongGuest(ReconcilerError):
    """The guest at the other end, or the document, has another name than the one that was said."""


class Misused(ReconcilerError):
    """The command line asks for something that makes no sense."""


class NotFrozen(ReconcilerError):
    """The freeze failed before the command was started."""


class FreezeLost(ReconcilerError):
    """The freeze had ended before the command did, so what it saved is not to be trusted."""


class Exit(IntEnum):
    """The exit codes, fixed: docs/cli.md says the same to those who write scripts."""

    DONE = 0
    NO = 1  # the answer is no: differences, a condition not met, a thing not found
    REFUSED = 2  # wrong usage, or a document that must be changed
    FAILED = 3  # the guest said no: conflict, forbidden, unsupported, failed
    UNREACHABLE = 4
    TIMED_OUT = 5
    NOT_FROZEN = 120  # out of the way of a COMMAND's own codes, and below the shells' 126 and up
    FREEZE_LOST = 121
    NOT_STARTED = 126  # COMMAND cannot be run; as shells and env(1) say it
    NOT_FOUND = 127
    INTERRUPTED = 130
    PIPE = 141  # nobody reads our output any more; 128 and SIGPIPE


_CODES: tuple[tuple[type[ReconcilerError], Exit], ...] = (
    (InvalidSpec, Exit.REFUSED),
    (WrongGuest, Exit.REFUSED),
    (Misused, Exit.REFUSED),
    (Unreachable, Exit.UNREACHABLE),
    (TimedOut, Exit.TIMED_OUT),
    (NotFrozen, Exit.NOT_FROZEN),
    (FreezeLost, Exit.FREEZE_LOST),
    (ReconcilerError, Exit.FAILED),
)


def exit_code(error: ReconcilerError) -> Exit:
    return next(code for kind, code in _CODES if isinstance(error, kind))
