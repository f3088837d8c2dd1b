"""Power through the programs of sysvinit, OpenRC or busybox, for guests without logind.

They begin and return, so nothing in the guest tells that a shutdown is under way; this
driver remembers that it began one. Sleep, inhibitors and deadlines are logind's alone.
"""

import os
import time
from collections.abc import Mapping

from reconciler.errors import DriverError, Unsupported
from reconciler.facilities.child import run
from reconciler.resources.power import Machine, Switch, Verb, booted_s
from reconciler.subjects.timestamps import stamp

_FOLDERS = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")
_OPTIONS: Mapping[Verb, str] = {"off": "-P", "halt": "-H", "reboot": "-r"}  # of shutdown(8)
_PROGRAMS: Mapping[Verb, str] = {"off": "poweroff", "halt": "halt", "reboot": "reboot"}  # of busybox
_LASTS_S = 300.0  # longer than any shutdown without systemd; after it, it came to nothing
_RUN_S = 20.0  # below the 30 s that an act may take; they only write to init


class Shutdown(Switch):
    def __init__(self, folders: tuple[str, ...] = _FOLDERS) -> None:
        self._folders = folders
        self._begun_s = float("-inf")  # on the boot clock

    @classmethod
    def available(cls) -> bool:
        return True  # without any such program it still observes

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def machine(self) -> Machine:
        return Machine(
            boot_id=_read("/proc/sys/kernel/random/boot_id"),
            booted_at=stamp(booted_s(_read("/proc/stat"))),
            state="shutting-down" if self.boot_clock_s() < self._begun_s + _LASTS_S else "running",
            able=frozenset(verb for verb in _OPTIONS if os.geteuid() == 0 and self._command(verb)),
        )

    def bring(self, verb: Verb, *, message: str, heed: bool, deadline_s: float | None) -> None:
        if deadline_s is not None:
            raise Unsupported(f"cannot set a deadline for {verb}: this guest has no systemd")
        command = self._command(verb)
        if not command:
            raise Unsupported(f"cannot {verb}: this guest has neither logind nor a program for it")
        if message:
            if not command[0].endswith("/shutdown"):
                raise Unsupported(f"cannot tell anybody of {verb}: this guest has no shutdown(8)")
            command.append(message)
        ended = run(command, deadline_s=_RUN_S, output_bytes_max=4096)
        if ended.fault:
            raise DriverError(f"cannot {verb}: {ended.fault}")
        self._begun_s = self.boot_clock_s()

    def _command(self, verb: Verb) -> list[str]:
        """shutdown(8), or else the program that busybox has; empty where there is neither."""
        if verb not in _OPTIONS:
            return []
        if shutdown := self._find("shutdown"):
            return [shutdown, _OPTIONS[verb], "now"]
        program = self._find(_PROGRAMS[verb])
        return [program] if program else []

    def _find(self, program: str) -> str:
        paths = (f"{folder}/{program}" for folder in self._folders)
        return next((path for path in paths if os.access(path, os.X_OK)), "")


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
