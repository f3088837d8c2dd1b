"""The requests that one end of the channel has sent and that are not answered yet."""

from typing import Generic, TypeVar

from reconciler.errors import Busy

OUTSTANDING_MAX = 16  # a person, a watcher and a backup script at once, and as much again

CallT = TypeVar("CallT")


class Calls(Generic[CallT]):
    """Gives out ids and takes them back; what a call is, its owner says.

    `first_id` should be drawn at random: on a line that outlives its users, an answer
    to a process that died must not fit a request of its successor.
    """

    def __init__(self, first_id: int = 1) -> None:
        self._next_id = first_id
        self._calls: dict[int | str, CallT] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, call: CallT) -> int:
        """The id to send with. Raises Busy while OUTSTANDING_MAX wait for their answers."""
        if len(self._calls) >= OUTSTANDING_MAX:
            raise Busy(f"cannot send: {OUTSTANDING_MAX} requests wait for their answers")
        number = self._next_id
        self._next_id += 1
        self._calls[number] = call
        return number

    def end(self, id: int | str | None) -> CallT | None:
        """What was begun under this id; None for an answer that nobody waits for any more."""
        return None if id is None else self._calls.pop(id, None)

    def drop(self) -> list[CallT]:
        """Everything that gets no answer any more, as after the end of a connection."""
        calls = list(self._calls.values())
        self._calls.clear()
        return calls
