"""The guest's policy file, as its administrator writes it, to a Policy."""

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from reconciler.documents.document import read_mapping
from reconciler.documents.hints import nearest
from reconciler.documents.kinds import every_kind
from reconciler.documents.tree import quoted
from reconciler.errors import Fault, InvalidSpec
from reconciler.policy import RULES, Policy, without_effect
from reconciler.resources import broken


def read_policy(text: str | bytes, *, source: str = "-") -> Policy:
    """An empty text forbids nothing. Raises InvalidSpec with all faults.

    A kind or an act that is not known is a fault too: mistyped, it would forbid nothing in silence.
    """
    written = read_mapping(text, RULES, source=source)
    values: dict[str, Any] = {name: tuple(patterns) for name, patterns in written.get("forbid", {}).items()}
    if "freezeLease" in written.get("limits", {}):
        values["freeze_lease_s_max"] = written["limits"]["freezeLease"]
    if "allow-passwordless-login" in written:
        values["passwordless_users"] = tuple(written["allow-passwordless-login"])
    if "allow-files-in" in written:
        values["file_folders"] = tuple(written["allow-files-in"])
    policy = Policy(**values)
    kinds = every_kind()
    acts = [f"{name}.{verb}" for name, kind in kinds.items() for verb in sorted(kind.verbs)]
    # Of a kind that cannot be loaded nobody knows the acts.
    acts += [act for act in policy.acts if any(fnmatchcase(k, act.partition(".")[0]) for k in broken)]
    known = [*kinds, *broken]
    faults = [*_idle("kind", policy.kinds, known, source), *_idle("act", policy.acts, acts, source)]
    if faults:
        raise InvalidSpec(*faults)
    return policy


def _idle(what: str, patterns: Iterable[str], known: Collection[str], source: str) -> Iterator[Fault]:
    for place, pattern in without_effect(patterns, known):
        hint = nearest(pattern, known)
        words = f"no {what} is called so (got {quoted(pattern)}{'; ' + hint if hint else ''})"
        yield Fault(0, 0, f"forbid.{what}s[{place}]", words, source)
