"""The status as it travels: a revision that only grows, and the last few to patch from."""

import json
from collections import OrderedDict

from reconciler.resource import Json

_MARKS = 8  # quotes, a colon, a comma and a dot of a member, and some more
KEPT_MAX = 8  # revisions that a host coming back may patch from; each is some 100 KiB at most


class Report:
    """One for the daemon, shared by its conversations."""

    def __init__(self) -> None:
        self.revision = 0
        self.document: Json = {}
        self.shortened: set[int] = set()  # revisions that some host was told in part
        self._kept: OrderedDict[int, Json] = OrderedDict()

    def update(self, document: Json, now_s: float) -> bool:
        """Take the status of now; whether it differs from the last one."""
        if document == self.document and self.revision:
            return False
        # Milliseconds of this boot: so it goes on growing when the agent is restarted.
        self.revision = max(self.revision + 1, int(now_s * 1000))
        self.document = self._kept[self.revision] = document
        while len(self._kept) > KEPT_MAX:
            self.shortened.discard(self._kept.popitem(last=False)[0])
        return True

    def at(self, revision: object) -> Json | None:
        """The status of an earlier revision, while it is kept."""
        return self._kept.get(revision) if type(revision) is int else None


def fitting(status: Json, bytes_max: int) -> Json:
    """The status, or as much of it as has so many bytes in JSON: `leftOut` then says what it lacks.

    What is longest goes first, of what was observed and of the inventory; at last the conditions' messages.
    """
    sizes = {
        (section, name): json_bytes(value)
        for section in ("observed", "inventory")
        for name, value in status.get(section, {}).items()
    }
    rest = {**status, "observed": {}, "inventory": {}}
    total = json_bytes(rest) + sum(size + json_bytes(name) + _MARKS for (_, name), size in sizes.items())
    if total <= bytes_max:
        return status
    total += len("leftOut") + _MARKS
    gone: set[tuple[str, str]] = set()
    for section, name in sorted(sizes, key=lambda place: (-sizes[place], place)):
        if total <= bytes_max:
            break
        gone.add((section, name))
        total -= sizes[section, name] - len(section)  # its name stands in `leftOut`
    for section in ("observed", "inventory"):
        rest[section] = {k: v for k, v in status.get(section, {}).items() if (section, k) not in gone}
    if total > bytes_max:
        rest["conditions"] = [{**each, "message": ""} for each in status.get("conditions", ())]
        gone.add(("conditions", "message"))
    return rest | {"leftOut": sorted(f"{section}.{name}" for section, name in gone)}


def json_bytes(value: Json) -> int:
    """How long it is in JSON, in UTF-8."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"))
