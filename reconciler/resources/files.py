"""Files by their path: what is in them, whose they are, who may do what with them.

The rules of this kind:

1. Regular files only, by a path without symbolic links. Whatever else stands there is left, and told.
2. A file whose content is written is replaced whole whenever anything of it differs. Without a
   content it is changed in place: only its mode and its owners are anybody's business then.
3. Content that is a secret is written once for each change of this kind, and no digest of it is told.
4. What hinders one file does not hinder the others: one that failed is left for a while.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from reconciler.errors import DriverError, Fault, InvalidSpec, ReconcilerError
from reconciler.resource import (
    Action,
    Change,
    Deed,
    Driver,
    Json,
    Notice,
    Past,
    Phase,
    Resource,
    Rules,
    Touch,
    Verdict,
)
from reconciler.secret import secret_field
from reconciler.subjects.file_states import (
    CONTENT_CHARS_MAX,
    ID_MAX,
    MODE_NEW,
    Due,
    File,
    Observed,
    Owner,
    Seen,
    differences,
    digest_of,
    faults,
    file_of,
    hindrance,
    octal,
    token_of,
)
from reconciler.subjects.listing import first_few
from reconciler.subjects.refusals import Refusals

FILES_MAX = 256  # as many tokens of one act are remembered, and a look opens each file
LISTED_MAX = 5  # names in a message, for a person
FAILED_S = 15.0  # until one that failed is tried again: a full disk is seldom full for long


@dataclass(frozen=True)
class Desired:
    """Empty: not managed."""

    files: tuple[File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a file is to be, beside its content; None: as it is."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    backup: bool = False  # keep what was there as PATH~
    secret: bool = False  # who could read what was there does not read this


class Paths(Driver, Protocol):
    """What this kind asks of the OS. Each act raises DriverError, and then has done nothing."""

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def follow(self, paths: Iterable[str]) -> None:
        """Notice changes of these from now on, and of no others."""

    def look(self, path: str, *, digest: bool) -> Seen: ...

    def user(self, name: str) -> int | None:
        """The number of a user; None where there is none of this name."""

    def group(self, name: str) -> int | None: ...

    def write(self, path: str, content: bytes | bytearray, terms: Terms) -> None:
        """Put a file there, whole or not at all, so that it survives a power cut."""

    def adjust(self, path: str, terms: Terms) -> None:
        """Change the mode and the owners of the file that is there."""

    def remove(self, path: str, *, backup: bool) -> None: ...


_OWNER: Rules = {
    "type": ["string", "integer"],
    "regex": r"[A-Za-z_][A-Za-z0-9_.@-]*\$?",
    "maxlength": 256,  # LOGIN_NAME_MAX of bits/local_lim.h
    "min": 0,
    "max": ID_MAX,
}
_FIELDS: Rules = {
    "state": {
        "type": "string",
        "allowed": ["present", "absent"],
        "meta": {"description": "Whether there is such a file.", "default": "present"},
    },
    "content": {
        "type": "string",
        "maxlength": CONTENT_CHARS_MAX,
        "excludes": ["contentBase64", "secret"],
        "meta": {"description": "All that is in it, as text.", "default": "as it is; nothing in a new file"},
    },
    "contentBase64": {
        "type": "string",
        # Lines of whole groups of four, as base64(1) writes them.
        "regex": r"(?:[A-Za-z0-9+/]{4}\n?)*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\n?",
        "maxlength": CONTENT_CHARS_MAX,
        "excludes": ["content", "secret"],
        "meta": {"description": "All that is in it, as bytes in base64.", "expected": "base64"},
    },
    "secret": {
        **secret_field("The file with its content: written once for each change of this kind, never shown."),
        "excludes": ["content", "contentBase64"],
    },
    "mode": {
        "type": "string",
        "regex": "0[0-7]{3}",
        "meta": {
            "description": "Who may do what with it; setuid, setgid and sticky are never given.",
            "expected": "four octal digits such as 0644, the first of them 0",
            "default": "as it is; 0644 for a new file, 0600 for a secret",
        },
    },
    "owner": {
        **_OWNER,
        "meta": {
            "description": "Whose it is.",
            "expected": "the name or number of a user",
            "default": "as it is; root for a new file and for a secret",
        },
    },
    "group": {
        **_OWNER,
        "meta": {
            "description": "Whose group's it is.",
            "expected": "the name or number of a group",
            "default": "as it is; root, or the folder's where that hands its group down, for a new file",
        },
    },
    "backup": {
        "type": "boolean",
        "meta": {
            "description": "Keep what is replaced or removed as FILE~, in place of an earlier one.",
            "default": False,
        },
    },
}
_FILE: Rules = {"type": "dict", "schema": _FIELDS}
_TEXT: Rules = {"type": "string", "maxlength": CONTENT_CHARS_MAX}


class Files(Resource[Desired, Observed, Paths], kind="files"):
    summary = "Files by their path: what is in them, whose they are, or that they are not there."
    verbs = frozenset({"write", "adjust", "remove"})
    earliest = Phase.CONTENT
    observe_deadline_s = 30.0  # to read all that may be written here, from a slow disk
    short: ClassVar[Rules] = {
        "type": "dict",
        "keysrules": {"type": "path"},
        "valuesrules": {"anyof": [_TEXT, _FILE]},
        "meta": {"description": "Each path with its content, or with its fields: /etc/motd: Welcome."},
    }
    rules: ClassVar[Rules] = {
        "paths": {
            "type": "dict",
            "keysrules": {"type": "path"},
            "valuesrules": _FILE,
            "meta": {"description": "Each path with its fields. Others in the same folder are left alone."},
        },
    }

    def __init__(self, driver: Paths) -> None:
        super().__init__(driver)
        self._refusals: Refusals[str] = Refusals(FAILED_S)

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {
            "paths": {
                path: {"content": value} if isinstance(value, str) else value for path, value in short.items()
            }
        }

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        written: Mapping[str, Json] = normal.get("paths", {})
        if len(written) > FILES_MAX:
            raise InvalidSpec(Fault(0, 0, "paths", f"must be at most {FILES_MAX} files (got {len(written)})"))
        wrong = [fault for path, fields in written.items() for fault in faults(path, fields, written)]
        if wrong:
            raise InvalidSpec(*(Fault(0, 0, "paths", fault) for fault in wrong))
        return Desired(tuple(file_of(path, fields) for path, fields in written.items()))

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: Paths = self.driver
        files = {file.path: file for file in desired.files}
        if not past.preview:
            driver.follow(files)  # first, or what happens between our look and the watch went unseen
        users = {file.owner for file in files.values() if isinstance(file.owner, str)}
        groups = {file.group for file in files.values() if isinstance(file.group, str)}
        tokens = {path: token_of(path, past.generation) for path, file in files.items() if file.secret}
        now_s = driver.boot_clock_s()
        return Observed(
            boot_clock_s=now_s,
            files={path: driver.look(path, digest=not file.secret) for path, file in files.items()},
            users={name: driver.user(name) for name in sorted(users)},
            groups={name: driver.group(name) for name in sorted(groups)},
            generation=past.generation,
            deeds={path: past.deeds[token] for path, token in tokens.items() if token in past.deeds},
            secrets=frozenset(
                path
                for path, file in files.items()
                # A preview's document has not been sent with its secrets yet.
                if file.secret and (past.preview or self.secrets.has(file.secret))
            ),
            failed=self._refusals.standing(past, now_s),
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        return tuple(
            change
            for file in desired.files
            if hindrance(file, observed) is None
            for change in differences(file, observed)
        )

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        files = {file.path: file for file in desired.files}
        return tuple(
            _action(files[path], [change for change in changes if change.target == path])
            for path in dict.fromkeys(change.target for change in changes)
        )

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        path, terms = action.target, action.value
        if action.verb == "remove":
            return replace(observed, files={**observed.files, path: Seen()})
        seen = observed.files.get(path, Seen())
        if action.verb == "write":
            content = a2b_base64(terms.get("content", ""))
            digest = "" if "secret" in terms else digest_of([content])
            mode = seen.mode & 0o777 if seen.state == "file" else MODE_NEW
            seen = replace(seen, state="file", digest=digest, size=len(content), mode=mode, names=1)
        users = {name: number for name, number in observed.users.items() if number is not None}
        groups = {name: number for name, number in observed.groups.items() if number is not None}
        if "owner" in terms:
            uid = users.get(terms["owner"], terms["owner"])
            seen = replace(seen, uid=uid, owner=str(terms["owner"]))
        if "group" in terms:
            gid = groups.get(terms["group"], terms["group"])
            seen = replace(seen, gid=gid, group=str(terms["group"]))
        if "mode" in terms:
            seen = replace(seen, mode=terms["mode"])
        deeds = observed.deeds
        if action.token:
            deeds = {**deeds, path: Deed("done", "", observed.generation)}
        return replace(observed, files={**observed.files, path: seen}, deeds=deeds)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        hindered = [found for file in desired.files if (found := hindrance(file, observed))]
        why = [words for _, words in hindered]
        if changes:
            fields: dict[str, list[str]] = {}
            for change in changes:
                fields.setdefault(change.target, []).append(change.field)
            drifted = [f"{path}: {', '.join(names)}" for path, names in fields.items()]
            return Verdict(False, "Drifted", first_few([*drifted, *why], LISTED_MAX, "; "))
        if hindered:
            return Verdict(False, hindered[0][0], first_few(why, LISTED_MAX, "; "), failed=True)
        count = len(desired.files)
        return Verdict(True, "InSync", f"{count} file{'s' if count != 1 else ''}")

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        return observed.boot_clock_s + FAILED_S if observed.failed else None

    @staticmethod
    def show(observed: Observed) -> Json:
        return {path: _shown(seen) for path, seen in observed.files.items()}

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        both = before.files.keys() & after.files.keys()
        told = [path for path in sorted(both) if _shown(before.files[path]) != _shown(after.files[path])]
        return (Notice("FilesChanged", first_few(told, LISTED_MAX, "; ")),) if told else ()

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        kept = (f"{file.path}~" for file in desired.files if file.backup)
        return tuple(Touch("path", path) for path in (*(file.path for file in desired.files), *kept))

    def act(self, action: Action) -> None:
        driver: Paths = self.driver
        try:
            self._act(action)
        except ReconcilerError as error:
            # Told by the next look, as what hinders this file: the plan goes on with the others.
            self._refusals.note(action.target, str(error), driver.boot_clock_s())
            if action.token is not None:
                raise DriverError(str(error)) from error  # the store remembers why
        else:
            self._refusals.drop(action.target)

    def _act(self, action: Action) -> None:
        driver: Paths = self.driver
        path, value = action.target, action.value
        if action.verb == "remove":
            driver.remove(path, backup=value["backup"])
            return
        terms = Terms(
            mode=value.get("mode"),
            uid=_number(value.get("owner"), "user", driver.user),
            gid=_number(value.get("group"), "group", driver.group),
            backup=value["backup"],
            secret="secret" in value,
        )
        if action.verb == "adjust":
            driver.adjust(path, terms)
        elif "secret" in value:
            with self.secrets.take(value["secret"]) as secret:
                driver.write(path, secret.data, terms)
        else:
            driver.write(path, a2b_base64(value.get("content", "")), terms)


def _action(file: File, changes: Sequence[Change]) -> Action:
    value: dict[str, Json] = {"backup": file.backup}
    if file.absent:
        return Action("remove", file.path, Phase.CONTENT, value=value)
    terms = {"mode": file.mode, "owner": file.owner, "group": file.group}
    value |= {name: term for name, term in terms.items() if term is not None}
    token = next((change.token for change in changes if isinstance(change, Due)), None)
    verb = "write"
    if token:
        value["secret"] = file.secret
    elif file.content is not None:
        value["content"] = b2a_base64(file.content, newline=False).decode()
    elif all(change.field != "state" for change in changes):
        verb = "adjust"
    return Action(verb, file.path, Phase.CONTENT, token, value)


def _number(owner: Owner | None, what: str, find: Callable[[str], int | None]) -> int | None:
    """The number of an owner; None for none. Raises DriverError for one that has gone since it was seen."""
    number = find(owner) if isinstance(owner, str) else owner
    if owner is not None and number is None:
        raise DriverError(f"cannot give a file to {owner}: there is no such {what}")
    return number


def _shown(seen: Seen) -> Json:
    if seen.state != "file":
        return {"state": seen.state}
    content = {"digest": seen.digest, "size": seen.size} if seen.digest else {}
    return {**content, "mode": octal(seen.mode), "owner": seen.owner, "group": seen.group}
