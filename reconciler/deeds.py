"""Which deeds are remembered: what a document may mean, and the newest of others; pure.

Kinds write a deed as `ACT:TOKEN` or `ACT:TARGET:TOKEN`, with `:` or `@`, where a token is of the
document or is a generation or a boot: `reboot:7`, `restart:nginx.service:v1`, `write@7:/etc/x`.
"""

from collections.abc import Callable, Iterator, Mapping

from reconciler.resource import Deed, Json, Past

# Of one act: a host that repeats a token after 256 newer ones is not a retry.
ALIKE_MAX = 256
KIND_MAX = 2048  # of all acts of a kind, half a KiB of memory each; a document names some hundreds at most


def remember(deeds: Mapping[str, Deed], fresh: str, normal: Json, past: Past) -> dict[str, Deed]:
    """What is left of a kind's deeds, `fresh` being the newest; it need not be one of them yet.

    More than KIND_MAX only where each is the newest of its act and target, and its token is in the document.
    A target may stand there by another name, so by its name alone none of those is dropped.

    `normal` is what the document in force says of the kind, and `past` is that of the kind.
    """
    left = dict(deeds)
    alike = [deed for deed in left if act_of(deed) == act_of(fresh)]
    if len(alike) <= ALIKE_MAX and len(left) <= KIND_MAX:
        return left
    tokens = {*_words(normal)}
    words = tokens | {str(past.generation), str(past.in_force), past.boot_id}
    for deed in alike[:-ALIKE_MAX]:
        if not _ends_in(deed, words):
            del left[deed]
    newest = {act_of(deed): deed for deed in left}.values()
    kept = {fresh, *(deed for deed in newest if _is_of_one(deed, words))}
    _thin(left, lambda deed: deed in kept or _ends_in(deed, words))
    last = {*{_aim(deed, words): deed for deed in left}.values()}
    _thin(left, lambda deed: deed in kept or deed in last)
    _thin(left, lambda deed: deed in kept or _ends_in(deed, tokens) or _is_all_in(deed, words))
    return left


def act_of(deed: str) -> str:
    """What stands before the first `@` or `:`."""
    return deed[: next(_marks(deed), 0)]


def _thin(left: dict[str, Deed], keep: Callable[[str], bool]) -> None:
    for deed in list(left):
        if len(left) <= KIND_MAX:
            return
        if not keep(deed):
            del left[deed]


def _marks(deed: str) -> Iterator[int]:
    return (place for place, letter in enumerate(deed) if letter in "@:")


def _splits(deed: str, words: set[str]) -> Iterator[str]:
    """What stands between the act and a token, for each of its ends that is a word."""
    first = next(_marks(deed), len(deed))
    return (deed[first + 1 : place] for place in _marks(deed) if deed[place + 1 :] in words)


def _aim(deed: str, words: set[str]) -> tuple[str, str]:
    """Its act and target, whatever the token; the whole of it where there is no target, or a generation."""
    target = next(_splits(deed, words), "")
    return (act_of(deed), target) if target and not target.isdigit() else (deed, "")


def _ends_in(deed: str, words: set[str]) -> bool:
    """Whether its token is one of `words`, and it is of no other generation."""
    return any(not target.isdigit() or target in words for target in _splits(deed, words))


def _is_all_in(deed: str, words: set[str]) -> bool:
    """Whether the target is one of `words` as well, or is so without its ending, as a unit's name may be."""
    return any(
        not target or target in words or target.rpartition(".")[0] in words for target in _splits(deed, words)
    )


def _is_of_one(deed: str, words: set[str]) -> bool:
    """Whether it is the act of one target alone, which is one of `words`: `hash.carol@...`."""
    return act_of(deed).partition(".")[2] in words


def _words(normal: Json) -> Iterator[str]:
    """Every name and value in a document."""
    if isinstance(normal, Mapping):
        for name, value in normal.items():
            yield name
            yield from _words(value)
    elif isinstance(normal, list):
        for value in normal:
            yield from _words(value)
    else:
        yield str(normal)
