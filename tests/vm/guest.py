"""A real guest: QEMU around an image, a shell inside it, its channel and its power.

A guest boots once; its whole state (memory, devices, disks) is kept beside the image and
each test goes on from there, with overlays of its own, in about a second. The restored
guest's clocks go on where they stood: the boot clock has no gap, so nothing inside
times out, and the wall clock is set again.
"""

import fcntl
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar, Self

from tests.vm.image import Image
from tests.vm.wire import Host

BOOT_S = 240.0  # 20 s on a quiet machine; with only a third of it, 120 were not enough
# An emulated kernel has been seen to stand still for ever; its next boot rarely does.
BOOTS_MAX = 3
PORT = "org.guest_reconciler.0"
MAC = "52:54:00:12:34:56"
# No mitigations: an emulator speculates nothing, and they take a quarter of its time.
KERNEL_LINE = (
    "root=/dev/vda rw console=tty0 console=ttyS0 net.ifnames=0 mitigations=off "
    "systemd.show_status=no systemd.journald.forward_to_console=no panic=-1"
)


@dataclass(frozen=True)
class Ran:
    """What came of a command in the guest: its exit code, and both its streams."""

    rc: int
    out: str


@dataclass
class Guest:
    """One virtual machine. `with Guest(image) as guest:` boots it and kills it at the end."""

    kept: ClassVar[str] = "booted"  # the folder beside the image that holds its saved boot
    processors: ClassVar[str] = "2"  # as of -smp
    memory_mib: ClassVar[int] = 1024
    memory_slots: ClassVar[str] = ""  # the rest of -m, where more can be plugged in
    display: ClassVar[str] = "VGA"
    started: ClassVar[str] = "test -e /run/user/1000/locker"  # succeeds when no more is to come up

    image: Image
    state: Path | None = None  # a folder made by `boot_once`
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="guest-")))

    def __post_init__(self) -> None:
        self.channel = self.folder / "channel"  # the host's end of the product's virtio port
        self.serial = self.folder / "serial"  # the host's end of the guest's /dev/ttyS1
        self.console = self.folder / "console.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.disks: list[Path] = []
        self.asked = 0
        self.replies: dict[int, dict[str, Any]] = {}
        self.control: Lines | None = None
        self.monitor: Lines | None = None

    def __enter__(self) -> Self:
        try:
            self.make_disks()
            self.start(self.state)
            self.wait_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make_disks(self) -> None:
        for below in self.image.disks:
            source = (self.state / f"{below.stem}.qcow2") if self.state else below
            overlay = self.folder / f"{below.stem}.qcow2"
            form = "qcow2" if self.state else "raw"
            argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(source), str(overlay)]
            subprocess.run(argv, check=True)
            self.disks.append(overlay)

    def start(self, state: Path | None = None) -> None:
        """Power on; from `state` when given, else through the kernel."""
        incoming = ["-incoming", f"exec:cat {state / 'memory'}"] if state else []
        self.process = subprocess.Popen([*self.command_line(), *incoming], stdin=subprocess.DEVNULL)
        self.monitor = Lines(connect(self.folder / "qmp", self.process))
        self.monitor.read(10)  # the greeting
        self.qmp("qmp_capabilities")
        if state:
            self.resume()
        self.control = Lines(connect(self.folder / "control", self.process))

    def resume(self) -> None:
        """Go on from a state that is being read: it was saved from a guest that stood still."""
        deadline = time.monotonic() + 60
        while self.qmp("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise TimeoutError("cannot restore the guest: its state is not read in 60 s")
            time.sleep(0.02)
        self.qmp("cont")

    def command_line(self) -> list[str]:
        # No guest outlives its tests, even when they are killed.
        line = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi"]
        line += f"-cpu max -smp {self.processors} -m {self.memory_mib}{self.memory_slots}".split()
        line += ["-nodefaults", "-no-user-config", "-display", "none"]
        line += ["-device", self.display, "-device", "virtio-rng-pci"]
        line += f"-netdev user,id=net,restrict=on -device virtio-net-pci,netdev=net,mac={MAC}".split()
        line += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd), "-append", KERNEL_LINE]
        for disk in self.disks:
            line += ["-drive", f"file={disk},if=virtio,format=qcow2"]
        line += ["-device", "virtio-serial-pci"]
        for name, port in {"channel": PORT, "control": "test.control.0"}.items():
            line += ["-chardev", f"socket,id={name},path={self.folder / name},server=on,wait=off"]
            line += ["-device", f"virtserialport,id={name}-port,chardev={name},name={port}"]
        line += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        line += ["-chardev", f"socket,id=serial,path={self.serial},server=on,wait=off"]
        line += ["-device", "pci-serial,chardev=serial"]
        return [*line, "-qmp", f"unix:{self.folder / 'qmp'},server=on,wait=off"]

    # Inside

    def run(self, command: str, timeout: float = 60, *, check: bool = True) -> Ran:
        """Run a shell command as root in the guest. Error: RuntimeError when it fails and `check`."""
        ran = self.finish(self.begin(command, timeout), timeout + 30)
        if check and ran.rc:
            raise RuntimeError(f"cannot run {command!r} in the guest: {ran.rc}: {ran.out}")
        return ran

    def begin(self, command: str, timeout: float = 60) -> int:
        """Start a command and go on; `finish` of the number returned waits for it."""
        assert self.control
        self.asked += 1
        self.control.write({"id": self.asked, "command": command, "timeout": timeout})
        return self.asked

    def finish(self, number: int, timeout: float = 90) -> Ran:
        assert self.control
        deadline = time.monotonic() + timeout
        while number not in self.replies:
            reply = self.control.read(deadline - time.monotonic())
            self.replies[reply["id"]] = reply
        reply = self.replies.pop(number)
        return Ran(reply["rc"], reply["out"].strip())

    def text(self, command: str, timeout: float = 60) -> str:
        return self.run(command, timeout).out

    def wait_up(self, timeout: float = BOOT_S) -> None:
        """Until commands run in the guest and its clock is right."""
        deadline = time.monotonic() + timeout
        while True:
            assert self.process
            if self.process.poll() is not None:
                raise RuntimeError("cannot boot the guest: QEMU is gone")
            try:
                # Asked anew, as what is written before the guest listens may be lost.
                self.finish(self.begin(f"date -s @{time.time():.2f}", 10), 2)
                return
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not up within {timeout:.0f} s: {self.plight()}") from None

    def plight(self) -> str:
        """What can be seen from outside of a guest that does not answer: one text for a person."""
        assert self.process
        free_mib = shutil.disk_usage(self.folder).free >> 20
        cpu_s = sum(map(int, Path(f"/proc/{self.process.pid}/stat").read_text().split()[13:15])) / 100
        console = self.console.read_text(errors="replace")[-3000:]
        # QEMU stops a guest whose disk it cannot write.
        status = self.qmp("query-status")
        return f"{status}, QEMU took {cpu_s:.0f} s of CPU, {free_mib} MiB free here; console:\n{console}"

    def wait_until(self, command: str, timeout: float = 30) -> str:
        """Run a command in the guest again and again until it succeeds; what it printed."""
        loop = f'until out=$({command}); do sleep 0.05; done; echo "$out"'
        ran = self.run(f"timeout {timeout} bash -c {quote(loop)}", timeout + 10, check=False)
        if ran.rc:
            raise TimeoutError(f"not within {timeout:.0f} s in the guest: {command}")
        return ran.out

    def boots(self) -> list[str]:
        """The boot ids that there were, oldest first."""
        return self.text("cat /var/lib/boots").split()

    def wait_boots(self, count: int, timeout: float = BOOT_S) -> None:
        """Until the guest is up for the `count`th time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                # Not waited for long: what is asked of a guest that restarts is lost.
                if len(self.finish(self.begin("cat /var/lib/boots", 5), 3).out.split()) >= count:
                    return self.wait_up()
            time.sleep(0.2)
        raise TimeoutError(f"not up for the {count}th time within {timeout:.0f} s")

    # Around it

    def qmp(self, command: str, **arguments: Any) -> Any:
        assert self.monitor
        self.monitor.write({"execute": command, "arguments": arguments})
        reply = self.monitor.until(lambda line: "return" in line or "error" in line, 60)
        if "error" in reply:
            raise RuntimeError(f"cannot {command}: {reply['error']['desc']}")
        return reply["return"]

    def kill(self) -> None:
        """Power cut: SIGKILL of QEMU. What the guest had not flushed is lost."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.disconnect()

    def wait_off(self, timeout: float = 60) -> None:
        """Until the guest has powered itself off. Error: subprocess.TimeoutExpired."""
        assert self.process
        if self.process.wait(timeout) != 0:
            raise RuntimeError("the guest did not power off: QEMU died")
        self.disconnect()

    def wait_status(self, status: str, timeout: float = 60) -> None:
        """Until QEMU says so: running, suspended, ..."""
        deadline = time.monotonic() + timeout
        while (now := self.qmp("query-status")["status"]) != status:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {status} within {timeout:.0f} s: {now}")
            time.sleep(0.1)

    def wait_console(self, words: str, timeout: float = 60) -> None:
        """Until the guest's console has shown these words."""
        deadline = time.monotonic() + timeout
        while words not in self.console.read_text(errors="replace"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not on the console within {timeout:.0f} s: {words}")
            time.sleep(0.1)

    def is_off(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def save(self, state: Path) -> None:
        """Keep memory, devices and disks in a folder, and end this guest."""
        assert self.process
        self.qmp("stop")
        self.qmp("migrate", uri=f"exec:cat >{state / 'memory'}")
        deadline = time.monotonic() + 120
        while (now := self.qmp("query-migrate"))["status"] != "completed":
            if now["status"] == "failed" or time.monotonic() > deadline:
                raise RuntimeError(f"cannot save the guest: {now}")
            time.sleep(0.05)
        self.qmp("quit")
        self.process.wait(30)
        self.disconnect()
        for disk in self.disks:
            shutil.move(disk, state / disk.name)

    def disconnect(self) -> None:
        for lines in (self.control, self.monitor):
            if lines:
                lines.socket.close()
        self.control = self.monitor = None

    def close(self) -> None:
        if not self.is_off():
            self.kill()
        self.disconnect()
        shutil.rmtree(self.folder, ignore_errors=True)


class Lines:
    """JSON objects, one a line, over a unix socket."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.pending = b""

    def write(self, message: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self, timeout: float) -> dict[str, Any]:
        """The next object. Errors: TimeoutError; ConnectionError when the other end is gone."""
        deadline = time.monotonic() + timeout
        while True:
            line, newline, rest = self.pending.partition(b"\n")
            if newline:
                self.pending = rest
                try:
                    return dict(json.loads(line))
                except ValueError:
                    continue  # the rest of a line that the guest began before a power cut
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the guest is gone")
            self.pending += data

    def until(self, wanted: Any, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            message = self.read(deadline - time.monotonic())
            if wanted(message):
                return message


def connect(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to a socket that QEMU is about to make."""
    deadline = time.monotonic() + 30
    while True:
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(path))
            return connected
        except OSError:
            connected.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def boot_once(image: Image, make: type[Guest] = Guest) -> Path:
    """The state of a guest that has come up, and has no document yet; kept beside the image."""
    state = image.folder / make.kept
    # A lock for each, as others build or boot other images meanwhile.
    with open(state.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not state.exists():
            part = state.with_suffix(".part")
            for attempt in range(1, BOOTS_MAX + 1):
                print(f"booting {image.folder.name}", file=sys.stderr, flush=True)
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                try:
                    boot_into(part, image, make)
                    break
                except TimeoutError as error:
                    print(f"attempt {attempt}: {error}", file=sys.stderr, flush=True)
                    if attempt == BOOTS_MAX:
                        raise
            part.rename(state)
            rebase(state, image)
    return state


def boot_into(state: Path, image: Image, make: type[Guest]) -> None:
    with make(image) as guest:
        guest.run("systemctl is-system-running --wait", BOOT_S, check=False)
        guest.wait_until(guest.started)
        guest.run("sync")
        # The child that reads documents takes seconds to start here, and each guest would start one.
        with Host(guest.channel) as host:
            host.call("plan", spec={})
        guest.save(state)


def rebase(state: Path, image: Image) -> None:
    for below in image.disks:
        disk = state / f"{below.stem}.qcow2"
        subprocess.run(["qemu-img", "rebase", "-u", "-F", "raw", "-b", below, disk], check=True)
