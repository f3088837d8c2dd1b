"""Tasks as transient services of systemd; see org.freedesktop.systemd1(5).

How a task comes, goes and is remembered:

1. KEPT/ID.json is written before the unit is asked for, so a task that began is known in
   every later boot. ID is made of the task's name and its token, and so is the unit's name:
   whoever asks for the same again is refused by systemd as well.
2. RUNS/ID.order tells the relay (`guest_runtime/relay.py`), the unit's only program, what to
   run: of a unit anybody may read the arguments and the environment. A secret goes to it
   over a socket, and is never in a file.
3. The relay leaves RUNS/ID.result. After it systemd ends whatever is left in the unit's
   control group, and only then writes RUNS/ID.closed: the task is over. Where the unit is
   stopped, at its deadline for example, the relay ends all else before itself.
4. `keep` moves the result into KEPT/ID.json. RUNS lies in memory and may be written to at
   any time, KEPT on a disk that may be frozen, so only an act writes there.
"""

import json
import os
import socket
import sys
import time
from binascii import b2a_base64
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import reconciler
from reconciler.drivers.run.rights import check_target, forbidden_rights
from reconciler.errors import DriverError, Forbidden
from reconciler.facilities.dbus import Bus, BusError, NoAnswer, Peer
from reconciler.facilities.inotify import Folders
from reconciler.guarding.kernel import boot_clock_s, boot_id
from reconciler.policy import covers
from reconciler.resource import Json, Watch
from reconciler.resources.run import Commands
from reconciler.subjects.task import Excerpt, Outcome, Task
from reconciler.subjects.timestamps import stamp

RUNS = "/run/guest-reconciler/run"
KEPT = "/var/lib/guest-reconciler/run"

_NAME = "org.freedesktop.systemd1"
_MANAGER = Peer(_NAME, "/org/freedesktop/systemd1", f"{_NAME}.Manager")
_BOOTED = "/run/systemd/system"  # there when systemd runs the guest; sd_booted(3)
_UNIT_EXISTS = f"{_NAME}.UnitExists"
_NO_SUCH_UNIT = f"{_NAME}.NoSuchUnit"
_OVER = ("inactive", "failed")
_KEPT_MAX = 32  # of tasks that no document names any more; 67 KiB each at most
_RESULT_BYTES_MAX = 256 << 10  # both excerpts take 66 KiB; see `guest_runtime/relay.py`
_STOP_US = 15_000_000  # 2 s more than the relay takes to end all that is in the unit
_START_S = 10.0  # for systemd to take the unit, and for the relay to come for its secret
_BEGIN_S = 30.0  # a unit that systemd gave no answer about, and does not show by then, is gone
_RELAY = "import sys; sys.path.append(sys.argv[1]); from guest_runtime.relay import main; main(*sys.argv[2:])"
# systemd sets SERVICE_RESULT for what runs after the service; see systemd.exec(5).
_CLOSE = 'umask 077; echo "$SERVICE_RESULT" >"$0.part" && mv "$0.part" "$0"'
_TOLD = ("started_at", "ended_at", "duration_s", "exit_code", "signal", "fault")  # as in `Outcome`
# What systemd says of a service that somebody has stopped, as an end of its own would be.
_CALM = ("success", "timeout", "exit-code", "signal")

_Version = tuple[int, int, int]


