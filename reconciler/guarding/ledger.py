"""What is frozen, by whom and until when: one small file in /run, never frozen itself.

Linux cannot say which filesystems are frozen, so this file is what everybody goes by:
the guardian writes it, and before the first ioctl, since to thaw what never froze is
harmless; the agent reads it; whoever comes after both have died thaws by it.

    {"bootId": text, "epoch": the last one given,
     "held": {"epoch", "generation", "until", "mounts": [{"path", "device"}], "note"?},
     "last": {"epoch", "generation", "ended", "message"?},
     "owed": [hooks that have run before the freeze and are still to run after it]}
"""

# Imported by the guardian, which must start in some 15 ms: nothing here that imports dataclasses or typing.
import fcntl
import json
import os
from collections.abc import Mapping

from reconciler.guarding.kernel import boot_id

PATH = "/run/guest-reconciler/freeze.json"
_MESSAGE_CHARS_MAX = 2000  # it travels in every status
_BYTES_MAX = 4 << 20  # 256 mounts with paths of 4 KiB each are 1 MiB; more is not ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.resource import Json


class Ledger:
    def __init__(self, path: str = PATH) -> None:
        self.path = path
        self._boot_id = boot_id()
        self._lock = -1

    def read(self) -> "dict[str, Json]":
        """What was written in this boot; at least `epoch`."""
        try:
            with open(self.path, "rb") as file:
                # Not read(limit): it takes a buffer of that size, and the guardian's are locked in memory.
                whole = os.fstat(file.fileno()).st_size <= _BYTES_MAX
                found = json.loads(file.read()) if whole else None
        except (OSError, ValueError):
            found = None
        if isinstance(found, dict) and found.get("bootId") == self._boot_id:
            return found
        return {"bootId": self._boot_id, "epoch": 0}

    def write(self, content: "Mapping[str, Json]") -> None:
        """Replace it whole. Not synced: it is about this boot, and about memory."""
        self._make_folder()
        fresh = f"{self.path}.{os.getpid()}"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:
            json.dump(content, file)
        os.rename(fresh, self.path)

    def begin(self, generation: int, until_s: float, mounts: "list[dict[str, str]]", note: str) -> int:
        """Remember a freeze before its first ioctl; its epoch."""
        content = self.read()
        content["epoch"] += 1
        held = {"epoch": content["epoch"], "generation": generation, "until": until_s, "mounts": mounts}
        content["held"] = held | ({"note": note} if note else {})
        self.write(content)
        return int(content["epoch"])

    def extend(self, until_s: float) -> None:
        content = self.read()
        if "held" in content:
            content["held"]["until"] = until_s
            self.write(content)

    def end(self, ended: str, message: str = "") -> None:
        """Nothing is frozen any more."""
        content = self.read()
        held = content.pop("held", None)
        if held is not None:
            last = {"epoch": held["epoch"], "generation": held["generation"], "ended": ended}
            content["last"] = last | ({"message": message} if message else {})
            self.write(content)

    def complain(self, faults: "list[str]") -> None:
        """Add what went wrong after the last freeze to what is known of it."""
        content = self.read()
        if faults and "last" in content:
            said = [text for text in (content["last"].get("message", ""), *faults) if text]
            content["last"]["message"] = "; ".join(said)[:_MESSAGE_CHARS_MAX]
            self.write(content)

    def owe(self, hooks: "list[str]") -> None:
        """Remember which hooks are to run once more after the freeze."""
        content = self.read()
        if hooks:
            content["owed"] = hooks
        else:
            content.pop("owed", None)
        self.write(content)

    def is_settled(self) -> bool:
        """Whether nothing is frozen by it and no hook is owed."""
        return not {"held", "owed"} & self.read().keys()

    def device(self) -> int:
        """`st_dev` of where it lies: that filesystem must not be frozen."""
        self._make_folder()
        return os.stat(os.path.dirname(self.path)).st_dev

    def lock(self) -> bool:
        """Take the exclusive right to thaw by it; False while somebody else has it. Ends with the process."""
        if self._lock < 0:
            self._make_folder()
            fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            self._lock = fd
        return True

    def unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make_folder(self) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
