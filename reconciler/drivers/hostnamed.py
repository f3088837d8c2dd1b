"""Names through hostnamed, or straight into /etc/hostname and the kernel where it is absent.

Names are read where hostnamed(8) keeps them, in /etc and in the kernel: to ask it would
start a process at every look, and stop it half a minute later.
"""

import errno
import os
import socket
import stat
from contextlib import suppress

from reconciler.errors import DriverError
from reconciler.facilities.dbus import Bus, Peer
from reconciler.facilities.inotify import Folders
from reconciler.facilities.polled import PolledFile
from reconciler.resource import Watch
from reconciler.resources.hostname import Name, Names, Observed, fqdn_of, pretty_of, static_of

_NAME = "org.freedesktop.hostname1"
_PEER = Peer(_NAME, "/org/freedesktop/hostname1", _NAME)
_ACTIVATION = f"/usr/share/dbus-1/system-services/{_NAME}.service"
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_METHODS = {"static": "SetStaticHostname", "transient": "SetHostname", "pretty": "SetPrettyHostname"}
_BYTES_MAX = 1024 * 1024  # of /etc/hosts, which some fill with thousands of names to block


class _Files:
    """What both drivers share: where names are kept, and how a change is noticed."""

    def __init__(self, etc: str = "/etc") -> None:
        self._etc = etc

    def names(self) -> Observed:
        kernel = socket.gethostname()
        static = static_of(self._text("hostname"))
        return Observed(
            static=static,
            transient=kernel,
            pretty=pretty_of(self._text("machine-info")),
            fqdn=fqdn_of(self._text("hosts"), static or kernel),
        )

    def watches(self) -> tuple[Watch, ...]:
        files = Folders(self._etc, names=("hostname", "hosts", "machine-info"))
        try:
            return files, PolledFile("/proc/sys/kernel/hostname")
        except OSError:
            return (files,)  # a container may hide it

    def _text(self, name: str) -> str:
        try:
            with open(f"{self._etc}/{name}", errors="replace") as file:
                return file.read(_BYTES_MAX)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DriverError(f"cannot read {self._etc}/{name}: {error.strerror}") from error


class Hostnamed(_Files, Names):
    needs = "hostnamed on the system bus"

    def __init__(self, etc: str = "/etc") -> None:
        super().__init__(etc)
        self._bus = Bus()

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and os.path.exists(_BOOTED) and os.path.exists(_ACTIVATION)

    def set(self, name: Name, value: str) -> None:
        # 20 s: it is started for this, and a busy guest takes a while.
        self._bus.call(_PEER, _METHODS[name], "sb", value, False, timeout_s=20)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()


class Uname(_Files, Names):
    """For guests without systemd; see hostname(5) and sethostname(2)."""

    @classmethod
    def available(cls) -> bool:
        return True

    def set(self, name: Name, value: str) -> None:
        try:
            if name == "pretty":
                self._replace("machine-info", with_pretty(self._text("machine-info"), value))
                return
            if name == "static":
                self._replace("hostname", f"{value}\n")
            socket.sethostname(value)
        except OSError as error:
            raise DriverError(f"cannot set the {name} name: {error.strerror}") from error

    def _replace(self, name: str, text: str) -> None:
        path = f"{self._etc}/{name}"
        fresh = f"{path}.new"
        try:
            _write(fresh, text)
            # Everybody reads it, whatever the agent's own umask.
            os.chmod(fresh, stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o644)
            os.rename(fresh, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(fresh)
            if error.errno != errno.EBUSY:
                raise
            _write(path, text)  # a container's runtime has mounted the file itself


def with_pretty(machine_info: str, pretty: str) -> str:
    """/etc/machine-info with another pretty name, or with none; the rest stands; machine-info(5)."""
    lines = [line for line in machine_info.splitlines() if not line.strip().startswith("PRETTY_HOSTNAME=")]
    if pretty:
        escaped = "".join(f"\\{c}" if c in '"\\$`' else c for c in pretty)
        lines.append(f'PRETTY_HOSTNAME="{escaped}"')
    return "".join(f"{line}\n" for line in lines)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