class Systemd1(Commands):
    needs = "systemd on the system bus"
    forbidden_commands: tuple[str, ...] = ()  # shell patterns; the policy's
    forbidden_paths: tuple[str, ...] = ()
    forbidden_users: tuple[str, ...] = ()

    def __init__(self, runs: str = RUNS, kept: str = KEPT) -> None:
        self._runs, self._kept = runs, kept
        self._bus = Bus()
        self._known: dict[str, tuple[_Version, Outcome]] = {}  # what was kept, by id: it changes no more
        self._unanswered: dict[str, float] = {}  # when systemd had not said whether it begins, by id

    @classmethod
    def available(cls) -> bool:
        return cls.observable() and os.geteuid() == 0

    @classmethod
    def observable(cls) -> bool:
        """Looking takes no rights; a rehearsal needs no more."""
        return Bus.there() and os.path.exists(_BOOTED)

    def watches(self) -> Sequence[Watch]:
        return (Folders(self._runs, suffix=".closed"),)

    def cancel(self) -> None:
        self._bus.cancel()

    def close(self) -> None:
        self._bus.close()

    def boot_clock_s(self) -> float:
        return boot_clock_s()

    def check(self, tasks: Sequence[Task]) -> None:
        forbidden = {*self.forbidden_commands, *map(os.path.realpath, self.forbidden_commands)}
        for task in tasks:
            program = os.path.realpath(task.argv[0])
            if any(fnmatchcase(program, pattern) for pattern in forbidden):
                raise Forbidden(_words(program, "commands"))
            if task.cwd and covers(os.path.realpath(task.cwd), self.forbidden_paths):
                raise Forbidden(_words(task.cwd, "paths"))
            if self.forbidden_users and (who := forbidden_rights(task, self.forbidden_users)):
                raise Forbidden(_words(who, "users"))

    def runs(self, tasks: Sequence[Task]) -> Mapping[str, Outcome]:
        found = {}
        known, self._known = self._known, {}
        boot = boot_id()
        for task in tasks:
            id = _id(task)
            path = f"{self._kept}/{id}.json"
            version = _version(path)  # before it is read: what comes later is read again
            if version and (seen := known.get(id)) and seen[0] == version:
                self._known[id], found[task.name] = seen, seen[1]
            elif record := _read(path):
                outcome = found[task.name] = self._outcome(id, record, boot)
                if version and outcome.kept:
                    self._known[id] = version, outcome
        return found

    def start(self, task: Task, secret: bytes | bytearray, wanted: Sequence[Task]) -> None:
        id = _id(task)
        check_target(task)
        try:
            for folder in (self._runs, self._kept):
                os.makedirs(folder, mode=0o700, exist_ok=True)
            self._make_room({_id(each) for each in wanted} | {id})
            path = f"{self._kept}/{id}.json"
            if os.path.exists(path):
                return  # it began once, whatever else was forgotten
            record = {"name": task.name, "token": task.token, "bootId": boot_id()}
            record["startedAt"] = stamp(time.time())
            try:
                _replace(path, record, durable=True)
                self._begin(id, task, secret)
            except (OSError, DriverError):
                with suppress(FileNotFoundError):
                    os.unlink(path)
                raise
        except OSError as error:
            raise DriverError(f"cannot run {task.name}: {error.strerror}: {error.filename}") from error

    def keep(self, task: Task) -> None:
        try:
            self._keep(_id(task))
        except OSError as error:
            raise DriverError(f"cannot keep the result of {task.name}: {error.strerror}") from error

    # What is known

    def _outcome(self, id: str, record: Mapping[str, Json], boot: str) -> Outcome:
        if "result" in record:
            return _ended(record, kept=True)
        if record["bootId"] != boot:
            return _lost(record, "the guest went down before its result was kept")
        # In this order: what is over by now has closed before.
        alive = self._alive(id)
        closed = _text(f"{self._runs}/{id}.closed")
        if closed is None:
            late = not alive and boot_clock_s() < self._unanswered.get(id, 0.0) + _BEGIN_S
            if not alive and not late:
                return _lost(record, "its unit is gone, and has left no result")
            started = record["startedAt"]
            return Outcome(token=record["token"], state="running", started_at=started, beginning=late)
        result = _read(f"{self._runs}/{id}.result")
        if not result:
            return _lost(record, f"its unit ended without a result ({closed.strip()})")
        return _ended({**record, "result": result, "closed": closed.strip()}, kept=False)

    def _alive(self, id: str) -> bool:
        if os.path.exists(f"{self._runs}/{id}.closed"):
            return False
        try:
            (path,) = self._bus.call(_MANAGER, "GetUnit", "s", _unit(id))
            found = self._bus.properties(Peer(_NAME, path, f"{_NAME}.Unit"))
        except BusError as error:
            if error.name in (_NO_SUCH_UNIT, "org.freedesktop.DBus.Error.UnknownObject"):
                return False
            raise
        self._unanswered.pop(id, None)
        return found["ActiveState"] not in _OVER or found["Job"][0] != 0  # it is about to begin

    # How one begins

    def _begin(self, id: str, task: Task, secret: bytes | bytearray) -> None:
        """Raises OSError and DriverError when nothing was begun."""
        input = f"{self._runs}/{os.urandom(8).hex()}.input" if task.secret else ""
        order = {**vars(task), "input": input}
        listener = _listen(input) if input else None
        try:
            _replace(f"{self._runs}/{id}.order", order)
            try:
                self._start_unit(id, task)
            except (OSError, DriverError):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._runs}/{id}.order")
                raise
            if listener:
                _hand_over(listener, secret)
        finally:
            if listener:
                listener.close()
                with suppress(OSError):  # it may have begun by now: nothing may say that it has not
                    os.unlink(input)

    def _start_unit(self, id: str, task: Task) -> None:
        root = os.path.dirname(os.path.dirname(os.path.abspath(reconciler.__file__)))
        # -B: to cache compiled code could block on a frozen disk.
        relay = [sys.executable, "-I", "-S", "-B", "-c", _RELAY, root, self._runs, id]
        close = ["/bin/sh", "-c", _CLOSE, f"{self._runs}/{id}.closed"]
        properties: list[tuple[str, tuple[str, Any]]] = [
            ("Description", ("s", f"Task {task.name} of guest-reconciler")),
            ("ExecStart", ("a(sasb)", [(relay[0], relay, False)])),
            ("ExecStopPost", ("a(sasb)", [(close[0], close, False)])),
            ("RuntimeMaxUSec", ("t", round(task.deadline_s * 1e6))),
            ("TimeoutStopUSec", ("t", _STOP_US)),
            ("KillMode", ("s", "control-group")),
            ("CollectMode", ("s", "inactive-or-failed")),
        ]
        nothing: list[Json] = []
        arguments = (_unit(id), "fail", properties, nothing)
        try:
            self._bus.call(_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments, timeout_s=_START_S)
        except NoAnswer:
            # It may have begun, or may yet; the next looks tell.
            now_s = boot_clock_s()
            recent = {id: at_s for id, at_s in self._unanswered.items() if now_s < at_s + _BEGIN_S}
            self._unanswered = {**recent, id: now_s}
        except BusError as error:
            if error.name != _UNIT_EXISTS:
                raise DriverError(f"cannot run {task.name}: {error}") from error

    # What is written down

    def _keep(self, id: str) -> None:
        """Raises OSError."""
        path = f"{self._kept}/{id}.json"
        record, result = _read(path), _read(f"{self._runs}/{id}.result")
        closed = _text(f"{self._runs}/{id}.closed")
        if record and result and closed is not None and "result" not in record:
            _replace(path, {**record, "result": result, "closed": closed.strip()}, durable=True)
        for ending in ("order", "result", "closed"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._runs}/{id}.{ending}")

    def _make_room(self, wanted: Collection[str]) -> None:
        """Keep what has ended since its document went, and forget the oldest of such."""
        for name in os.listdir(self._runs):
            id, _, ending = name.rpartition(".")
            if ending == "closed" and id not in wanted:
                self._keep(id)
        others = [name for name in os.listdir(self._kept) if name.rpartition(".")[0] not in wanted]
        others.sort(key=lambda name: os.stat(f"{self._kept}/{name}").st_mtime)
        for name in others[:-_KEPT_MAX]:
            os.unlink(f"{self._kept}/{name}")


