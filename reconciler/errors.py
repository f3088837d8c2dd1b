"""What can go wrong, by who can mend it."""

from dataclasses import dataclass


class ReconcilerError(Exception):
    """Base of every error this project raises on purpose."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong in a document: where it stands and what is wrong there."""

    line: int  # counted from 1; 0 when the text had no lines (it came over a channel)
    column: int  # counted from 1
    path: str  # as a person writes it: spec.filesystems.lease
    message: str
    source: str = ""  # the file, or empty

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class InvalidSpec(ReconcilerError):
    """The author of the document must change it; retrying is useless."""

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = tuple(Fault(0, 0, "", f) if isinstance(f, str) else f for f in faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Conflict(ReconcilerError):
    """A writer's numbering is wrong: an older generation, or one number for two documents.

    `data` is what the other side has: `{generation, digest}`, or nothing.
    """

    data: dict[str, int | str] | None = None


class Forbidden(ReconcilerError):
    """The guest's own policy says no; its administrator must change it."""


class Busy(ReconcilerError):
    """Too much is asked at once; the same asked again later may do."""


class NotHeld(ReconcilerError):
    """What was to be renewed is gone, as a lease that has ended; ask for it anew."""


class Unsupported(ReconcilerError):
    """This guest cannot do it: no such facility, or not for this target."""


class DriverError(ReconcilerError):
    """The OS refused just now; a later pass tries again."""


class OutcomeUnknown(DriverError):
    """Nobody can say whether it was done: what is done once is not done again, and the next look judges."""


class Terminal(ReconcilerError):
    """The OS gave an answer that trying again would not change; wait for another document."""


class RemoteProtocolError(ReconcilerError):
    """The other end broke the wire format; that message is lost and nothing after it."""
