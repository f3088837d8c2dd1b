"""The guest's policy file, as its administrator writes it, to a Policy."""

from typing import Any

from reconciler.documents.document import read_mapping
from reconciler.policy import RULES, Policy


def read_policy(text: str | bytes, *, source: str = "-") -> Policy:
    """An empty text forbids nothing. Raises InvalidSpec with all faults."""
    written = read_mapping(text, RULES, source=source)
    values: dict[str, Any] = {name: tuple(patterns) for name, patterns in written.get("forbid", {}).items()}
    if "freezeLease" in written.get("limits", {}):
        values["freeze_lease_s_max"] = written["limits"]["freezeLease"]
    return Policy(**values)
