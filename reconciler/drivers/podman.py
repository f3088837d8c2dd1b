"""Running containers of root's podman, from its store and its monitors' pid files.

To ask podman itself would start a process at every look, for nothing of it stays.
"""

import os
import time
from collections.abc import Iterator
from itertools import product
from typing import ClassVar

from reconciler.errors import DriverError
from reconciler.facilities.sysblock import entries
from reconciler.resource import Json
from reconciler.resources.report import Source

_STORED = "/var/lib/containers/storage"
_RUNNING = "/run/containers/storage"
_LISTS = ("containers.json", "volatile-containers.json")  # the second has those of `podman run --rm`

_LIST_BYTES_MAX = 16 << 20  # some 1 KiB a container
_CONTAINERS_MAX = 1000
_TEXT_CHARS_MAX = 256  # of an image's name


class Podman(Source):
    """`containers`: `{podman: {name: {id, image?, state, created?}}}`; the state is `running`.

    People's own containers, which podman keeps in their homes, are not looked at.
    """

    items: ClassVar[tuple[str, ...]] = ("containers",)
    needs: ClassVar[str] = "podman"

    def __init__(self, stored: str = _STORED, running: str = _RUNNING, proc: str = "/proc") -> None:
        self._stored = stored
        self._running = running
        self._proc = proc

    @classmethod
    def available(cls) -> bool:
        return os.path.isdir(_STORED)

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        told: dict[str, Json] = {}
        try:
            for store, each in self._listed():
                if len(told) < _CONTAINERS_MAX and self._runs(store, each["id"]):
                    names = each.get("names") or [each["id"][:12]]
                    told[names[0][:_TEXT_CHARS_MAX]] = _container(each)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DriverError(f"cannot list containers: {self._stored}: strange list: {error}") from error
        except OSError as error:
            raise DriverError(f"cannot list containers: {error.filename}: {error.strerror}") from error
        return {"podman": dict(sorted(told.items()))}

    def _listed(self) -> Iterator[tuple[str, Json]]:
        """Each container, with the folder of its storage driver: `overlay-containers`, `btrfs-containers`."""
        # Late: a guest may have no containers.
        import json

        for storage in (self._stored, self._running):
            stores = [name for name in entries(storage) if name.endswith("-containers")]
            for store, name in product(stores, _LISTS):
                path = f"{storage}/{store}/{name}"
                try:
                    with open(path, "rb") as file:
                        text = file.read(_LIST_BYTES_MAX + 1)
                except FileNotFoundError:
                    continue
                if len(text) > _LIST_BYTES_MAX:
                    raise DriverError(
                        f"cannot list containers: {path} is longer than {_LIST_BYTES_MAX} bytes"
                    )
                yield from ((store, each) for each in json.loads(text or b"[]"))

    def _runs(self, store: str, id: str) -> bool:
        """Whether the process is there that the container's monitor wrote down, and is not another's."""
        folder = f"{self._running}/{store}/{id}/userdata"
        try:
            with open(f"{folder}/pidfile") as file:
                pid = int(file.read(32))
            with open(f"{self._proc}/{pid}/cgroup") as file:
                return id in file.read(64 * 1024)
        except (OSError, ValueError):
            return False


def _container(each: Json) -> Json:
    import json

    told: Json = {"id": each["id"][:12], "state": "running"}
    about = json.loads(each.get("metadata") or "{}")
    if image := about.get("image-name"):
        told["image"] = image[:_TEXT_CHARS_MAX]
    if created := each.get("created"):
        told["created"] = f"{created[:19]}Z"  # RFC 3339 in UTC, with nanoseconds
    return told
