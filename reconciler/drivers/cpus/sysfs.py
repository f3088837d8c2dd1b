"""Processors through /sys/devices/system/cpu; see ABI/testing/sysfs-devices-system-cpu."""

import errno
import os
from collections.abc import Sequence

from reconciler.errors import DriverError
from reconciler.facilities.kernel_files import content
from reconciler.facilities.uevents import Uevents
from reconciler.resource import Watch
from reconciler.resources.cpus import Cpu, Observed, Processors
from reconciler.subjects.numbers import members

FOLDER = "/sys/devices/system/cpu"

_TOPOLOGY_CPUS_MAX = 512  # a small file for each: 5 ms in all
_NO_SMT = frozenset({"", "notsupported", "notimplemented"})


class SysfsCpus(Processors):
    needs = "/sys/devices/system/cpu/online"

    def __init__(self, folder: str = FOLDER) -> None:
        self._folder = folder

    @classmethod
    def available(cls) -> bool:
        return os.path.exists(f"{FOLDER}/online")

    def watches(self) -> Sequence[Watch]:
        """Processors that are plugged in or out, and those that somebody switches."""
        try:
            return (Uevents("cpu"),)
        except OSError:
            return ()  # without rights to it, the slow pass is left

    def processors(self) -> Observed:
        online = set(members(self._text("online")))
        if not online:
            raise DriverError(f"cannot count processors: {self._folder}/online names none")
        present = set(members(self._text("present"))) | online
        isolated = set(members(self._text("isolated")))
        smt = self._text("smt/control")
        threads = online if len(online) <= _TOPOLOGY_CPUS_MAX else set()
        cpus = tuple(
            Cpu(
                id,
                id in online,
                os.path.exists(f"{self._folder}/cpu{id}/online"),
                id in threads and self._is_second(id),
                id in isolated,
            )
            for id in sorted(present)
        )
        possible = sum(1 for _ in members(self._text("possible")))
        return Observed(cpus=cpus, possible=max(possible, len(cpus)), smt="" if smt in _NO_SMT else smt)

    def switch(self, cpu: int, *, online: bool) -> None:
        path = f"{self._folder}/cpu{cpu}/online"
        try:
            # Nothing is made where there is no such file.
            with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb", buffering=0) as file:
                file.write(b"1" if online else b"0")
        except OSError as error:
            verb = f"bring cpu{cpu} online" if online else f"take cpu{cpu} offline"
            raise DriverError(f"cannot {verb}: {self._why(error, online)}") from error

    def _why(self, error: OSError, online: bool) -> str:
        if error.errno == errno.ENOENT:
            return "it was unplugged, or has no switch"
        if error.errno == errno.EPERM and online and (smt := self._text("smt/control")) not in _NO_SMT:
            return f"{error.strerror}; threads of one core are switched {smt}"
        return error.strerror or str(error)

    def _is_second(self, cpu: int) -> bool:
        """Whether it shares a core with an online processor of a lower number."""
        # The older name of core_cpus_list says the same, and is there in every kernel.
        return next(members(self._text(f"cpu{cpu}/topology/thread_siblings_list")), cpu) < cpu

    def _text(self, name: str) -> str:
        return content(f"{self._folder}/{name}")
