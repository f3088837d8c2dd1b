"""The guest's own accounts and groups, read from passwd(5), shadow(5) and group(5) in /etc.

Without their locks: who writes them puts a new file in place of the old one, so each file is
whole when it is read. They are several files all the same, and a look may fall between two.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.errors import DriverError
from reconciler.resources.accounts import Databases
from reconciler.subjects.people.changes import Account
from reconciler.subjects.people.rules import NEVER

BYTES_MAX = 16 << 20  # a hundred thousand accounts; more are in a directory service
FILES = ("passwd", "shadow", "group")

Lines = list[list[str]]


@dataclass(frozen=True)
class Torn:
    """What one account lacks of its lines, since a tool was killed between two files."""

    shadow: bool = False
    group: bool = False  # its primary one
    sealed_group: bool = False  # that one's line in gshadow(5)
    sealed_members: bool = False  # gshadow has other members than group


def read(etc: str) -> Databases:
    """All accounts and groups, but for what belongs to them elsewhere. Raises DriverError."""
    # In the order in which shadow's tools write them: what is in the first is soon in the others.
    people, shadow, groups = (_lines(f"{etc}/{name}") for name in FILES)
    sealed = _sealed(etc)
    secrets = {line[0]: line for line in shadow if len(line) >= 9}
    numbers = {line[0]: number for line in groups if len(line) >= 4 and (number := _number(line[2])) >= 0}
    names = {number: name for name, number in reversed(numbers.items())}
    joined, joined_sealed = _members(groups), _members(sealed or groups)
    known_sealed = frozenset(line[0] for line in sealed or groups)
    accounts: dict[str, Account] = {}
    for line in people:
        if len(line) < 7 or line[0] in accounts:
            continue  # as the C library does: the first of a name counts
        name, mine, gid = line[0], secrets.get(line[0]), _number(line[3])
        own = joined.get(name, frozenset())
        whole = mine is not None and names.get(gid, "") in known_sealed
        accounts[name] = Account(
            uid=_number(line[2]),
            gid=gid,
            comment=line[4],
            home=line[5],
            shell=line[6],
            groups=tuple(sorted(own)),
            hash=mine[1] if mine else "x",
            expires=_number(mine[7]) if mine else NEVER,
            changed=_number(mine[2]) if mine else NEVER,
            whole=whole and own == joined_sealed.get(name, frozenset()),
        )
    return Databases(accounts, numbers)


def torn(etc: str, name: str, gid: int) -> tuple[Torn, str]:
    """What an account lacks, and the name of its primary group, or nothing. Raises DriverError."""
    shadow, groups, sealed = _lines(f"{etc}/shadow"), _lines(f"{etc}/group"), _sealed(etc)
    group = next((line[0] for line in groups if len(line) >= 4 and _number(line[2]) == gid), "")
    lacking = Torn(
        shadow=name not in (line[0] for line in shadow if len(line) >= 9),
        group=not group,
        sealed_group=sealed is not None and group not in (line[0] for line in sealed),
        sealed_members=sealed is not None and _members(sealed).get(name) != _members(groups).get(name),
    )
    return lacking, group


def _sealed(etc: str) -> Lines | None:
    """The lines of gshadow(5); None where groups have no such file."""
    return _lines(f"{etc}/gshadow") if os.path.exists(f"{etc}/gshadow") else None


def _members(groups: Iterable[list[str]]) -> dict[str, frozenset[str]]:
    """The groups that each account is named in, beside its primary one."""
    out: dict[str, frozenset[str]] = {}
    for line in groups:
        for name in line[3].split(",") if len(line) >= 4 and line[3] else ():
            out[name] = out.get(name, frozenset()) | {line[0]}
    return out


def _lines(path: str) -> Lines:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise DriverError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > BYTES_MAX:
        raise DriverError(f"cannot read {path}: it is longer than {BYTES_MAX} bytes")
    lines = data.decode(errors="replace").split("\n")
    # What begins so is for NIS, and no account.
    return [line.split(":") for line in lines if line and line[0] not in "+-#"]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() else NEVER
