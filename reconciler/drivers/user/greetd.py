"""greetd's door: a second greetd on a virtual terminal of its own, which opens one session.

The guest's own greetd keeps its greeter and its terminal, so nobody who types there is cut
short, and a session that had the screen is kept. The second one is told in its configuration
whom to let in, greetd(5) `initial_session`: PAM's account and session rules of greetd are run.
When that session has ended it ends too, and the guest's own greetd gets the screen back.
"""

import fcntl
import os
import re
import struct
import time
from typing import Any, ClassVar

from reconciler.errors import DriverError, Unsupported
from reconciler.facilities import display_unit, transient_unit
from reconciler.facilities.dbus import Bus
from reconciler.resources.user import Facility, Way
from reconciler.subjects.seating import Door, Entry

_PROGRAMS = ("/usr/sbin/greetd", "/usr/bin/greetd", "/usr/local/bin/greetd")
_UNIT = "greetd.service"
_SEAT = "seat0"  # greetd knows no other; only this one has virtual terminals
_RUN = "/run/guest-reconciler"
_COMMANDS = "/etc/greetd/environments"  # what greeters offer, a command a line
_SESSIONS = "/usr/share/wayland-sessions"
_CONFIGURED = "/etc/greetd/config.toml"
_FOREGROUND = "/sys/class/tty/tty0/active"
_CONSOLE = "/dev/tty0"
_VT_OPENQRY = 0x5600  # linux/vt.h
_INT = struct.Struct("i")
_ENTRY_BYTES_MAX = 64 << 10  # desktop entries with all their translations have some 10 KiB
_START_S = 10  # PAM and the session's start; one second, and three in an emulated guest
_SWITCH_S = 5.0  # what comes before that: the screen's switch
_LOOK_S = 0.1  # between looks for the file, in a thread that a login has for itself
_NOT_BEGUN = 2  # no success, unlike that of a greeter which has ended
_STOP_US = 30_000_000  # as greetd's own unit

# Without `switch`, or the greeter that follows a session would take the screen, wherever that is by
# then. This one ends at once, and greetd with it.
_CONFIG = """\
[terminal]
vt = {number}
switch = false
[general]
runfile = "{base}.ran"
[initial_session]
user = "{user}"
command = "{command}"
[default_session]
user = "{greeter}"
command = "/bin/false"
"""
_SEAT0 = "org.freedesktop.login1 /org/freedesktop/login1/seat/seat0 org.freedesktop.login1.Seat"
# logind starts a login prompt where a terminal comes to the front that nobody has open. The
# second call is answered after it has looked.
_BEFORE = f"""\
(busctl call {_SEAT0} SwitchTo u "$1" && busctl get-property {_SEAT0} ActiveSession) \
    9<>"/dev/tty$1" >/dev/null
"""
# Without its terminal in front it would wait, and let the user in whenever somebody brings that to the
# front. systemd keeps this deadline, as the agent may be gone.
_BEGUN = f"""\
for _ in $(seq {_START_S * 10}); do [ ! -e "$3.ran" ] || exit 0; sleep 0.1; done; exit {_NOT_BEGUN}
"""
# Unless somebody has gone elsewhere.
_AFTER = f"""\
rm -f "$3.toml" "$3.ran"
read -r front <{_FOREGROUND}
[ "$front" != "tty$1" ] || busctl call {_SEAT0} SwitchTo u "$2"
"""


class Greetd(Facility, Way):
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
        state = display_unit.state(self._bus, _UNIT)
        if state == "down":
            return ()
        starting = state == "starting"
        shut = "greetd is just starting" if starting else ""
        if first_session(_COMMANDS, _SESSIONS) is None:
            shut, starting = f"there is no session in {_SESSIONS}", False
        return (Door(way=self.name, seat=_SEAT, graphical=True, shut=shut, opening=starting),)

    def enter(self, entry: Entry) -> None:
        found = first_session(_COMMANDS, _SESSIONS)
        if found is None:
            raise Unsupported(f"cannot log in {entry.user}: there is no session in {_SESSIONS}")
        name = os.urandom(4).hex()
        base, unit = f"{_RUN}/login-{name}", f"guest-reconciler-login-{name}.service"
        desktop, command = found
        try:
            number, (back, greeter) = free_terminal(), home_terminal()
            words = {"user": entry.user, "command": command, "greeter": greeter or entry.user}
            quotable = {key: quoted(word) for key, word in words.items()}
            write(f"{base}.toml", _CONFIG.format(number=number, base=base, **quotable))
        except OSError as error:
            why = f"{error.filename or _CONSOLE}: {error.strerror}"
            raise DriverError(f"cannot log in {entry.user}: {why}") from error
        properties = _unit(f"Session of {entry.user} (greetd)", (str(number), back, base), desktop)
        try:
            transient_unit.start(self._bus, unit, properties)
        except DriverError as error:
            os.unlink(f"{base}.toml")
            raise DriverError(f"cannot log in {entry.user}: {error}") from error
        if not has_begun(base, _SWITCH_S + _START_S):
            raise DriverError(f"cannot log in {entry.user}: greetd opened no session in {_START_S} s")


