"""What must survive a crash: the document in force, and what was done once and for all.

Rules:

1. `begin` returns only after the token is on disk, so an act that follows it is
   never done twice, whatever dies in between.
2. All else may be written later, and is not written at all while something holds:
   the disk may be the very one that is frozen. What a crash loses then is only
   knowledge that errs on the safe side: an act stays "begun", which is never repeated.
3. The data are never locked during I/O: a write that hangs stops nobody's look.
"""

import fcntl
import json
import os
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from reconciler.errors import DriverError
from reconciler.resource import Deed, Json, Past
from reconciler.spec import Spec

# Of one kind and one act: a host that repeats a token after 256 newer ones is not a retry, but a
# token for a trim may stand in the document over any number of freezes.
DEEDS_MAX = 256
STATE_BYTES_MAX = 64 << 20  # the longest document that can be transferred, escaped, and every deed
_FORMAT = 1


class Disk(Protocol):
    """One small file that is replaced whole or not at all."""

    def read(self) -> bytes | None: ...

    def replace(self, data: bytes) -> None:
        """Return once the new content would survive a power cut. Raises OSError."""

    def set_aside(self) -> None:
        """Move content that makes no sense out of the way, and keep it."""

    def broken(self) -> bool:
        """Whether such content still lies there."""


class StateFile:
    """`state.json` in the agent's state directory."""

    def __init__(self, directory: str) -> None:
        """Raises DriverError."""
        self._path = os.path.join(directory, "state.json")
        self._broken = self._path + ".broken"
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            status = os.fstat(self._folder)
        except OSError as error:
            raise DriverError(f"cannot keep the state in {directory}: {error.strerror}") from None
        # Who can write there can have any document followed, and anything done twice.
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            raise DriverError(f"cannot keep the state in {directory}: others can write there")

    def lock(self) -> None:
        """Keep other agents out for as long as this process lives: two would do once-only acts twice."""
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            why = "another agent does" if isinstance(error, BlockingIOError) else error.strerror
            raise DriverError(f"cannot keep the state in {os.path.dirname(self._path)}: {why}") from None

    def read(self) -> bytes | None:
        try:
            # Not blocking, should it be a pipe.
            with open(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise DriverError(f"cannot read {self._path}: it is no regular file")
                return file.read(STATE_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DriverError(f"cannot read {self._path}: {error.strerror}") from None

    def replace(self, data: bytes) -> None:
        fresh = self._path + ".new"
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) or 0 :]
                os.fsync(file.fileno())
        except OSError:
            # On a full disk it would keep the room that others need.
            with suppress(OSError):
                os.unlink(fresh)
            raise
        os.rename(fresh, self._path)
        # The rename itself is durable only once the directory is.
        os.fsync(self._folder)

    def set_aside(self) -> None:
        os.rename(self._path, self._broken)

    def broken(self) -> bool:
        return os.path.exists(self._broken)


@dataclass(frozen=True)
class _State:
    """All that is durable; replaced whole."""

    spec: Spec = field(default_factory=Spec)
    deeds: Mapping[str, Mapping[str, Deed]] = field(default_factory=dict)  # kind -> token -> deed
    settled: Mapping[str, int] = field(default_factory=dict)  # kind -> generation it was once in sync at
    since: Mapping[str, int] = field(default_factory=dict)  # kind -> generation that last changed it


