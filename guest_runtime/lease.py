"""The life of one freeze: what the guardian does next and when it lets go, without I/O.

    ENTERING  hooks one by one, then filesystems one by one
        |  all frozen                 | a refusal, or an end
        v                             |
    HELD      waits for its end;      |
        |     a renewal looks whether |
        |     all are frozen still    |
        v                             v
    LEAVING   thaws whatever is frozen, at once; then the hooks' second halves, in reverse
        |
        v
    OVER

The rules, which hold in whatever order things happen:

1. One step at a time is under way, in another thread, and may take for ever. An end
   does not wait for it: what is frozen is thawed meanwhile, and what the step freezes
   after the end is thawed when it returns.
2. The first end counts. A filesystem that turns out thawed before we thawed it makes
   it Broken, whatever it was.
3. A hook's second half runs exactly once if its first half succeeded, and else never.
"""

from reconciler.guarding import kernel

ENTERING, HELD, LEAVING, OVER = "entering", "held", "leaving", "over"
HOOK, FREEZE = "hook", "freeze"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Step = tuple[str, int, str]  # what, index of hook or mount, "freeze" or "thaw"


class Lease:
    def __init__(self, lease_s: float, mounts: "Sequence[str]", hooks: "Sequence[str]") -> None:
        self.state = ENTERING
        self.until_s: float | None = None  # set when the first filesystem is about to stop
        self.ended = ""  # why it is let go
        self.message = ""
        self.frozen: list[int] = []  # mounts, in the order in which they froze
        self.owed: list[int] = []  # hooks whose second half is to run
        self.faults: list[str] = []  # of second halves
        self._lease_s = lease_s
        self._mounts = mounts
        self._hooks = hooks
        self._entered = 0  # steps of ENTERING that succeeded: hooks, then mounts
        self._running: Step | None = None
        self._unseen: list[int] = []  # mounts that a renewal has still to look at
        self._renewed_s = 0.0  # the lease that it asked for; 0: none does

    @property
    def renewing(self) -> bool:
        return self._renewed_s > 0

    @property
    def let_go(self) -> bool:
        """Whether nothing is frozen any more, nor will be."""
        busy = self._running is not None and self._running[0] == FREEZE
        return self.state in (LEAVING, OVER) and not self.frozen and not busy

    def next(self, now_s: float) -> "Step | None":
        """The step to begin now, in another thread; None: nothing, or one is under way."""
        if self._running is not None:
            return None
        self._running = self._next(now_s)
        return self._running

    def finish(self, error: int | str, now_s: float) -> None:
        """The step that was begun has ended: a hook with its fault or "", a mount with its errno or 0."""
        assert self._running is not None
        (what, index, verb), self._running = self._running, None
        if what == HOOK:
            self._hook_ended(index, verb, str(error))
        elif self.state == ENTERING:
            self._froze(index, int(error))
        elif self.state == HELD:
            self._looked(index, int(error), now_s)
        elif error == 0 and index not in self.frozen:
            self.frozen.append(index)  # it came too late, and `to_thaw` says so
        self._advance()

    def renew(self, lease_s: float) -> bool:
        """Begin the lease anew once all are seen to be frozen still; False where nothing is held."""
        if self.state != HELD:
            return False
        self._renewed_s = lease_s
        self._unseen = list(self.frozen)
        return True

    def end(self, why: str, message: str = "") -> None:
        """Let go. What was ended before stays ended as it was."""
        if self.state in (ENTERING, HELD):
            self.state, self.ended, self.message = LEAVING, why, message
            self._unseen, self._renewed_s = [], 0.0
            self._advance()

    def to_thaw(self) -> list[int]:
        """Mounts to thaw now: the one that backs a loop mount before that loop mount."""
        return self.frozen[::-1] if self.state in (LEAVING, OVER) else []

    def thawed(self, index: int, error: int) -> None:
        """A thaw returned 0 or an errno. One that failed stays in `to_thaw`."""
        if error in (0, kernel.THAWED_ALREADY):
            self.frozen.remove(index)
        if error == kernel.THAWED_ALREADY:
            self._break(index)
        self._advance()

    def _next(self, now_s: float) -> "Step | None":
        if self.state == ENTERING:
            if self._entered < len(self._hooks):
                return (HOOK, self._entered, "freeze")
            if self.until_s is None:
                self.until_s = now_s + self._lease_s
            return (FREEZE, self._entered - len(self._hooks), "freeze")
        if self.state == HELD and self._unseen:
            return (FREEZE, self._unseen[0], "freeze")
        if self.state == LEAVING and self.owed and not self.frozen:
            return (HOOK, self.owed[-1], "thaw")
        return None

    def _hook_ended(self, index: int, verb: str, fault: str) -> None:
        if verb == "thaw":
            self.owed.pop()
            self.faults += [fault] if fault else []
            return
        if not fault:
            self.owed.append(index)
            self._entered += 1
        else:
            self.end("Refused", f"cannot freeze: {fault}")

    def _froze(self, index: int, error: int) -> None:
        if error:
            self.end("Refused", f"cannot freeze {self._mounts[index]}: {kernel.words(error)}")
        else:
            self.frozen.append(index)
            self._entered += 1

    def _looked(self, index: int, error: int, now_s: float) -> None:
        """To freeze what is frozen is refused and changes nothing; anything else is bad news."""
        if error != kernel.FROZEN_ALREADY:
            # Having succeeded it is frozen anew, and is in `frozen` already.
            self._break(index)
            return
        if index in self._unseen:
            self._unseen.remove(index)
        if not self._unseen and self.renewing:
            self.until_s, self._renewed_s = now_s + self._renewed_s, 0.0

    def _break(self, index: int) -> None:
        self.end("Broken")
        if self.ended != "Refused":
            self.ended, self.message = "Broken", f"{self._mounts[index]} was thawed by somebody else"

    def _advance(self) -> None:
        if self.state == ENTERING and self._entered == len(self._hooks) + len(self._mounts):
            self.state = HELD
        if self.state == LEAVING and not (self.frozen or self.owed or self._running):
            self.state = OVER
