"""The guest's policy file, as its administrator writes it, to a Policy."""

from typing import Any

from reconciler.documents.document import read_mapping
from reconciler.documents.hints import nearest
from reconciler.documents.kinds import every_kind
from reconciler.documents.tree import quoted
from reconciler.errors import Fault, InvalidSpec
from reconciler.policy import RULES, Policy, without_effect


def read_policy(text: str | bytes, *, source: str = "-") -> Policy:
    """An empty text forbids nothing. Raises InvalidSpec with all faults.

    A kind that is not known is a fault too: mistyped, it would forbid nothing in silence.
    """
    written = read_mapping(text, RULES, source=source)
    values: dict[str, Any] = {name: tuple(patterns) for name, patterns in written.get("forbid", {}).items()}
    if "freezeLease" in written.get("limits", {}):
        values["freeze_lease_s_max"] = written["limits"]["freezeLease"]
    policy = Policy(**values)
    faults = [
        Fault(0, 0, f"forbid.{field}[{number}]", _unknown(word), source)
        for field, number, word in without_effect(policy, every_kind())
    ]
    if faults:
        raise InvalidSpec(*faults)
    return policy


def _unknown(word: str) -> str:
    hint = nearest(word.partition(".")[0], every_kind())
    return f"no kind is called so (got {quoted(word)}{'; ' + hint if hint else ''})"