class Store:
    """Shared by the loop and its jobs' threads."""

    def __init__(self, disk: Disk, boot_id: str) -> None:
        self._disk = disk
        self._boot_id = boot_id
        self._data = threading.Lock()
        self._writing = threading.Lock()
        self._saved = self._state = self._load()

    @property
    def spec(self) -> Spec:
        return self._state.spec

    @property
    def dirty(self) -> bool:
        return self._state is not self._saved

    def past(self, kind: str, preview: Spec | None = None) -> Past:
        """What `kind` has done; for a document that is not in force, where given."""
        state = self._state
        return Past(
            generation=self._since(kind, preview or state.spec),
            in_force=(preview or state.spec).generation,
            boot_id=self._boot_id,
            deeds=state.deeds.get(kind, {}),
            preview=preview is not None,
        )

    def settled(self, kind: str) -> bool:
        """Whether this kind has been in sync since the document says of it what it says."""
        return self._state.settled.get(kind, -1) >= self._since(kind, self._state.spec)

    def _since(self, kind: str, spec: Spec) -> int:
        """The generation since which the document says of this kind what `spec` says of it."""
        last = self._state.spec
        if spec.generation != last.generation and (
            # The same as a whole, under a new number: all that is done once is meant to be done anew.
            spec.digest == last.digest or spec.normal.get(kind) != last.normal.get(kind)
        ):
            return spec.generation
        return self._state.since.get(kind, spec.generation)

    def keep(self, spec: Spec) -> None:
        with self._data:
            since = {kind: self._since(kind, spec) for kind in spec.normal}
            self._state = replace(self._state, spec=spec, since=since)

    def settle(self, kind: str) -> None:
        with self._data:
            settled = {**self._state.settled, kind: self._state.spec.generation}
            self._state = replace(self._state, settled=settled)

    def begin(self, kind: str, token: str) -> None:
        """Remember durably that an act is about to be done. Raises DriverError, and then it must not be."""
        if self._disk.broken():
            raise DriverError(
                f"cannot begin {token}: whether it was done before is not known, "
                "since state.json was unreadable; look at state.json.broken and remove it"
            )
        if self.past(kind).spent(token):
            raise DriverError(f"cannot begin {token}: it was begun before")
        self._record(kind, token, Deed("begun", self._boot_id, self.spec.generation))
        try:
            self.flush()
        except OSError as error:
            self.refuse(kind, token, "the token could not be written")
            raise DriverError(f"cannot remember {token}: {error.strerror}") from error

    def finish(self, kind: str, token: str) -> None:
        self._record(kind, token, replace(self._state.deeds[kind][token], state="done"))

    def refuse(self, kind: str, token: str, message: str) -> None:
        """The act was surely not done: the token may be used again."""
        deed = replace(self._state.deeds[kind][token], state="refused", message=message[:1000])
        self._record(kind, token, deed)

    def flush(self) -> None:
        """Write what is new. Blocks as the disk does. Raises OSError."""
        with self._writing:
            state = self._state
            if state is not self._saved:
                self._disk.replace(_encode(state))
                self._saved = state

    def _record(self, kind: str, token: str, deed: Deed) -> None:
        with self._data:
            deeds = dict(self._state.deeds.get(kind, {}))
            deeds.pop(token, None)  # used anew it is the newest, and stands last
            deeds[token] = deed
            alike = [known for known in deeds if _act_of(known) == _act_of(token)]
            for oldest in alike[:-DEEDS_MAX]:
                del deeds[oldest]
            self._state = replace(self._state, deeds={**self._state.deeds, kind: deeds})

    def _load(self) -> _State:
        data = self._disk.read()
        if data is None:
            return _State()
        try:
            return _decode(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # Better to know nothing than to guess; `begin` refuses until a person has looked.
            self._disk.set_aside()
            return _State()


def _act_of(token: str) -> str:
    """What stands before the first `@` or `:`, as in `trim@weekly-12` and `reboot:7`."""
    return token[: min((place for mark in "@:" if (place := token.find(mark)) >= 0), default=0)]


def _encode(state: _State) -> bytes:
    deeds = {kind: {token: vars(deed) for token, deed in of.items()} for kind, of in state.deeds.items()}
    parts = {"spec": vars(state.spec), "deeds": deeds, "settled": state.settled, "since": state.since}
    return json.dumps({"format": _FORMAT, **parts}, separators=(",", ":")).encode()


def _decode(document: Json) -> _State:
    if document["format"] != _FORMAT:
        raise ValueError("unknown format")
    state = _State(
        spec=Spec(**document["spec"]),
        deeds={
            kind: {token: Deed(**deed) for token, deed in deeds.items()}
            for kind, deeds in document["deeds"].items()
        },
        settled=dict(document["settled"]),
        since=dict(document["since"]),
    )
    spec, deeds = state.spec, [deed for of_kind in state.deeds.values() for deed in of_kind.values()]
    numbers = [spec.generation, *(deed.generation for deed in deeds), *state.settled.values()]
    numbers += state.since.values()
    words = [spec.digest, *(word for deed in deeds for word in (deed.boot_id, deed.message))]
    sound = (
        all(type(number) is int and 0 <= number < 2**53 for number in numbers)
        and all(isinstance(word, str) for word in words)
        and all(deed.state in ("begun", "done", "refused") for deed in deeds)
        and isinstance(spec.normal, dict)
        and all(isinstance(of_kind, dict) for of_kind in spec.normal.values())
    )
    if not sound:
        raise ValueError("a value of another type")
    return state