def _id(task: Task) -> str:
    """Of a name of 48 and a token of 128 characters at most: 221 that a file and a unit may be named by."""
    token = b2a_base64(task.token.encode(), newline=False).decode().rstrip("=")
    return f"{task.name}.{token.replace('+', '-').replace('/', '_')}"


def _unit(id: str) -> str:
    return f"guest-task-{id}.service"  # the relay knows its unit by that name


def _words(name: str, list_: str) -> str:
    return f"cannot manage run of {name}: forbidden by the guest's policy (forbid.{list_})"


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(1)
        listener.settimeout(_START_S)
    except BaseException:
        listener.close()
        with suppress(OSError):
            os.unlink(path)
        raise
    return listener


def _hand_over(listener: socket.socket, secret: bytes | bytearray) -> None:
    """Give the secret to the relay, if it comes: it tells if it did not get it."""
    with suppress(OSError):
        relay, _ = listener.accept()
        with relay:
            relay.settimeout(_START_S)
            relay.sendall(secret)
            relay.sendall(b"\n")  # nothing is missing


def _ended(record: Mapping[str, Json], *, kept: bool) -> Outcome:
    result, closed = record["result"], record["closed"]
    told: dict[str, Any] = {key: result[key] for key in _TOLD if key in result}
    told |= {name: Excerpt(**result[name]) for name in ("stdout", "stderr") if name in result}
    if result["stopped"]:
        told["cut"] = "deadline" if closed == "timeout" else "stopped"
    if result["stopped"] and closed not in _CALM:
        told["fault"] = closed
    return Outcome(token=record["token"], state="ended", kept=kept, **told)


def _lost(record: Mapping[str, Json], why: str) -> Outcome:
    return Outcome(token=record["token"], state="lost", started_at=record["startedAt"], fault=why)


def _text(path: str) -> str | None:
    """What a small file says; None where there is none, or none that we may read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_RESULT_BYTES_MAX)
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        raise DriverError(f"cannot read {path}: {error.strerror}") from error


def _version(path: str) -> _Version | None:
    """What is another one whenever the file is."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: str) -> dict[str, Json]:
    """A file of ours; empty where there is none, or a power cut has spoilt it."""
    try:
        found = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _replace(path: str, content: Mapping[str, Json], *, durable: bool = False) -> None:
    """Write a file whole or not at all. Raises OSError."""
    fresh = f"{path}.fresh"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)  # as it is told
            file.flush()
            if durable:
                os.fsync(fd)
        os.rename(fresh, path)
    except OSError:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    if durable:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
