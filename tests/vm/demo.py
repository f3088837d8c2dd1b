"""`make vm`: a document converges on a real Debian guest, before one's eyes.

The host's command line talks to the guest over a virtio-serial port; what the guest itself
says of it, through a port of the tests' own, stands beside it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from shlex import join

from tests.vm.guest import Guest, boot_once
from tests.vm.image import ROOT, product
from tests.vm.product import GAPS, session_of, start_writer

DOCUMENT = """\
hostname: web-01
session: locked
report: [memory, nics, filesystems]
"""
OFF = "power: off\n"
BOLD, DIM = "1", "2"


def main() -> int:
    say("A Debian guest, built with mmdebstrap and booted in QEMU; both are kept for the next time.")
    image = product()
    state = boot_once(image)
    with Guest(image, state) as guest:
        say(f"It is up: {guest.text('uname -sr')}, session of alice on tty1.")
        show(guest)
    say("The guest is off. All of it was real.")
    return 0


def show(guest: Guest) -> None:
    document, off = guest.folder / "web-01.yaml", guest.folder / "off.yaml"
    document.write_text(DOCUMENT)
    off.write_text(OFF)
    say("The document:", DOCUMENT)
    reconciler(guest, "apply", "-f", document, "--dry-run=guest")
    reconciler(guest, "apply", "-f", document, "--wait")
    reconciler(guest, "get")
    inside(guest, "hostname")
    inside(guest, f"loginctl show-session {session_of(guest)} -p Name -p TTY -p LockedHint")

    say("A snapshot of a mounted XFS disk, with a program writing to it all the time:")
    start_writer(guest)
    disk, copy = guest.folder / "data.qcow2", guest.folder / "snapshot.qcow2"
    reconciler(guest, "freeze", "--mount", "/data", "--", "cp", disk, copy)
    inside(guest, f"sleep 0.3; cat {GAPS}", "the writer stood still from and to, in seconds since boot:")

    reconciler(guest, "apply", "-f", off)
    began = time.monotonic()
    guest.wait_off(120)
    say(f"QEMU has ended by itself after {time.monotonic() - began:.1f} s.")


def reconciler(guest: Guest, *arguments: object) -> None:
    """Run the host's command line as a person would, and show it."""
    words = [str(argument).replace(f"{guest.folder}/", "") for argument in arguments]
    print(styled(BOLD, f"\n$ reconciler {join(words)}"), flush=True)
    environment = {**os.environ, "RECONCILER_CHANNEL": f"unix:{guest.channel}"}
    argv = [str(Path(sys.executable).parent / "reconciler"), *words]
    subprocess.run(argv, cwd=guest.folder, env=environment, check=True)


def inside(guest: Guest, command: str, remark: str = "") -> None:
    print(styled(DIM, f"\n{remark or 'in the guest: ' + command}"))
    print(guest.text(command), flush=True)


def styled(style: str, text: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stdout.isatty()
    return text if plain else f"\033[{style}m{text}\033[0m"


def say(*texts: str) -> None:
    for text in texts:
        print(f"\n{text}", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
