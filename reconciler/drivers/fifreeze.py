"""Freeze through FIFREEZE and FITHAW of linux/fs.h, which a guardian process does for us."""

import os
import select
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from reconciler.errors import DriverError, Forbidden
from reconciler.facilities.sysblock import beneath
from reconciler.guarding import hooks, kernel, ledger, rescue
from reconciler.guarding.link import Link, LinkLost, LinkSilent
from reconciler.policy import covers
from reconciler.resource import Json, Watch
from reconciler.resources.filesystems import Freeze, Freezer, PastFreeze, Seen
from reconciler.subjects.mounts import Line, Mount, hidden, parse, why_not

MOUNTINFO = "/proc/self/mountinfo"
_THAW_S = 2.0  # a thaw takes milliseconds; after this the guardian is taken for hung, and done without
_TRIM_FAULTS_MAX = 32  # named in the status
_FORBIDDEN = "forbidden by the guest's policy (forbid.paths)"


class FiFreeze(Freezer):
    needs = "rights of root on Linux"

    def __init__(
        self, ledger_path: str = ledger.PATH, hooks_folder: str = hooks.FOLDER, below: str = "/"
    ) -> None:
        """`below`: mounts elsewhere are not seen, and so never frozen."""
        self.lease_s_max = 600.0
        self.forbidden_commands: tuple[str, ...] = ()  # shell patterns; the policy's
        self.forbidden_paths: tuple[str, ...] = ()
        self.ioctl_s = 0.0  # what the kernel took for the last freeze
        self._ledger = ledger.Ledger(ledger_path)
        self._hooks_folder = hooks_folder
        self._below = below.rstrip("/")
        self._link: Link | None = None
        self._starting = threading.Lock()
        self._alarm = _Alarm()
        self._trimmed: dict[str, Json] = {}

    @classmethod
    def available(cls) -> bool:
        return sys.platform == "linux" and os.geteuid() == 0

    @classmethod
    def observable(cls) -> bool:
        """Looking takes no rights; a rehearsal needs no more."""
        return sys.platform == "linux"

    def watches(self) -> Sequence[Watch]:
        return (self._alarm,)

    def prepare(self) -> None:
        with suppress(DriverError):  # the freeze will say it
            self._guardian()

    def cancel(self) -> None:
        link = self._link
        if link is not None:
            with suppress(LinkLost):  # then there is nothing to give up
                link.send({"do": "cancel"})

    def look(self) -> Seen:
        known = self._ledger.read()
        held, last = known.get("held"), known.get("last")
        return Seen(
            boot_clock_s=kernel.boot_clock_s(),
            mounts=self._mounts(),
            epoch=known["epoch"],
            freeze=Freeze(
                epoch=held["epoch"],
                generation=held["generation"],
                until_s=held["until"],
                devices=tuple(mount["device"] for mount in held["mounts"]),
                mounts=tuple(mount["path"] for mount in held["mounts"]),
                guarded=self._link is not None and self._link.lives(),
                note=held.get("note", ""),
            )
            if held
            else None,
            last=PastFreeze(**last) if last else None,
            trimmed=self._trimmed,
        )

    def freeze(self, generation: int, lease_s: float, mounts: Sequence[Mount]) -> None:
        for mount in mounts:
            if covers(mount.path, self.forbidden_paths):
                raise Forbidden(f"cannot freeze {mount.path}: {_FORBIDDEN}")
        message: dict[str, Json] = {
            "do": "freeze",
            "generation": generation,
            "lease_s": lease_s,
            "mounts": [{"path": m.path, "id": m.id, "device": m.device} for m in mounts],
            "hooks": self._hooks(),
        }
        if self._link is None or not self._link.lives():
            self._rescue()  # a guardian killed among the hooks after a freeze still owes some
        try:
            answer = self._guardian().call(message)
        except LinkLost:
            # It may have ended for want of work just as we asked. Having begun, it would be in the ledger.
            if not self._ledger.is_settled():
                self._rescue()
                raise DriverError("cannot freeze: the guardian died") from None
            answer = self._again(message)
        if "error" in answer:
            raise DriverError(answer["error"])
        self.ioctl_s = answer["ioctl_s"]

    def thaw(self) -> None:
        link = self._link
        if link is None or not link.lives():
            self._rescue()
            return
        try:
            if link.calls():  # a freeze, when the agent is to end: it must not be waited for
                link.send({"do": "cancel"})
            answer = link.call({"do": "thaw"}, _THAW_S)
        except LinkLost:
            self._rescue()
        except LinkSilent:
            link.kill()
            self.close()
            self._rescue()
        else:
            if "error" in answer:
                raise DriverError(answer["error"])

    def renew(self, generation: int, lease_s: float) -> tuple[int, float]:
        link = self._link
        if link is None or not link.lives():
            raise DriverError(f"cannot renew: no freeze of generation {generation} holds")
        try:
            answer = link.call({"do": "renew", "generation": generation, "lease_s": lease_s}, _THAW_S)
        except (LinkLost, LinkSilent) as error:
            raise DriverError(f"cannot renew: {error}") from None
        if "error" in answer:
            raise DriverError(answer["error"])
        return answer["epoch"], answer["until_s"]

    def trim(self, token: str, minimum: int, mounts: Sequence[Mount]) -> None:
        trimmed: dict[str, int] = {}
        refused: dict[str, str] = {}
        for mount in mounts:
            if covers(mount.path, self.forbidden_paths):
                refused[mount.path] = _FORBIDDEN
                continue
            try:
                fd = kernel.open_mount(mount.path)
                try:
                    trimmed[mount.path] = kernel.trim(fd, minimum)
                finally:
                    os.close(fd)
            except OSError as error:
                refused[mount.path] = kernel.words(error.errno or 0)
        # Told in what is observed, not raised: some were trimmed, and a token is for once.
        self._trimmed = {"token": token, "trimmed": trimmed}
        if refused:
            self._trimmed["refused"] = dict(list(refused.items())[:_TRIM_FAULTS_MAX])

    def close(self) -> None:
        """Let the guardian go; it thaws whatever is frozen."""
        if self._link is not None:
            self._alarm.forget()
            self._link.close()
            self._link = None

    def _guardian(self) -> Link:
        """The one that lives, or a new one. Raises DriverError."""
        with self._starting:
            if self._link is not None and self._link.lives():
                return self._link
            self.close()
            try:
                self._link = Link(self._ledger.path)
            except OSError as error:
                raise DriverError(f"cannot start the freeze guardian: {error.strerror}") from error
            self._alarm.listen(self._link)
            return self._link

    def _again(self, message: dict[str, Json]) -> dict[str, Json]:
        try:
            return self._guardian().call(message)
        except LinkLost as error:
            self._rescue()
            raise DriverError(f"cannot freeze: {error}") from None

    def _rescue(self) -> None:
        faults = rescue.thaw_all(self._ledger.path, ended="GuardianDied")
        if faults:
            raise DriverError("; ".join(faults))

    def _hooks(self) -> list[str]:
        try:
            found = hooks.find(self._hooks_folder)
        except (hooks.UnsafeHook, OSError) as error:
            raise DriverError(f"cannot freeze: {error}") from error
        for path in found:
            # Not left out in silence: without its database flushed, a snapshot is not what was asked for.
            if any(fnmatchcase(path, pattern) for pattern in self.forbidden_commands):
                raise Forbidden(f"cannot freeze: {path} is forbidden by the guest's policy (forbid.commands)")
        return found

    def _mounts(self) -> tuple[Mount, ...]:
        with open(MOUNTINFO, errors="surrogateescape", newline="\n") as file:
            lines = parse(file.read())
        unseen = hidden(lines)
        return tuple(
            _mount(line, lines, unseen)
            for line in lines
            if _is_on_disk(line) and (line.path + "/").startswith(self._below + "/")
        )


