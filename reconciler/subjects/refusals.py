"""What has refused to be changed lately, and so comes last or later; pure."""

from typing import Generic, TypeVar

from reconciler.resource import Past

Target = TypeVar("Target", int, str)


class Refusals(Generic[Target]):
    """Words by target, each until its time is over, its act succeeds, or the document changes.

    Mutable, a kind's own: a look and an act of one kind are never under way at once.
    """

    def __init__(self, lasting_s: float = float("inf")) -> None:
        self._lasting_s = lasting_s
        self._generation = 0
        self._words: dict[Target, tuple[str, float]] = {}  # until when, on the boot clock

    def standing(self, past: Past, now_s: float = 0.0) -> dict[Target, str]:
        """Those that count for a look. A preview's changes nothing here."""
        words = self._words if past.generation == self._generation else {}
        words = {target: (why, until_s) for target, (why, until_s) in words.items() if now_s < until_s}
        if not past.preview:
            self._generation, self._words = past.generation, words
        return {target: why for target, (why, _) in words.items()}

    def note(self, target: Target, why: str, now_s: float = 0.0) -> None:
        self._words[target] = (why, now_s + self._lasting_s)

    def drop(self, target: Target) -> None:
        self._words.pop(target, None)
