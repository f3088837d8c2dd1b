"""`make run`: a guest in rehearsal on this machine converges to a document.

What it observes is this machine; what it does is recorded and shows in what it observes
next, but is not done. No root is needed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import join

DOCUMENT = """\
hostname: web-01
filesystems: thawed
report: [memory, nics, os]
"""
CHANNEL = "unix:guest.sock"
UP_S = 20.0  # a start takes a tenth of a second, on a machine with nothing else to do
STEP_S = 30.0
END_S = 20.0  # the same
LOOK_S = 0.02  # between looks for the socket, which nothing tells of
INTERRUPTED = 130  # as shells have it
BOLD = "1"


class Failed(Exception):
    """A step did not do what it should."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="guest-reconciler-") as name:
        folder = Path(name)
        try:
            with guest(folder):
                show(folder)
        except Failed as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return INTERRUPTED
    print("\nThe guest has ended. Nothing on this machine was changed.")
    return 0


def show(folder: Path) -> None:
    (folder / "web-01.yaml").write_text(DOCUMENT)
    print(f"\nThe document, web-01.yaml:\n\n{DOCUMENT}", end="")
    reconciler(folder, "apply", "-f", "web-01.yaml", "--dry-run=guest")
    reconciler(folder, "apply", "-f", "web-01.yaml", "--wait")
    reconciler(folder, "get")
    reconciler(folder, "get", "hostname")
    reconciler(folder, "get", "memory")
    reconciler(folder, "get", "nics")
    reconciler(folder, "diff", "-f", "web-01.yaml")
    print("No differences: it exits with 0.")
    if freezable(folder):
        print("\nA freeze around a command, which would take a snapshot:")
        reconciler(folder, "freeze", "--", "echo", "the snapshot is taken")
    else:
        print("\nNo filesystem of this machine can be frozen, so no freeze is shown.")
    reconciler(folder, "events")


@contextmanager
def guest(folder: Path) -> Iterator[None]:
    """The guest's daemon, for as long as the block takes. Fails also if it ends badly."""
    argv = [sys.executable, "-m", "guest_runtime.cli", "run", "--rehearse"]
    argv += ["--channel", CHANNEL, "--state-dir", "state"]
    print(styled(f"$ {join(['guest-reconciler', *argv[3:]])} &"), flush=True)
    log = folder / "guest.log"
    with log.open("wb") as errors:
        # A group of its own: Ctrl-C is for what is shown, and the guest is ended by us.
        daemon = subprocess.Popen(argv, cwd=folder, stdout=errors, stderr=errors, process_group=0)
    try:
        wait_up(daemon, folder / "guest.sock", log)
        yield
    finally:
        daemon.terminate()
        try:
            status = daemon.wait(END_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            status = daemon.wait()
    if status:
        raise Failed(f"the guest ended with {status}:\n{log.read_text()}")


def wait_up(daemon: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + UP_S
    while not socket.is_socket():
        if daemon.poll() is not None:
            raise Failed(f"the guest did not start:\n{log.read_text()}")
        if time.monotonic() > deadline:
            raise Failed(f"the guest does not listen after {UP_S:.0f} s:\n{log.read_text()}")
        time.sleep(LOOK_S)


def reconciler(folder: Path, *words: str) -> None:
    """Run the host's command line as a person would, and show it."""
    print(styled(f"\n$ reconciler {join(words)}"), flush=True)
    try:
        status = subprocess.run(command(*words), cwd=folder, env=environment(), timeout=STEP_S).returncode
    except subprocess.TimeoutExpired:
        raise Failed(f"reconciler {words[0]} took more than {STEP_S:.0f} s") from None
    if status:
        raise Failed(f"reconciler {words[0]} exited with {status}")


def freezable(folder: Path) -> bool:
    """Whether there is anything to freeze: in a container there may be nothing."""
    argv = command("get", "filesystems", "-o", "json")
    told = subprocess.run(argv, cwd=folder, env=environment(), timeout=STEP_S, stdout=subprocess.PIPE)
    if told.returncode:
        raise Failed(f"reconciler get exited with {told.returncode}")
    return any(mount["canFreeze"] for mount in json.loads(told.stdout)["mounts"])


def command(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "reconciler"), *words]


def environment() -> dict[str, str]:
    return {**os.environ, "RECONCILER_CHANNEL": CHANNEL}


def styled(text: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stdout.isatty()
    return text if plain else f"\033[{BOLD}m{text}\033[0m"


if __name__ == "__main__":
    sys.exit(main())
