"""The status as it travels: a revision that only grows, and the last few to patch from."""

from collections import OrderedDict

from reconciler.resource import Json

KEPT_MAX = 8  # revisions that a host coming back may patch from; each is some 100 KiB at most


class Report:
    """One for the daemon, shared by its conversations."""

    def __init__(self) -> None:
        self.revision = 0
        self.document: Json = {}
        self._kept: OrderedDict[int, Json] = OrderedDict()

    def update(self, document: Json, now_s: float) -> bool:
        """Take the status of now; whether it differs from the last one."""
        if document == self.document and self.revision:
            return False
        # Milliseconds of this boot: so it goes on growing when the agent is restarted.
        self.revision = max(self.revision + 1, int(now_s * 1000))
        self.document = self._kept[self.revision] = document
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return True

    def at(self, revision: object) -> Json | None:
        """The status of an earlier revision, while it is kept."""
        return self._kept.get(revision) if type(revision) is int else None
