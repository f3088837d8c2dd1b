"""What the guest's administrator forbids the host, and the limits set to it; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.errors import Forbidden
from reconciler.resource import Action, Touch

RULES = {
    "forbid": {
        "type": "dict",
        "schema": {
            "kinds": {"type": "list", "schema": {"type": "string"}},
            "acts": {"type": "list", "schema": {"type": "string"}},
            "users": {"type": "list", "schema": {"type": "string"}},
            "paths": {"type": "list", "schema": {"type": "string"}},
            "commands": {"type": "list", "schema": {"type": "string"}},
        },
    },
    "limits": {"type": "dict", "schema": {"freezeLease": {"type": "duration", "min": 1}}},
}
FREEZE_LEASE_S_MAX = 600  # a guest that stands still for longer is taken for dead by its users


@dataclass(frozen=True)
class Policy:
    """Shell patterns of what is forbidden; empty forbids nothing."""

    kinds: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()  # kind.verb: power.reboot
    users: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()  # with everything below them
    commands: tuple[str, ...] = ()  # programs that hooks and metrics may not run
    freeze_lease_s_max: float = FREEZE_LEASE_S_MAX

    def check_kind(self, kind: str) -> None:
        """Raises Forbidden."""
        if _matches(kind, self.kinds):
            raise Forbidden(f"cannot manage {kind}: forbidden by the guest's policy (forbid.kinds)")

    def check_touches(self, kind: str, touches: Iterable[Touch]) -> None:
        """Raises Forbidden for the first user, path or command that the document may not reach for."""
        patterns = {"user": self.users, "path": self.paths, "command": self.commands}
        for touch in touches:
            names = _with_parents(touch.name) if touch.what == "path" else (touch.name,)
            if any(_matches(name, patterns[touch.what]) for name in names):
                raise Forbidden(
                    f"cannot manage {kind} of {touch.name}: "
                    f"forbidden by the guest's policy (forbid.{touch.what}s)"
                )

    def check_action(self, kind: str, action: Action) -> None:
        """Raises Forbidden."""
        act = f"{kind}.{action.verb}"
        if _matches(act, self.acts):
            raise Forbidden(f"cannot do {act}: forbidden by the guest's policy (forbid.acts)")


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern.rstrip("/") or "/") for pattern in patterns)


def _with_parents(path: str) -> tuple[str, ...]:
    parts = path.strip("/").split("/")
    return ("/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)) if parts[0]))
