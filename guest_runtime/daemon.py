"""The guest's daemon: one selector, a thread for each call that may block.

Rules:

1. Only this thread touches the loop, the conversations and the endpoints.
2. Threads hand their answers over through a queue, and ring a pipe.
3. While something holds, not a byte is logged: the log may end on the frozen disk.
"""

import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from guest_runtime.conversation import Conversation
from guest_runtime.log import Log
from guest_runtime.memory import give_back
from guest_runtime.methods import Methods
from guest_runtime.report import Report
from guest_runtime.systemd import Notify
from guest_runtime.validation import Validation
from reconciler import __version__
from reconciler.errors import DriverError, ReconcilerError
from reconciler.guarding.kernel import boot_clock_s, boot_id
from reconciler.journal import Event
from reconciler.loop import Job, Loop, Setting
from reconciler.protocols import channel as wire
from reconciler.protocols.calls import OUTSTANDING_MAX
from reconciler.protocols.transfer import CHUNK_BYTES_MAX, TRANSFER_BYTES_MAX
from reconciler.resource import Json, Preparing, Watch, Watching
from reconciler.secret import Safe
from reconciler.store import StateFile, Store
from reconciler.stream import Closed, Connection, Data, Drained, Endpoint, Opened, Trouble
from reconciler.subjects import timestamps
from reconciler.track import Answer

REAP_S = 31.0  # after the last work: a validating child has ended by then, and must not stay a zombie


def stamp(boot_s: float) -> str:
    """A time on the boot clock as RFC 3339."""
    return timestamps.stamp(time.time() + boot_s - boot_clock_s())


def jitter() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


