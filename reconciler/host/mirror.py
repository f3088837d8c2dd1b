"""The host's copy of a guest's status, kept by merge patches; without I/O.

1. A patch fits one revision only. One that does not fit is not guessed at: the whole is
   asked for again.
2. What is not newer than the copy is a repetition, and is acknowledged as the copy stands.
3. Revisions are comparable within one boot.
4. The guest is not trusted: patches may not grow the copy without end.
"""

import json
from collections.abc import Mapping

from reconciler.errors import RemoteProtocolError
from reconciler.host.hello import WORD_LENGTH_MAX, count
from reconciler.protocols.channel import TO_HOST_BYTES_MAX
from reconciler.resource import Json
from reconciler.status import apply_patch

PATCHED_BYTES_MAX = TO_HOST_BYTES_MAX  # then the whole again, which is no longer than this


class Lost(Exception):
    """The copy can't be brought up to date by this patch; ask for the whole."""


class Mirror:
    """One guest's status as far as it is known here. `boot_id` is empty while nothing is known."""

    def __init__(self) -> None:
        self.boot_id = ""
        self.revision = 0
        self.status: dict[str, Json] = {}
        self._patched_bytes = 0

    def have(self, boot_id: str) -> dict[str, Json]:
        """The params of `subscribe` to a guest in this boot."""
        known = self.boot_id and self.boot_id == boot_id
        return {"have": {"bootId": boot_id, "revision": self.revision}} if known else {}

    def forget(self) -> None:
        self.boot_id = ""

    def begin(self, boot_id: str, result: Json) -> bool:
        """Take the answer to `subscribe`; whether the status changed by it.

        `boot_id` is what hello said. On a line without seams a guest may have rebooted between the
        two answers: then the copy's own is the status'.
        """
        if not isinstance(result, dict):
            raise RemoteProtocolError("the answer to subscribe is not an object")
        revision = count(result, "revision")
        if "status" in result:
            before = self.boot_id, self.revision
            self._replace(revision, result["status"])
            self.boot_id = _boot_of(self.status) or boot_id
            return before != (self.boot_id, self.revision)
        if self.boot_id != boot_id:
            raise RemoteProtocolError("the answer to subscribe has no status")
        return False

    def take(self, params: Mapping[str, Json]) -> bool:
        """Take a `status` notification; whether it was news. Raises Lost, RemoteProtocolError."""
        revision = count(params, "revision")
        if revision <= self.revision:
            return False
        if "status" in params:
            self._replace(revision, params["status"])
        elif params.get("base") != self.revision:
            raise Lost
        else:
            self._patch(revision, params.get("patch"))
        return True

    def _replace(self, revision: int, status: Json) -> None:
        self.status, self.revision, self._patched_bytes = _checked(status), revision, 0

    def _patch(self, revision: int, patch: Json) -> None:
        self._patched_bytes += len(json.dumps(patch))
        if self._patched_bytes > PATCHED_BYTES_MAX:
            self.forget()
            raise Lost
        self.status, self.revision = _checked(apply_patch(self.status, patch)), revision


def _boot_of(status: Mapping[str, Json]) -> str:
    agent = status.get("agent")
    said = agent.get("bootId") if isinstance(agent, dict) else ""
    return said if isinstance(said, str) and len(said) <= WORD_LENGTH_MAX else ""


def _checked(status: Json) -> dict[str, Json]:
    if not isinstance(status, dict):
        raise RemoteProtocolError("status is not an object")
    return status