class _Alarm:
    """Readable when mounts have changed, or the guardian has something to tell or has died."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # Open as long as the process: its event is a change since it was opened or last polled.
        self._mountinfo = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._epoll.register(self._mountinfo, select.EPOLLPRI | select.EPOLLERR)
        self._link: Link | None = None
        self._lock = threading.Lock()  # so that nobody reads from a bell that is being closed

    def fileno(self) -> int:
        return self._epoll.fileno()

    def listen(self, link: Link) -> None:
        with self._lock:
            self._link = link
            self._epoll.register(link.bell, select.EPOLLIN)

    def forget(self) -> None:
        with self._lock:
            self._forget()

    def drain(self) -> bool:
        self._epoll.poll(0)  # a look at mountinfo arms it again
        with self._lock:
            if self._link is not None and not self._link.rung():
                self._forget()
        # Whoever polled us has looked at mountinfo before, so its event need not be there any more.
        return True

    def _forget(self) -> None:
        if self._link is not None:
            self._epoll.unregister(self._link.bell)
            self._link = None


def _is_on_disk(line: Line) -> bool:
    return not line.device.startswith("0:") or line.source.startswith("/dev/")


def _mount(line: Line, lines: Sequence[Line], unseen: frozenset[int]) -> Mount:
    size = used = 0
    if line.id not in unseen:
        try:
            space = os.statvfs(line.path)
        except OSError:
            pass  # it is shown without
        else:
            size = space.f_blocks * space.f_frsize
            used = size - space.f_bfree * space.f_frsize
    below = beneath(line, lines, unseen)
    why = why_not(line, unseen)
    return Mount(line.id, line.path, line.type, line.device, below.disks, size, used, why, below.backed_by)