@dataclass
class Daemon:
    """Fills the port `Guest` of its conversations."""

    setting: Setting
    endpoints: Sequence[Endpoint]
    state_directory: str
    validation: Validation
    report: Report = field(default_factory=Report)
    safe: Safe = field(default_factory=Safe)

    def __post_init__(self) -> None:
        self.log = Log()
        self._boot_id = boot_id()
        disk = StateFile(self.state_directory)
        disk.lock()
        self._store = Store(disk, self._boot_id)
        if disk.broken():
            self.log.say("state.json made no sense and was set aside as state.json.broken")
        self._loop = Loop(self.setting, self._store, stamp)
        self._methods = Methods(
            loop=self._loop,
            store=self._store,
            validation=self.validation,
            background=self._background,
            revision=lambda: self.report.revision,
            clock_s=boot_clock_s,
            rehearsing=self.setting.rehearse,
            safe=self.safe,
        )
        self._conversations: dict[Connection, Conversation] = {}
        self._answers: deque[Callable[[], None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, tuple[str, Watch]] = {}
        self._awake: set[str] = set()  # kinds that have been met
        self._notify = Notify()
        self._preparing = threading.Thread()
        self._reap_s = 0.0
        self._stopping = False
        self._bell, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until a signal says to end; then let go of what holds."""
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._meet()
        self._poll(set())
        for endpoint in self.endpoints:
            self._selector.register(endpoint.fileno(), selectors.EVENT_READ)
        self._turn()
        self._notify.ready(boot_clock_s())
        while not self._stopping:
            ready = {key.fd for key, _ in self._selector.select(self._wait_s())}
            self._take(ready)
            self._poll(ready)
            self._turn()
        self._end()

    # What a conversation asks

    def hello(self) -> Json:
        spec = self._loop.spec
        kinds: dict[str, Json] = {k: {"usable": True} | self._methods.wishes(k) for k in self._loop.tracks}
        for kind in self.setting.asleep - kinds.keys():
            kinds[kind] = {"usable": True, "asleep": True}
        for kind, why in self._loop.unusable.items():
            kinds[kind] = {"usable": False, "reason": type(why).__name__, "message": str(why)}
        return {
            "protocol": wire.PROTOCOL,
            "agent": {"version": __version__},
            "name": os.uname().nodename,
            "bootId": self._boot_id,
            "rehearsing": self.setting.rehearse,
            "kinds": kinds,
            "limits": {
                "messageBytes": wire.TO_GUEST_BYTES_MAX,
                "depth": wire.DEPTH_MAX,
                "outstanding": OUTSTANDING_MAX,
                "chunkBytes": CHUNK_BYTES_MAX,
                "transferBytes": TRANSFER_BYTES_MAX,
            },
            "generation": spec.generation,
            "digest": spec.digest,
            "revision": self.report.revision,
        }

    def boot_id(self) -> str:
        return self._boot_id

    def events(self, since: int) -> tuple[Event, ...]:
        return self._loop.journal.since(since)

    def last_event(self) -> int:
        return self._loop.journal.last

    def call(self, method: str, params: Json, answer: Answer) -> bool:
        if method in ("apply", "plan"):
            self._reap_s = boot_clock_s() + REAP_S
        return self._methods.call(method, params, answer)

    def prepare(self) -> None:
        """A document is about to come: start what takes long to start."""
        self._reap_s = boot_clock_s() + REAP_S
        # One at a time, however often hosts say so.
        if not self._preparing.is_alive():
            self._preparing = threading.Thread(target=self._prepare, daemon=True)
            with suppress(RuntimeError):  # then it takes longer
                self._preparing.start()

    def _prepare(self) -> None:
        self.validation.warm()
        if not self.setting.rehearse:
            for track in tuple(self._loop.tracks.values()):
                for driver in track.resource.drivers():
                    if isinstance(driver, Preparing):
                        driver.prepare()

    # One turn

    def _turn(self) -> None:
        """Start what is to be started, and tell the hosts what is new."""
        now_s = boot_clock_s()
        self.safe.expire(now_s, under_way=self._loop.under_way())
        if len(self._awake) != len(self._loop.tracks):
            self._meet()
        for job in self._loop.step(now_s):
            self._start(job)
        status = self._loop.status()
        agent = {"version": __version__, "bootId": self._boot_id, "protocol": wire.PROTOCOL}
        agent |= {"kinds": self._known(), "rehearsing": self.setting.rehearse}
        self.report.update(status.document(agent), now_s)
        for conversation in self._conversations.values():
            conversation.publish()
        if not status.holding:
            self.log.write()
        self._notify.alive(now_s)
        if now_s >= self._reap_s:
            self._reap_s = now_s + REAP_S if self.validation.reap() else float("inf")
            give_back()

    def _wait_s(self) -> float | None:
        now_s = boot_clock_s()
        times = [self._loop.next_s(), self._notify.due_s, self._reap_s, self.safe.due_s]
        times += [endpoint.due_s for endpoint in self.endpoints if endpoint.due_s is not None]
        wait_s = max(0.0, min(times) - now_s)
        return None if wait_s == float("inf") else wait_s

    def _start(self, job: Job) -> None:
        if job.kind in self._loop.tracks:
            self._loop.tracks[job.kind].resource.secrets = self.safe.of(job.kind)
        self._background(job.run, partial(self._done, job))

    def _done(self, job: Job, result: Any, error: ReconcilerError | None) -> None:
        self._loop.answer(job, result, error, boot_clock_s())

    def _background(self, run: Callable[[], Any], answer: Answer) -> None:
        """Call `run` in a thread of its own, and `answer` with what came of it in this one."""

        def work() -> None:
            result, error = None, None
            try:
                result = run()
            except ReconcilerError as failure:
                error = failure
            except Exception as fault:
                # Late, and rarely: only a fault of ours needs it.
                from traceback import format_exc

                self.log.say(format_exc())
                error = DriverError(f"cannot go on: {type(fault).__name__}: {fault}")
            self._answers.append(lambda: answer(result, error))
            self._wake()

        try:
            threading.Thread(target=work, daemon=True).start()
        except RuntimeError as fault:  # what programs of this guest have started may leave no room
            error = DriverError(f"cannot go on: {fault}")
            self._answers.append(lambda: answer(None, error))
            self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # then it is ringing already
            os.write(self._ring, b"!")

    def _take(self, ready: set[int]) -> None:
        if self._bell in ready:
            os.read(self._bell, 4096)
        while self._answers:
            self._answers.popleft()()
        for fd in ready & self._watched.keys():
            kind, watch = self._watched[fd]
            try:
                wanted = watch.drain()
            except (ReconcilerError, OSError) as error:
                self.log.say(f"{kind}: cannot watch for changes any more: {error}")
                self._selector.unregister(fd)
                del self._watched[fd]
                wanted = True
            if wanted:
                self._loop.wake(kind)

    def _known(self) -> list[str]:
        """The kinds that this guest can do, as far as that was looked at."""
        return sorted((self._loop.tracks.keys() | self.setting.asleep) - self._loop.unusable.keys())

    def _meet(self) -> None:
        """Watch what each kind that is newly awake wants watched."""
        for kind, track in self._loop.tracks.items():
            if kind in self._awake:
                continue
            self._awake.add(kind)
            for driver in track.resource.drivers():
                try:
                    watches = driver.watches() if isinstance(driver, Watching) else ()
                except (ReconcilerError, OSError) as error:
                    self.log.say(f"{kind}: cannot watch for changes: {error}")
                    continue
                for watch in watches:
                    self._watched[watch.fileno()] = (kind, watch)
                    self._selector.register(watch.fileno(), selectors.EVENT_READ)

    def _poll(self, ready: set[int]) -> None:
        now_s = boot_clock_s()
        for endpoint in self.endpoints:
            due_s = endpoint.due_s
            if (due_s is not None and due_s <= now_s) or endpoint.fileno() in ready:
                for event in endpoint.poll(now_s):
                    self._hear(event)

    def _hear(self, event: object) -> None:
        match event:
            case Opened(connection):
                self._conversations[connection] = Conversation(connection, self)
                self._conversations[connection].greet()
            case Data(connection, data):
                self._conversations[connection].receive(data)
            case Closed(connection, _):
                self._conversations.pop(connection, None)
            case Trouble(message):
                self.log.say(message)
            case Drained(_):
                pass  # the next turn publishes

    # The end

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _end(self) -> None:
        """Thaw, remember, go; a thread that hangs in a driver is left to the kernel."""
        self._notify.stopping()
        for track in self._loop.tracks.values():
            for driver in track.resource.drivers():
                thaw = getattr(driver, "thaw", None)
                if thaw is not None and not self.setting.rehearse:
                    try:
                        thaw()
                    except ReconcilerError as error:
                        self.log.say(str(error))
        try:
            self._store.flush()
        except OSError as error:
            self.log.say(f"cannot save the state: {error.strerror}")
        for endpoint in self.endpoints:
            endpoint.close()
        self.log.write()
        os._exit(0)
