"""The guest's own accounts and groups, read from passwd(5), shadow(5) and group(5) in /etc.

Without their locks: who writes them puts a new file in place of the old one, so each file is
whole when it is read. They are three files all the same, and a look may fall between two.
"""

import os
from collections.abc import Iterator

from reconciler.errors import DriverError
from reconciler.people.changes import Account
from reconciler.people.rules import NEVER
from reconciler.resources.accounts import Databases

BYTES_MAX = 16 << 20  # a hundred thousand accounts; more are in a directory service
FILES = ("passwd", "shadow", "group")


def read(etc: str) -> Databases:
    """All accounts and groups, but for what belongs to them elsewhere. Raises DriverError."""
    # In the order in which shadow's tools write them: what is in the first is soon in the others.
    people, shadow, groups = (list(_lines(f"{etc}/{name}")) for name in FILES)
    secrets = {line[0]: line for line in shadow if len(line) >= 9}
    numbers = {line[0]: number for line in groups if len(line) >= 4 and (number := _number(line[2])) >= 0}
    known = frozenset(numbers.values())
    members: dict[str, set[str]] = {}
    for line in groups:
        for name in line[3].split(",") if len(line) >= 4 else ():
            members.setdefault(name, set()).add(line[0])
    accounts: dict[str, Account] = {}
    for line in people:
        if len(line) < 7 or line[0] in accounts:
            continue  # as the C library does: the first of a name counts
        mine = secrets.get(line[0])
        gid = _number(line[3])
        accounts[line[0]] = Account(
            uid=_number(line[2]),
            gid=gid,
            comment=line[4],
            home=line[5],
            shell=line[6],
            groups=tuple(sorted(members.get(line[0], ()))),
            hash=mine[1] if mine else "x",
            expires=_number(mine[7]) if mine else NEVER,
            changed=_number(mine[2]) if mine else NEVER,
            whole=mine is not None and gid in known,
        )
    return Databases(accounts, numbers)


def _lines(path: str) -> Iterator[list[str]]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise DriverError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > BYTES_MAX:
        raise DriverError(f"cannot read {path}: it is longer than {BYTES_MAX} bytes")
    for line in data.decode(errors="replace").split("\n"):
        # What begins so is for NIS, and no account.
        if line and line[0] not in "+-#":
            yield line.split(":")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() else NEVER
