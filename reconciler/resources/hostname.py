"""Hostname: what the guest calls itself, on disk, in the kernel and for people.

The static name wins: while a guest has one, its kernel goes by it. So a document that
writes `static` wants both, and `transient` is for guests that have no static name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

from reconciler.resource import Action, Change, Driver, Json, Notice, Past, Phase, Resource, Rules, Verdict

Name = Literal["static", "transient", "pretty"]

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123, 2.1
_NAME: Rules = {
    "type": "string",
    "regex": rf"{_LABEL}(?:\.{_LABEL})*",
    "maxlength": 64,  # HOST_NAME_MAX of linux/limits.h
}
_EXPECTED = "a host name: letters, digits and hyphens, in parts of at most 63 joined by dots"


@dataclass(frozen=True, kw_only=True)
class Desired:
    """None: not managed."""

    static: str | None = None
    transient: str | None = None
    pretty: str | None = None  # empty: none


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The guest's names as they are."""

    static: str = ""  # on disk; empty: none
    transient: str = ""  # in the kernel, which always has one
    pretty: str = ""  # for people, in any script; empty: none
    fqdn: str = ""  # as far as the guest itself knows it; no name server is asked


class Names(Driver, Protocol):
    """What this kind asks of the OS."""

    def names(self) -> Observed:
        """All names as they are now, read without waking anything up."""

    def set(self, name: Name, value: str) -> None:
        """Give the guest a name. A static one becomes the kernel's as well."""


class Hostname(Resource[Desired, Observed, Names], kind="hostname"):
    summary = "What the guest calls itself."
    verbs = frozenset({"set"})
    earliest = Phase.CHANGE
    short: ClassVar[Rules] = {
        **_NAME,
        "meta": {"expected": _EXPECTED, "description": "The static name: hostname: web-01."},
    }
    rules: ClassVar[Rules] = {
        "static": {
            **_NAME,
            "excludes": "transient",
            "meta": {
                "expected": _EXPECTED,
                "description": "The name that is kept over a restart; the kernel gets it too.",
            },
        },
        "transient": {
            **_NAME,
            "excludes": "static",
            "meta": {
                "expected": _EXPECTED,
                "description": "The kernel's name until the next start, in a guest without a static name.",
            },
        },
        "pretty": {
            "type": "string",
            "regex": r"[^\x00-\x1f\x7f]*",
            "maxlength": 128,  # a line on a screen
            "meta": {
                "expected": "text without control characters",
                "description": "The name for people, in any script; empty for none.",
            },
        },
    }

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"static": short}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        return Desired(
            static=normal.get("static"),
            transient=normal.get("transient"),
            pretty=normal.get("pretty"),
        )

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: Names = self.driver
        return driver.names()

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        kernel = desired.transient if desired.static is None else desired.static
        rows = (
            ("static", desired.static, observed.static),
            ("transient", kernel, observed.transient),
            ("pretty", desired.pretty, observed.pretty),
        )
        return tuple(
            Change("hostname", name, want, have) for name, want, have in rows if want not in (None, have)
        )

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        fields = {change.field for change in changes}
        return tuple(
            Action("set", change.field, value=change.want)
            for change in changes
            if change.field != "transient" or "static" not in fields  # the kernel gets the static one
        )

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        match action.target:
            case "static":
                return replace(observed, static=action.value, transient=action.value)
            case "transient":
                return replace(observed, transient=action.value)
            case _:
                return replace(observed, pretty=action.value)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if changes:
            wrong = ", ".join(f"{c.field} is {c.have or 'not set'}, not {c.want or 'empty'}" for c in changes)
            return Verdict(False, "Drifted", wrong)
        return Verdict(True, "InSync", observed.static or observed.transient)

    @staticmethod
    def show(observed: Observed) -> Json:
        names = {
            "static": observed.static,
            "transient": observed.transient,
            "pretty": observed.pretty,
            "fqdn": observed.fqdn,
        }
        return {name: value for name, value in names.items() if value}

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        if before.transient == after.transient:
            return ()
        return (Notice("HostnameChanged", f"{after.transient}, was {before.transient}"),)

    def act(self, action: Action) -> None:
        assert action.verb == "set", f"unplanned: {action}"
        self.driver.set(action.target, action.value)


def static_of(text: str) -> str:
    """The name in /etc/hostname: its first line that is neither empty nor a comment; hostname(5)."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def fqdn_of(hosts: str, name: str) -> str:
    """The first name with a domain on the first line of /etc/hosts that has `name`; see hosts(5)."""
    if "." in name:
        return name
    for line in hosts.splitlines():
        _, *names = line.partition("#")[0].split() or [""]
        full = [candidate for candidate in names if "." in candidate]
        if full and name in (*names, *(candidate.partition(".")[0] for candidate in full)):
            return full[0]
    return ""


def pretty_of(text: str) -> str:
    """PRETTY_HOSTNAME of /etc/machine-info, unquoted as in os-release(5)."""
    pretty = ""
    for line in text.splitlines():
        key, found, value = line.strip().partition("=")
        if found and key == "PRETTY_HOSTNAME":
            pretty = _unquoted(value)
    return pretty


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and len(value) >= 2 and value.endswith(quote):
        value = value[1:-1]
    if quote == "'":
        return value
    out, escaped = "", False
    for character in value:
        if escaped or character != "\\":
            out, escaped = out + character, False
        else:
            escaped = True
    return out
