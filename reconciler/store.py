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
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from reconciler.deeds import KIND_MAX, remember
from reconciler.errors import DriverError, ReconcilerError
from reconciler.resource import Deed, Json, Past
from reconciler.spec import Spec

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
    began: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # kind -> when that was: boot, s


class Store:
    """Shared by the loop and its jobs' threads."""

    def __init__(self, disk: Disk, boot_id: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._disk = disk
        self._boot_id = boot_id
        self._monotonic_s = monotonic_s
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
        boot_id, began_s = self._began(kind, preview or state.spec)
        return Past(
            generation=self._since(kind, preview or state.spec),
            in_force=(preview or state.spec).generation,
            boot_id=self._boot_id,
            deeds=state.deeds.get(kind, {}),
            preview=preview is not None,
            began_s=began_s if boot_id == self._boot_id else 0.0,
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

    def _began(self, kind: str, spec: Spec) -> tuple[str, float]:
        """The boot in which the document came to say of this kind what `spec` says, and when in it."""
        if spec.generation != self._state.spec.generation and self._since(kind, spec) == spec.generation:
            return self._boot_id, self._monotonic_s()
        return self._state.began.get(kind, ("", 0.0))

    def keep(self, spec: Spec) -> None:
        with self._data:
            since = {kind: self._since(kind, spec) for kind in spec.normal}
            began = {kind: self._began(kind, spec) for kind in spec.normal}
            self._state = replace(self._state, spec=spec, since=since, began=began)

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
        past = self.past(kind)
        if past.spent(token):
            raise DriverError(f"cannot begin {token}: it was begun before")
        # Those of earlier documents first: they need not stand in the way of this one.
        if len(remember(past.deeds, token, self.spec.normal.get(kind, {}), past)) > KIND_MAX:
            raise DriverError(
                f"cannot begin {token}: more than {KIND_MAX} acts were done "
                "for tokens that the document names: write others"
            )
        self._record(kind, token, Deed("begun", self._boot_id, self.spec.generation))
        try:
            self.flush()
        except OSError as error:
            self.refuse(kind, token, DriverError("the token could not be written"))
            raise DriverError(f"cannot remember {token}: {error.strerror}") from error

    def finish(self, kind: str, token: str) -> None:
        self._record(kind, token, replace(self._state.deeds[kind][token], state="done"))

    def refuse(self, kind: str, token: str, failure: ReconcilerError) -> None:
        """The act was surely not done: the token may be used again."""
        deed = self._state.deeds[kind][token]
        reason = type(failure).__name__
        self._record(kind, token, replace(deed, state="refused", message=str(failure)[:1000], reason=reason))

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
            normal = self._state.spec.normal.get(kind, {})
            deeds = remember(deeds, token, normal, self.past(kind))
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


def _encode(state: _State) -> bytes:
    deeds = {kind: {token: vars(deed) for token, deed in of.items()} for kind, of in state.deeds.items()}
    parts = {"spec": vars(state.spec), "deeds": deeds, "settled": state.settled}
    parts |= {"since": state.since, "began": state.began}
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
        # Files of earlier versions have none, and lists stand for pairs in JSON.
        began={kind: (boot_id, at_s) for kind, (boot_id, at_s) in document.get("began", {}).items()},
    )
    spec, deeds = state.spec, [deed for of_kind in state.deeds.values() for deed in of_kind.values()]
    numbers = [spec.generation, *(deed.generation for deed in deeds), *state.settled.values()]
    numbers += state.since.values()
    words = [spec.digest, *(word for deed in deeds for word in (deed.boot_id, deed.message, deed.reason))]
    words += [boot_id for boot_id, _ in state.began.values()]
    sound = (
        all(type(number) is int and 0 <= number < 2**53 for number in numbers)
        and all(isinstance(word, str) for word in words)
        and all(deed.state in ("begun", "done", "refused") for deed in deeds)
        and all(type(at_s) in (int, float) for _, at_s in state.began.values())
        and isinstance(spec.normal, dict)
        and all(isinstance(of_kind, dict) for of_kind in spec.normal.values())
    )
    if not sound:
        raise ValueError("a value of another type")
    return state
