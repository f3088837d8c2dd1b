"""A list in a message: the first few, and how many more there are."""

from collections.abc import Iterable


def first_few(words: Iterable[str], most: int, between: str = ", ") -> str:
    """`a, b, and 3 more`; with `between` before the rest too."""
    listed = list(words)
    more = [f"and {len(listed) - most} more"] if len(listed) > most else []
    return between.join([*listed[:most], *more])
