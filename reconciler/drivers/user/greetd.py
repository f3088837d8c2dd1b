"""greetd's door: a second greetd on a virtual terminal of its own, which opens one session.

The guest's own greetd keeps its greeter and its terminal, so nobody who types there is cut
short, and a session that had the screen is kept. The second one is told in its configuration
whom to let in, greetd(5) `initial_session`: PAM's account and session rules of greetd are run.
When that session has ended it ends too, and gives the screen back.
"""

import os
from typing import Any, ClassVar

from reconciler import display_manager
from reconciler.dbus import Bus, BusError, NoAnswer, Peer
from reconciler.errors import DriverError, Unsupported
from reconciler.resources.user import Way
from reconciler.seating import Door, Entry

_SYSTEMD = Peer("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_PROGRAMS = ("/usr/sbin/greetd", "/usr/bin/greetd", "/usr/local/bin/greetd")
_UNIT = "greetd.service"
_SEAT = "seat0"  # greetd knows no other; only this one has virtual terminals
_RUN = "/run/guest-reconciler"
_COMMANDS = "/etc/greetd/environments"  # what greeters offer, a command a line
_SESSIONS = "/usr/share/wayland-sessions"
_FOREGROUND = "/sys/class/tty/tty0/active"
_ENTRY_BYTES_MAX = 64 << 10  # desktop entries with all their translations have some 10 KiB
_STOP_US = 30_000_000  # as greetd's own unit

# After the first session a greeter would follow: this one ends at once, and greetd with it.
_CONFIG = """\
[terminal]
vt = "next"
[general]
runfile = "{base}.ran"
[initial_session]
user = "{user}"
command = "{command}"
[default_session]
user = "root"
command = "/bin/false"
"""
_SEAT0 = "org.freedesktop.login1 /org/freedesktop/login1/seat/seat0 org.freedesktop.login1.Seat"
# The screen goes back to where it was, unless somebody has gone elsewhere.
_AFTER = f"""\
rm -f "$1.toml" "$1.ran"
case $(busctl get-property {_SEAT0} ActiveSession) in
    *'"" "/"') busctl call {_SEAT0} SwitchTo u "$2" ;;
esac
"""


class Greetd(Way):
    """One door: that of seat0, where greetd runs and has a session to open."""

    name: ClassVar[str] = "greetd"
    needs: ClassVar[str] = "greetd and systemd"

    def __init__(self) -> None:
        self._bus = Bus()

    @classmethod
    def available(cls) -> bool:
        return Bus.there() and any(map(os.path.exists, _PROGRAMS))

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def doors(self) -> tuple[Door, ...]:
        state = display_manager.state(self._bus, _UNIT)
        if state == "down":
            return ()
        shut = "" if state == "up" else "greetd is just starting"
        shut = shut or ("" if session(_COMMANDS, _SESSIONS) else f"there is no session in {_SESSIONS}")
        return (Door(way=self.name, seat=_SEAT, graphical=True, shut=shut),)

    def enter(self, entry: Entry) -> None:
        found = session(_COMMANDS, _SESSIONS)
        if found is None:
            raise Unsupported(f"cannot log in {entry.user}: there is no session in {_SESSIONS}")
        desktop, command = found
        number = os.urandom(4).hex()
        base = f"{_RUN}/login-{number}"
        text = _CONFIG.format(base=base, user=quoted(entry.user), command=quoted(command))
        try:
            write(f"{base}.toml", text)
            with open(_FOREGROUND) as file:
                back = file.read().strip().removeprefix("tty")
        except OSError as error:
            raise DriverError(f"cannot log in {entry.user}: {error.filename}: {error.strerror}") from error
        unit = f"guest-reconciler-login-{number}.service"
        properties = _service(f"Session of {entry.user} (greetd)", base, back, desktop)
        try:
            self._bus.call(_SYSTEMD, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", properties, [])
        except NoAnswer:
            pass  # whether it was carried out is seen by the session
        except BusError as error:
            os.unlink(f"{base}.toml")
            raise DriverError(f"cannot log in {entry.user}: {error}") from error


def _service(description: str, base: str, back: str, desktop: str) -> list[tuple[str, tuple[str, Any]]]:
    program = next(filter(os.path.exists, _PROGRAMS))
    after = ["/bin/sh", "-c", _AFTER, "sh", base, back]
    # pam_systemd(8) takes them over into the session.
    named = ["XDG_SESSION_TYPE=wayland", *([f"XDG_SESSION_DESKTOP={desktop}"] if desktop else [])]
    return [
        ("Description", ("s", description)),
        ("ExecStart", ("a(sasb)", [(program, [program, "--config", f"{base}.toml"], False)])),
        ("ExecStopPost", ("a(sasb)", [("/bin/sh", after, True)])),
        ("Environment", ("as", named)),
        ("KeyringMode", ("s", "shared")),
        ("SendSIGHUP", ("b", True)),
        ("TimeoutStopUSec", ("t", _STOP_US)),
        ("SuccessExitStatus", ("(aiai)", ([1], []))),  # its greeter has ended, as it should
        ("CollectMode", ("s", "inactive-or-failed")),
    ]


def session(commands: str, folder: str) -> tuple[str, str] | None:
    """What to start: a desktop's name, which may be empty, and a command for a shell.

    The first that the greeters of this guest offer, else the first of its Wayland sessions.
    """
    offered = read(commands).split("\n")
    first = next((line.strip() for line in offered if line.strip() and not line.startswith("#")), "")
    if first:
        return "", first
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".desktop"))
    except OSError:
        return None
    for name in names:
        found = entry(read(os.path.join(folder, name)))
        if found.get("Exec") and "true" not in (found.get("Hidden"), found.get("NoDisplay")):
            desktops = found.get("DesktopNames", "").rstrip(";").replace(";", ":")
            prefix = f"env XDG_CURRENT_DESKTOP={desktops} " if desktops else ""
            return name.removesuffix(".desktop"), prefix + found["Exec"]
    return None


def entry(text: str) -> dict[str, str]:
    """The keys of a desktop entry's first group, without translations; see its specification."""
    found: dict[str, str] = {}
    for line in text.split("[Desktop Entry]", 1)[-1].split("\n")[1:]:
        if line.startswith("["):
            break
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key.strip(), value.strip())
    return found


def quoted(text: str) -> str:
    """For between two quotes of the configuration. Raises DriverError for what has no place there."""
    if not text.isprintable():
        raise DriverError(f"cannot tell greetd: {text!r} has characters that cannot be printed")
    return text.replace("\\", "\\\\").replace('"', '\\"')


def read(path: str) -> str:
    """The beginning of a file; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_ENTRY_BYTES_MAX)
    except OSError:
        return ""


def write(path: str, text: str) -> None:
    """A file that only root reads. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
