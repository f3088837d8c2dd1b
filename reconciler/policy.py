"""What the guest's administrator forbids the host, and the limits set to it; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.errors import Forbidden
from reconciler.resource import Action, Touch

# What can never match would forbid nothing and look as if it did.
_WORD = r"[a-zA-Z0-9*?!\[\]-]"
_NAMED = {"type": "string", "minlength": 1}
_KIND = {"type": "string", "regex": rf"{_WORD}+", "meta": {"expected": "a kind, or a shell pattern of kinds"}}
_ACT = {
    "type": "string",
    "regex": rf"{_WORD}+\.{_WORD}+|{_WORD}*\*",
    "meta": {"expected": "KIND.VERB such as power.reboot, or a shell pattern of such"},
}
_PATH = {
    "type": "string",
    # A path is compared in its normal form.
    "regex": r"(?!.*//)(?!.*/\.\.?(?:/|$))[/*?\[][^\x00]*",
    "meta": {"expected": "an absolute path without //, . and .., or a shell pattern of such"},
}
RULES = {
    "forbid": {
        "type": "dict",
        "schema": {
            "kinds": {"type": "list", "schema": _KIND},
            "acts": {"type": "list", "schema": _ACT},
            "users": {"type": "list", "schema": _NAMED},
            "paths": {"type": "list", "schema": _PATH},
            "units": {"type": "list", "schema": _NAMED},
            "commands": {"type": "list", "schema": _PATH},
        },
    },
    "limits": {"type": "dict", "schema": {"freezeLease": {"type": "duration", "min": 1}}},
    "allow-passwordless-login": {"type": "list", "schema": {**_NAMED, "regex": r"[^*?\[\]]+"}},
    "allow-files-in": {"type": "list", "schema": {"type": "path"}},
}
FREEZE_LEASE_S_MAX = 600  # a guest that stands still for longer is taken for dead by its users


@dataclass(frozen=True)
class Policy:
    """Shell patterns of what is forbidden, where empty forbids nothing; and what is allowed."""

    kinds: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()  # kind.verb: power.reboot
    users: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()  # with everything below them
    units: tuple[str, ...] = ()  # of systemd, by any of their names, with or without .service
    commands: tuple[str, ...] = ()  # programs that hooks, metrics and tasks may not run
    freeze_lease_s_max: float = FREEZE_LEASE_S_MAX
    passwordless_users: tuple[str, ...] = ()  # by name, never by pattern: each is a door without a lock
    file_folders: tuple[str, ...] | None = None  # where files may be managed; None: everywhere

    def check_kind(self, kind: str) -> None:
        """Raises Forbidden."""
        if _matches(kind, self.kinds):
            raise Forbidden(f"cannot manage {kind}: forbidden by the guest's policy (forbid.kinds)")

    def check_touches(self, kind: str, touches: Iterable[Touch]) -> None:
        """Raises Forbidden for the first user, path or command that the document may not reach for."""
        patterns = {"user": self.users, "path": self.paths, "command": self.commands}
        for touch in touches:
            forbids = covers if touch.what == "path" else _matches
            if forbids(touch.name, patterns[touch.what]):
                raise Forbidden(
                    f"cannot manage {kind} of {touch.name}: "
                    f"forbidden by the guest's policy (forbid.{touch.what}s)"
                )

    def check_action(self, kind: str, action: Action) -> None:
        """Raises Forbidden."""
        act = f"{kind}.{action.verb}"
        if _matches(act, self.acts):
            raise Forbidden(f"cannot do {act}: forbidden by the guest's policy (forbid.acts)")


def without_effect(patterns: Iterable[str], known: Iterable[str]) -> list[tuple[int, str]]:
    """The patterns that match none of what is known, with their places."""
    names = tuple(known)
    return [
        (place, pattern)
        for place, pattern in enumerate(patterns)
        if not any(fnmatchcase(name, pattern) for name in names)
    ]


def covers(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means `path`, or a folder that it lies in."""
    return any(_matches(name, patterns) for name in _with_parents(path))


def reaches(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns may mean something below `path`, as is asked before a whole tree goes."""
    # A beginning of such a pattern, which may end in the middle of what a star stands for, means the folder.
    beginnings = (pattern[:end] for pattern in patterns for end in range(1, len(pattern) + 1))
    return any(fnmatchcase(f"{path.rstrip('/')}/", beginning) for beginning in beginnings)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern.rstrip("/") or "/") for pattern in patterns)


def _with_parents(path: str) -> tuple[str, ...]:
    parts = path.strip("/").split("/")
    return ("/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)) if parts[0]))
