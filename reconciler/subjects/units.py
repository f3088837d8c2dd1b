"""Units of systemd: their names, what is seen of them, and what their states mean; pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NAME_CHARS_MAX = 255  # UNIT_NAME_MAX of systemd, with the suffix
# systemd.unit(5), without the slash of paths; a name that begins with a dash is only the root's mount.
NAME = r"(?:-\.mount|[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*)"
TYPES = frozenset({"service", "socket", "timer", "path", "mount", "automount", "swap"})
_NOT_OURS: Mapping[str, str] = {
    "target": "a target changes the whole guest: write the units that it wants, or the kind power",
    "device": "a device comes and goes by itself",
    "slice": "a slice is there as long as something runs in it",
    "scope": "a scope belongs to who made it",
}
AGENT = "guest-reconciler.service"
# The agent speaks through these, and the guest is not to be had back without a restart.
VITAL = frozenset(
    {
        AGENT,
        "dbus.service",
        "dbus.socket",
        "dbus-broker.service",
        "systemd-logind.service",
        "systemd-journald.service",
        "systemd-journald.socket",
        "systemd-journald-dev-log.socket",
        "systemd-udevd.service",
        "systemd-udevd-control.socket",
        "systemd-udevd-kernel.socket",
    }
)
_POWER = re.compile(
    r"(?:systemd-(?:poweroff|reboot|halt|kexec|exit|soft-reboot|suspend|hibernate|hybrid-sleep"
    r"|suspend-then-hibernate)|emergency|rescue)\.service"
)
MASKED = ("masked", "masked-runtime")
EVERYTHING = frozenset({"start", "stop", "reload"})
_UP = frozenset({"active", "reloading", "refreshing"})
_ON_THE_WAY = frozenset({"activating", "deactivating", "maintenance"})
_ON_CALL = frozenset({"listening", "waiting", "running"})  # an elapsed timer calls nobody


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One unit, in the words of org.freedesktop.systemd1(5)."""

    name: str  # as it was asked for
    id: str  # as systemd calls it; `name` may be an alias
    load: str = "loaded"
    trouble: str = ""  # why it could not be loaded
    active: str = "inactive"
    sub: str = "dead"
    job: str = ""  # what is queued or under way for it: start, stop, ...
    file: str = ""  # enabled, disabled, static, masked, ...; empty: there is no file
    can: frozenset[str] = EVERYTHING
    callers: Mapping[str, str] = field(default_factory=dict)  # active units that start it, with their `sub`
    result: str = "success"  # of its last run
    reloaded: str = "success"  # of its last reload, while it is up
    exit: str = ""  # how its main process ended: status 1, signal 9
    passing: bool = False  # a oneshot that does not stay active once it has done its work
    ran: bool = False  # its main process has ended since the unit was loaded
    restarts: int = 0  # by systemd itself, since it was last started
    since_us: int = 0  # when its state last changed, on CLOCK_MONOTONIC

    @property
    def up(self) -> bool:
        return self.active in _UP

    @property
    def under_way(self) -> bool:
        return bool(self.job) or self.active in _ON_THE_WAY

    @property
    def given_up(self) -> bool:
        """Whether systemd starts it no more: of many failures it keeps the result of the first."""
        return self.active == "failed" and (self.restarts > 0 or self.result == "start-limit-hit")

    @property
    def on_call(self) -> tuple[str, ...]:
        """Who starts it when it is needed: sockets, paths, automounts, timers that are not over."""
        return tuple(sorted(name for name, sub in self.callers.items() if sub in _ON_CALL))


def full_name(name: str) -> str:
    """With its type, as systemctl(1) has it: nginx means nginx.service."""
    return name if name.rpartition(".")[2] in TYPES | _NOT_OURS.keys() else f"{name}.service"


def short_name(name: str) -> str:
    return name.removesuffix(".service")


def type_of(name: str) -> str:
    return name.rpartition(".")[2]


def object_path(name: str) -> str:
    """Where systemd keeps a unit on the bus; sd_bus_path_encode(3)."""
    encoded = re.sub(rb"^[0-9]|[^A-Za-z0-9]", lambda found: b"_%02x" % ord(found[0]), name.encode())
    return f"/org/freedesktop/systemd1/unit/{encoded.decode()}"


def folder_of(name: str) -> str:
    """What a mount or automount is for, or nothing; systemd-escape(1)."""
    prefix, _, kind = name.rpartition(".")
    if kind not in ("mount", "automount"):
        return ""
    path = b"/" + prefix.strip("-").replace("-", "/").encode()
    unescaped = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), path)
    return unescaped.decode(errors="replace")


def why_not(name: str) -> str:
    """Why a unit of this full name is not to be had here, or nothing."""
    prefix, _, kind = name.rpartition(".")
    if kind in _NOT_OURS:
        return _NOT_OURS[kind]
    if not prefix or prefix.startswith("@"):
        return "no unit can be called so"
    if prefix.endswith("@"):
        return f"a template is no unit: write {prefix}INSTANCE"
    if len(name) > NAME_CHARS_MAX:
        return f"a unit's name has at most {NAME_CHARS_MAX} characters"
    return "it is for the kind power to do" if is_power(name) else ""


def is_power(name: str) -> bool:
    """Whether to start it would stop the guest, or put it to sleep."""
    return bool(_POWER.fullmatch(name))


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that is most like it, or nothing."""
    from difflib import get_close_matches  # late: names are rarely wrong

    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.7)), "")