def _unit(description: str, terms: tuple[str, str, str], desktop: str) -> list[tuple[str, tuple[str, Any]]]:
    """`terms`: the terminal's number, that of where the screen goes afterwards, and the files' base."""
    program = next(filter(os.path.exists, _PROGRAMS))

    def shell(script: str, *, may_fail: bool) -> tuple[str, Any]:
        return "a(sasb)", [("/bin/sh", ["/bin/sh", "-c", script, "sh", *terms], may_fail)]

    # pam_systemd(8) takes them over into the session.
    named = ["XDG_SESSION_TYPE=wayland", *([f"XDG_SESSION_DESKTOP={desktop}"] if desktop else [])]
    return [
        ("Description", ("s", description)),
        ("ExecStartPre", shell(_BEFORE, may_fail=False)),
        ("ExecStart", ("a(sasb)", [(program, [program, "--config", f"{terms[2]}.toml"], False)])),
        ("ExecStartPost", shell(_BEGUN, may_fail=False)),
        ("ExecStopPost", shell(_AFTER, may_fail=True)),
        ("Environment", ("as", named)),
        ("KeyringMode", ("s", "shared")),
        ("SendSIGHUP", ("b", True)),
        ("TimeoutStopUSec", ("t", _STOP_US)),
        ("SuccessExitStatus", ("(aiai)", ([1], []))),  # its greeter has ended, as it should
        ("IgnoreOnIsolate", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]


def has_begun(base: str, within_s: float) -> bool:
    """Whether greetd makes its file in time, as it does with the session; not if the unit has ended."""
    ends_s = time.monotonic() + within_s
    while not os.path.exists(f"{base}.ran"):
        if time.monotonic() >= ends_s or not os.path.exists(f"{base}.toml"):
            return False
        time.sleep(_LOOK_S)
    return True


def free_terminal() -> int:
    """The number of a virtual terminal that nobody has open. Raises OSError."""
    fd = os.open(_CONSOLE, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        (number,) = _INT.unpack(fcntl.ioctl(fd, _VT_OPENQRY, bytes(_INT.size)))
    finally:
        os.close(fd)
    if number < 1:
        raise OSError(0, "all virtual terminals are in use", _CONSOLE)
    return int(number)


def home_terminal() -> tuple[str, str]:
    """The number of the terminal that the guest's own greetd has, and its greeter's user.

    Where greetd chose the terminal by itself, the one in front; empty where the user is not known.
    """
    import tomllib  # late: read for a login only

    try:
        found = tomllib.loads(read(_CONFIGURED))
    except tomllib.TOMLDecodeError:
        found = {}  # greetd's own reader takes more than TOML
    tables = {name: table for name, table in found.items() if isinstance(table, dict)}
    number, greeter = tables.get("terminal", {}).get("vt"), tables.get("default_session", {}).get("user", "")
    if type(number) is not int:  # and no truth value either
        with open(_FOREGROUND) as file:
            number = file.read().strip().removeprefix("tty")
    return str(number), str(greeter)


def first_session(commands: str, folder: str) -> tuple[str, str] | None:
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
        found = desktop_entry(read(os.path.join(folder, name)))
        if found.get("Exec") and "true" not in (found.get("Hidden"), found.get("NoDisplay")):
            desktops = found.get("DesktopNames", "").rstrip(";").replace(";", ":")
            prefix = f"env XDG_CURRENT_DESKTOP={desktops} " if desktops else ""
            return name.removesuffix(".desktop"), prefix + without_fields(found["Exec"])
    return None


def without_fields(command: str) -> str:
    """An `Exec=` without field codes, such as %U, which mean nothing to a session; %% is a %."""
    return re.sub(r" ?%([^%])|%(%)", lambda found: found[2] or "", command)


def desktop_entry(text: str) -> dict[str, str]:
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
