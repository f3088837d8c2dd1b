"""Metrics that a collectd in this guest keeps, over its unix socket.

See collectd-unixsock(5). Two commands are used and no other: LISTVAL and GETVAL.
GETTHRESHOLD above all is never sent: where no threshold is set it makes collectd 5.12 abort.
"""

import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from reconciler.errors import DriverError
from reconciler.resource import Json
from reconciler.resources.report import Source

if TYPE_CHECKING:
    import socket

SOCKET = "/var/run/collectd-unixsock"
ALLOWED = "/etc/guest-reconciler/collectd.allow"

_DEADLINE_S = 1.0  # for all of a read; a value takes 0.05 ms
_VALUES_MAX = 500  # what some fifty disks, processors and nics have; a list of patterns chooses
_LISTED_MAX = 10_000  # what we are willing to choose from
_FIELDS_MAX = 64  # of one value; collectd's types have up to a dozen
_LINE_BYTES_MAX = 1024  # collectd cuts an identifier well before
_PATTERNS_CHARS_MAX = 16 * 1024  # some hundred patterns

_STATUS = re.compile(r"(-?\d{1,9}) (.*)", re.ASCII)
_LISTED = re.compile(r"\d+(?:\.\d+)? (.+)", re.ASCII)  # time of the last update, identifier
_FIELD = re.compile(r"([A-Za-z0-9_.-]{1,128})=(\S+)", re.ASCII)


class Collectd(Source):
    """`metrics`: `{collectd: {values, left?}}`, or nothing while collectd has no socket.

    `values` is `{host/plugin[-instance]/type[-instance]: {field: number}}`, with NaN, +Inf
    and -Inf as text, and rates for counters, as collectd has them; `left` counts the values
    over the limit, which are the last by name.

    A file of shell patterns, one a line, says which values are told; without it all are.
    """

    items: ClassVar[tuple[str, ...]] = ("metrics",)
    needs: ClassVar[str] = "collectd"

    def __init__(self, path: str = SOCKET, allowed: str = ALLOWED) -> None:
        self._path = path
        self._allowed = allowed

    @classmethod
    def available(cls) -> bool:
        return True  # collectd may come later

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def read(self, item: str) -> Json:
        assert item in self.items
        try:
            if not stat.S_ISSOCK(os.stat(self._path).st_mode):
                return {}
        except OSError:
            return {}
        patterns = self._patterns()
        # Late: few guests have a collectd.
        import socket

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                talk = _Talk(connection, time.monotonic() + _DEADLINE_S)
                connection.settimeout(_DEADLINE_S)
                connection.connect(self._path)
                return {"collectd": _read(talk, patterns)}
        except OSError as error:
            why = "it does not answer in time" if isinstance(error, TimeoutError) else error.strerror
            raise DriverError(f"cannot ask collectd at {self._path}: {why}") from error

    def _patterns(self) -> tuple[str, ...]:
        try:
            with open(self._allowed, encoding="utf-8") as file:
                text = file.read(_PATTERNS_CHARS_MAX + 1)
        except FileNotFoundError:
            return ("*",)
        except (OSError, UnicodeDecodeError) as error:
            raise DriverError(f"cannot read {self._allowed}: {error}") from error
        if len(text) > _PATTERNS_CHARS_MAX:
            raise DriverError(f"cannot read {self._allowed}: it has over {_PATTERNS_CHARS_MAX} characters")
        return tuple(line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#"))


class _Talk:
    """One connection's commands and replies, within one deadline."""

    def __init__(self, connection: "socket.socket", ends_s: float) -> None:
        self._connection = connection
        self._ends_s = ends_s
        self._received = bytearray()

    def ask(self, command: str, lines_max: int) -> list[str] | None:
        """The lines of a reply; None for an error. Raises OSError, DriverError."""
        self._wait()
        self._connection.sendall(command.encode() + b"\n")
        status = _STATUS.fullmatch(self._line())
        if not status:
            raise DriverError("cannot understand collectd: a reply without a status")
        count = int(status[1])
        if count > lines_max:
            raise DriverError(f"cannot ask collectd: a reply of more than {lines_max} lines")
        return [self._line() for _ in range(count)] if count >= 0 else None

    def _wait(self) -> None:
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)

    def _line(self) -> str:
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > _LINE_BYTES_MAX:
                raise DriverError(f"cannot understand collectd: a line over {_LINE_BYTES_MAX} bytes")
            self._wait()
            data = self._connection.recv(4096)
            if not data:
                raise DriverError("cannot ask collectd: it closed the connection")
            self._received += data
        line = self._received[:end].decode(errors="replace")
        del self._received[: end + 1]
        return line


def _read(talk: _Talk, patterns: Collection[str]) -> Json:
    listed = talk.ask("LISTVAL", _LISTED_MAX)
    if listed is None:
        raise DriverError("cannot ask collectd: it refused to list its values")
    wanted = sorted(set(wanted_of(listed, patterns)))
    values: dict[str, Json] = {}
    for identifier in wanted[:_VALUES_MAX]:
        fields = talk.ask(f"GETVAL {quoted(identifier)}", _FIELDS_MAX)
        if fields is not None:  # None when the value timed out since it was listed
            values[identifier] = fields_of(fields)
    found: Json = {"values": values}
    if len(wanted) > _VALUES_MAX:
        found["left"] = len(wanted) - _VALUES_MAX
    return found


def wanted_of(listed: Collection[str], patterns: Collection[str]) -> Iterator[str]:
    """The identifiers in LISTVAL's lines that a pattern allows."""
    for line in listed:
        value = _LISTED.fullmatch(line)
        if value and any(fnmatchcase(value[1], pattern) for pattern in patterns):
            yield value[1]


def quoted(identifier: str) -> str:
    """An identifier as a command takes it: it may contain spaces."""
    escaped = identifier.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def fields_of(lines: Collection[str]) -> dict[str, Json]:
    """The numbers in GETVAL's lines (`name=1.5e+00`); what is none is left out."""
    # Late: few guests have a collectd.
    from reconciler.protocols.prometheus import json_number

    fields: dict[str, Json] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        try:
            if field:
                fields[field[1]] = json_number(float(field[2]))
        except ValueError:
            continue
    return fields
