"""Login sessions and the machine around them, in logind's words; org.freedesktop.login1(5)."""

from dataclasses import dataclass

_GRAPHICAL = frozenset({"x11", "wayland", "mir"})


@dataclass(frozen=True, kw_only=True)
class Login:
    """One login session."""

    id: str
    user: str
    uid: int = 0
    seat: str = ""
    tty: str = ""
    display: str = ""
    type: str = "tty"
    group: str = "user"  # its Class
    state: str = "active"  # online, active or closing
    remote: bool = False
    host: str = ""  # where a remote one comes from, as its service has told logind
    service: str = ""  # that let its user in: login, sshd, greetd
    scope: str = ""  # the unit of all its processes
    since: str = ""  # RFC 3339
    since_s: float = 0.0  # on CLOCK_MONOTONIC, which nobody sets; 0.0 where nobody says
    locked: bool = False
    idle_since: str = ""  # RFC 3339; empty while somebody is busy there, or nobody says
    forbidden: bool = False  # the guest's policy keeps it from us

    @property
    def active(self) -> bool:
        return self.state == "active"

    @property
    def lockable(self) -> bool:
        return bool(self.seat) or self.type in _GRAPHICAL

    @property
    def personal(self) -> bool:
        return self.group.startswith("user") and self.state != "closing"

    def __str__(self) -> str:
        place = self.seat and f"{self.seat} {self.tty}".strip()
        origin = f" from {self.host}" if self.host else ""
        return f"{self.id} ({self.user}, {place or self.tty or self.type}{origin})"


@dataclass(frozen=True, kw_only=True)
class Station:
    """The machine around the sessions. Of all but idleness logind sends no news: it is as last looked at."""

    lid_closed: bool = False
    docked: bool = False
    mains: bool = True  # external power, or no battery at all
    idle_since: str = ""  # RFC 3339, when the last session has become idle
    again_s: float = 0.0  # on the boot clock: from when on it is looked at anew, if not just now
