"""The daemon as it is installed: an isolated interpreter without `site`, on a unix socket."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from bench.host import PATIENCE_S, Host

ROOT = Path(__file__).parent.parent
_DISTRIBUTION = ("/usr/bin/python3", "/usr/lib/python3/dist-packages")
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "LC_ALL": "C"}  # as in the unit
_LOOK_S = 0.0005  # between two looks for the socket, which nothing tells of


@cache
def interpreter() -> tuple[str, str]:
    """The program and where its libraries are: the distribution's if it has them all, else the venv's."""
    program, libraries = _DISTRIBUTION
    needed = f"import sys; sys.path.append({libraries!r}); import cerberus, jeepney, psutil, serial, yaml"
    tried = subprocess.run([program, "-IS", "-c", needed], capture_output=True, check=False)
    if tried.returncode == 0:
        return program, libraries
    import yaml  # late: only to see where it is

    return sys.executable, str(Path(yaml.__file__).parent.parent)


def command(*arguments: str) -> list[str]:
    program, libraries = interpreter()
    start = f"import sys; sys.path += [{str(ROOT)!r}, {libraries!r}]\n"
    start += "from guest_runtime.cli import main; sys.exit(main())"
    return [program, "-IS", "-c", start, *arguments]


@dataclass
class Guest:
    """A daemon of this run's own in `folder`, from `with` to its end."""

    folder: Path
    options: tuple[str, ...] = ("--rehearse",)
    interpreter_options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> "Guest":
        self.folder.mkdir(parents=True)
        channel = f"unix:{self.folder / 'socket'}"
        run = command("run", "--channel", channel, "--state-dir", str(self.folder / "state"), *self.options)
        run[1:1] = self.interpreter_options
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                run, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | _ENVIRONMENT
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def host(self) -> Host:
        """A connection, as soon as the daemon takes one."""
        ends_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return Host(self.folder / "socket")
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None or time.monotonic() > ends_s:
                    raise RuntimeError(f"the daemon did not start: {self._log()}") from None
            time.sleep(_LOOK_S)

    def resident_mib(self) -> float:
        """VmRSS of proc_pid_status(5)."""
        return _figures(Path(f"/proc/{self.process.pid}/status"))["VmRSS"] / 1024

    def wake_ups(self) -> int:
        """How often one of its threads has gone to sleep: each is woken once for that."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/status")
        return sum(_figures(thread)["voluntary_ctxt_switches"] for thread in threads)

    def has_children(self) -> bool:
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return any(thread.read_text().split() for thread in threads)

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-500:]


def _figures(path: Path) -> dict[str, int]:
    """The lines of a status file that begin with a number; VmRSS is in KiB."""
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    words = {name: value.split() for name, _, value in pairs}
    return {name: int(value[0]) for name, value in words.items() if value and value[0].isdigit()}
