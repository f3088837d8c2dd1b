"""What must survive a crash: the document in force, and what was done once and for all.

Rules:

1. `begin` returns only after the token is on disk, so an act that follows it is
   never done twice, whatever dies in between.
2. All else may be written later, and is not written at all while something holds:
   the disk may be the very one that is frozen. What a crash loses then is only
   knowledge that errs on the safe side: an act stays "begun", which is never repeated.
3. The data are never locked during I/O: a write that hangs stops nobody's look.
"""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from reconciler.errors import DriverError
from reconciler.resource import Deed, Json, Past
from reconciler.spec import Spec

DEEDS_MAX = 256  # for each kind; a host that repeats a token after 256 newer ones is not a retry
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
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._directory = directory
        self._path = os.path.join(directory, "state.json")
        self._broken = self._path + ".broken"

    def read(self) -> bytes | None:
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def replace(self, data: bytes) -> None:
        fresh = self._path + ".new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, self._path)
        # The rename itself is durable only once the directory is.
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def set_aside(self) -> None:
        os.rename(self._path, self._broken)

    def broken(self) -> bool:
        return os.path.exists(self._broken)


@dataclass(frozen=True)
class _State:
    spec: Spec = field(default_factory=Spec)
    deeds: Mapping[str, Mapping[str, Deed]] = field(default_factory=dict)  # kind -> token -> deed
    settled: Mapping[str, int] = field(default_factory=dict)  # kind -> generation it was once in sync at


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

    def past(self, kind: str, generation: int | None = None) -> Past:
        """What `kind` has done; as a document of `generation` would find it, where given."""
        state = self._state
        return Past(
            generation=state.spec.generation if generation is None else generation,
            boot_id=self._boot_id,
            deeds=state.deeds.get(kind, {}),
        )

    def settled(self, kind: str) -> bool:
        """Whether this kind has been in sync since the document in force arrived."""
        return self._state.settled.get(kind) == self._state.spec.generation

    def keep(self, spec: Spec) -> None:
        with self._data:
            self._state = replace(self._state, spec=spec)

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
            deeds[token] = deed
            for oldest in list(deeds)[:-DEEDS_MAX]:
                del deeds[oldest]
            self._state = replace(self._state, deeds={**self._state.deeds, kind: deeds})

    def _load(self) -> _State:
        data = self._disk.read()
        if data is None:
            return _State()
        try:
            return _decode(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError):
            # Better to know nothing than to guess; `begin` refuses until a person has looked.
            self._disk.set_aside()
            return _State()


def _encode(state: _State) -> bytes:
    return json.dumps({"format": _FORMAT, **asdict(state)}, separators=(",", ":")).encode()


def _decode(document: Json) -> _State:
    if document["format"] != _FORMAT:
        raise ValueError("unknown format")
    return _State(
        spec=Spec(**document["spec"]),
        deeds={
            kind: {token: Deed(**deed) for token, deed in deeds.items()}
            for kind, deeds in document["deeds"].items()
        },
        settled=dict(document["settled"]),
    )
