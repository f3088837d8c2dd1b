"""An asyncio client for one guest, which outlives every connection to it.

    async with connect("unix:/run/guests/web-01.sock") as guest:
        applied = await guest.apply({"hostname": {"name": "web-01"}})
        status = await guest.wait(converged(applied.generation), timeout_s=60)  # from `following`

1. A dropped channel costs nothing: the next connection says hello, goes on with the status where this one
   stopped, and sends again what has no answer. Every method may be sent twice (specs/channel.md, section 4).
2. Every wait has an end. What a guest sends is bounded and checked before use.
3. Whatever may have been lost, said by the guest or seen here, ends in the same turn: hello, subscribe.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from random import uniform

from reconciler.errors import Busy, Conflict, ReconcilerError, RemoteProtocolError
from reconciler.host.channels import Opener, opener
from reconciler.host.connection import Connection, object_of
from reconciler.host.failures import TimedOut, Unreachable
from reconciler.host.hello import Hello, count, parse_hello, text
from reconciler.host.mirror import Lost, Mirror
from reconciler.host.pieces import apply_in_pieces
from reconciler.host.secrets import Sealed
from reconciler.host.timing import asked_for, offer_time, wanted
from reconciler.resource import Json
from reconciler.spec import Normal, canonical, digest

CONNECT_S = 10.0  # a guest that is up answers in milliseconds
ANSWER_S = 60.0  # a big spec over a slow serial line
BACKOFF_S = (0.05, 5.0)  # first and last; a guest that restarts is back within a second
RESYNC_S = 30.0  # a status or its ack lost without a trace is missed no longer than this
WAITING_RESYNC_S = 5.0  # the same while somebody waits for it
FRESH_S = 1.0  # how long what hello said of the spec is believed without asking again
CONFLICTS_MAX = 3
BUSY_S = 0.2

Status = dict[str, Json]


@dataclass(frozen=True)
class Applied:
    """What became of a spec; `new` is False where the guest had it already."""

    generation: int
    digest: str
    new: bool


@dataclass(frozen=True)
class InForce:
    """The spec that the guest follows; generation 0 and no digest where it has none."""

    generation: int
    digest: str
    normal: Normal


class Guest:
    """One guest. Use `connect`, which runs it."""

    def __init__(self, open_stream: Opener, *, prepare: bool = False) -> None:
        self.mirror = Mirror()
        self.trouble: str = ""  # why there is no connection, in words
        self._open = open_stream
        self._prepare = prepare
        self._hello: Hello | None = None
        self._hello_s = 0.0
        self._connection: Connection | None = None
        self._subscribed = False
        self._waiting = 0
        self._failed: Exception | None = None
        self._again = asyncio.Event()  # something may have been lost: hello, subscribe
        self._turned = asyncio.Event()  # set and replaced whenever anything here changes

    @property
    def hello(self) -> Hello:
        """What the guest last said of itself."""
        assert self._hello is not None, "connect waits for it"
        return self._hello

    async def call(self, method: str, params: Mapping[str, Json], *, timeout_s: float = ANSWER_S) -> Json:
        """The result of one request, sent again over as many connections as it takes.

        Raises what the guest's error says, Unreachable or TimedOut.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    connection = await self._connected()
                    try:
                        return await connection.call(method, params)
                    except Unreachable as error:
                        self.trouble = str(error)
                        await self._gone(connection)
                    except Busy:
                        await asyncio.sleep(BUSY_S)
        except TimeoutError:
            if self._connection is None:
                raise Unreachable(f"cannot reach the guest: {self.trouble}") from None
            raise TimedOut(f"cannot {method}: the guest gave no answer in {timeout_s:g} s") from None

    async def spec(self) -> InForce:
        result = object_of(await self.call("spec", {}), "spec")
        normal = object_of(result.get("spec"), "spec")
        for kind, value in normal.items():
            object_of(value, f"spec: {kind}"[:80])
        return InForce(*self._has(count(result, "generation"), text(result, "digest")), normal)

    async def status(self, *, timeout_s: float = ANSWER_S) -> Status:
        """The whole status, asked for now."""
        result = object_of(await self.call("status", {}, timeout_s=timeout_s), "status")
        return object_of(result.get("status"), "status")

    async def plan(self, normal: Normal) -> dict[str, Json]:
        """What `apply` would do now: {kind: {ready, reason, message, changes, actions}}."""
        result = object_of(await self.call("plan", {"spec": normal}), "plan")
        return {
            kind: object_of(plan, "plan") for kind, plan in object_of(result.get("kinds"), "plan").items()
        }

    async def apply(
        self,
        normal: Normal,
        *,
        guest: str = "",
        generation: int = 0,
        again: bool = False,
        secrets: Callable[[], Sealed] = dict,
    ) -> Applied:
        """Put a spec in force, under the next generation, unless it is so already.

        With `generation`, under that one, and Conflict is raised where it is taken. Without,
        who else writes meanwhile is overtaken, CONFLICTS_MAX times. `again`: under the next one also
        where it is in force. `guest` is the name that the guest has to have. `secrets` is called
        as the spec is sent, if it is.
        """
        if generation:
            return await self._put(generation, normal, guest, secrets)
        wanted = digest(normal)
        have = await self._in_force()
        for tries_left in reversed(range(CONFLICTS_MAX)):
            if have[1] == wanted and have[0] and not again:
                return Applied(*have, new=False)
            try:
                return await self._put(have[0] + 1, normal, guest, secrets)
            except Conflict:
                in_force = await self.spec()
                if not tries_left or (in_force.generation, in_force.digest) == have:
                    raise  # it is not about the numbers
                have = in_force.generation, in_force.digest
        raise AssertionError("the last try returns or raises")

    def lost(self, generation: int) -> bool:
        """Whether the guest has begun anew without what was applied: it was killed before it could save."""
        return self.hello.generation < generation

    async def renew(self, generation: int, lease_s: float, *, timeout_s: float) -> tuple[int, float]:
        """Begin the lease of a freeze anew: its epoch, and the seconds it has left."""
        params = {"kind": "filesystems", "generation": generation, "lease": lease_s}
        result = object_of(await self.call("renew", params, timeout_s=timeout_s), "renew")
        remaining = result.get("remaining")
        if not isinstance(remaining, int | float):
            raise RemoteProtocolError("the answer to renew has no remaining seconds")
        return count(result, "epoch"), float(remaining)

    async def ping(self) -> float:
        """Seconds until an echo came back."""
        before_s = asyncio.get_running_loop().time()
        await self.call("ping", {})
        return asyncio.get_running_loop().time() - before_s

    async def events(self, since: int = 0) -> tuple[list[dict[str, Json]], int, int]:
        """Events from `since` on, what to give as `since` next time, and how many are lost between."""
        result = object_of(await self.call("events", {"since": since} if since else {}), "events")
        events = result.get("events")
        if not isinstance(events, list):
            raise RemoteProtocolError("the answer to events has no list of them")
        return [object_of(e, "events") for e in events], count(result, "next"), count(result, "lost")

    async def new_events(self, since: int = 0) -> AsyncGenerator[tuple[list[dict[str, Json]], int], None]:
        """Events as they happen, with how many were lost before them. Begins anew with each boot."""
        boot_id = self.hello.boot_id
        self._subscribe()
        while True:
            turned = self._turned
            events, upto, lost = await self.events(since)
            if self.hello.boot_id != boot_id:  # what was asked for was of the boot before
                boot_id, since = self.hello.boot_id, 0
                continue
            since = upto
            if events or lost:
                yield events, lost
            await self._next(turned)

    async def wait(self, met: Callable[[Status], bool], *, timeout_s: float) -> Status:
        """The first status for which `met` says so, asked at every turn. Raises TimedOut."""
        self._subscribe()
        self._waiting += 1
        self._again.set()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    turned = self._turned
                    if self.mirror.boot_id and met(self.mirror.status):
                        return self.mirror.status
                    await self._next(turned)
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        raise TimedOut(f"not so within {timeout_s:g} s")

    async def changes(self) -> AsyncGenerator[Status, None]:
        """The status now and after each change; a slow reader sees fewer steps, never an older end."""
        self._subscribe()
        seen: tuple[str, int] | None = None
        while True:
            turned, mirror = self._turned, self.mirror
            if mirror.boot_id and (mirror.boot_id, mirror.revision) != seen:
                seen = mirror.boot_id, mirror.revision
                yield mirror.status
            else:
                await self._next(turned)

    async def absent(self, seconds: float) -> None:
        """Return once nobody has been reached for so long."""
        while True:
            turned = self._turned
            if self._connection is None:
                try:
                    async with asyncio.timeout(seconds):
                        await self._connected()
                except TimeoutError:
                    return
            else:
                await self._next(turned)

    async def run(self) -> None:
        """Keep a connection, for ever. What ends it is raised from every call too."""
        try:
            await self._keep_connected()
        except Exception as error:
            self._failed = error
            self._turn()
            raise

    async def _keep_connected(self) -> None:
        delay_s = BACKOFF_S[0]
        while True:
            try:
                stream = await self._open()
            except OSError as error:
                self.trouble = error.strerror or str(error) or type(error).__name__
            else:
                if await self._converse(Connection(stream, self._told, self._again.set)):
                    delay_s = BACKOFF_S[0]
            self._turn()
            # Jitter: many hosts that lost one hypervisor's guests must not come back at once.
            await asyncio.sleep(uniform(delay_s / 2, delay_s))
            delay_s = min(2 * delay_s, BACKOFF_S[1])

    async def _converse(self, connection: Connection) -> bool:
        """One connection from hello to its end; whether it was good for anything."""
        reading = asyncio.create_task(connection.run())
        turning = asyncio.create_task(self._keep_in_step(connection))
        try:
            await asyncio.wait({reading, turning}, return_when=asyncio.FIRST_COMPLETED)
            return self._connection is not None
        finally:
            self._connection = None
            connection.close()
            for task in (reading, turning):
                task.cancel()
            ended = await asyncio.gather(reading, turning, return_exceptions=True)
            for error in ended:
                if isinstance(error, ReconcilerError):
                    self.trouble = str(error)
                elif isinstance(error, Exception):
                    raise error
            if self._hello is None and not self.trouble:
                self.trouble = "the channel was closed by its other end"

    async def _keep_in_step(self, connection: Connection) -> None:
        self.trouble = "the channel is open and no guest answers"
        while True:
            self._again.clear()
            hello = parse_hello(await connection.hello(prepare=self._prepare))
            self._hello, self._hello_s = hello, asyncio.get_running_loop().time()
            connection.limit(hello.limits.message_bytes)
            if self._subscribed:
                result = await connection.call("subscribe", self.mirror.have(hello.boot_id))
                if self.mirror.begin(hello.boot_id, result) and self.mirror.boot_id != hello.boot_id:
                    self._again.set()  # what it said of itself is from before its reboot
                connection.notify("ack", {"revision": self.mirror.revision})
            self._connection = connection
            self._turn()
            if wanted(hello.kinds):
                await offer_time(connection.call)
            with suppress(TimeoutError):
                period_s = WAITING_RESYNC_S if self._waiting else RESYNC_S
                await asyncio.wait_for(self._again.wait(), period_s)

    def _told(self, method: str, params: Mapping[str, Json]) -> None:
        if method == "hello":
            self._again.set()  # the agent has begun anew, and knows nothing of us
        elif method == "event":
            self._turn()
        elif method == "status" and self._connection and self.mirror.boot_id != self.hello.boot_id:
            # Of another boot, or read before the answer that it builds upon was taken in.
            self._again.set()
        elif method == "status" and self._connection:
            try:
                self.mirror.take(params)
            except (Lost, RemoteProtocolError):
                self.mirror.forget()
                self._again.set()
            else:
                with suppress(Unreachable):
                    self._connection.notify("ack", {"revision": self.mirror.revision})
            self._turn()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()

    def _subscribe(self) -> None:
        if not self._subscribed:
            self._subscribed = True
            self._again.set()

    async def _connected(self) -> Connection:
        while self._connection is None:
            await self._next(self._turned)
        return self._connection

    async def _gone(self, connection: Connection) -> None:
        while self._connection is connection:
            await self._next(self._turned)

    async def _next(self, turned: asyncio.Event) -> None:
        """Wait until something changes; `turned` is from before the caller looked."""
        if self._failed is not None:
            raise self._failed
        await turned.wait()

    async def _in_force(self) -> tuple[int, str]:
        """The generation and digest of the guest, with one question less just after hello."""
        if asyncio.get_running_loop().time() - self._hello_s < FRESH_S:
            return self.hello.generation, self.hello.digest
        in_force = await self.spec()
        return in_force.generation, in_force.digest

    def _has(self, generation: int, name: str) -> tuple[int, str]:
        """Correct what the last hello said of the document, its generation and digest."""
        self._hello = replace(self.hello, generation=generation, digest=name)
        return generation, name

    async def _put(
        self, generation: int, normal: Normal, guest: str, secrets: Callable[[], Sealed]
    ) -> Applied:
        body, sealed = canonical(normal), secrets()
        params: dict[str, Json] = {"generation": generation} | ({"guest": guest} if guest else {})
        params |= {"secrets": sealed} if sealed else {}
        beside = sum(len(data) for of_kind in sealed.values() for data in of_kind.values())
        # Half: the rest of the message, and whatever the agent's JSON writes longer than ours.
        if len(body) + beside <= self.hello.limits.message_bytes // 2:
            result = await self.call("apply", params | {"spec": normal})
        else:
            result = await apply_in_pieces(self.call, self.hello.limits, params, body, digest(normal))
        result = object_of(result, "apply")
        in_force = self._has(count(result, "generation"), text(result, "digest"))
        if asked_for(normal):
            await offer_time(self.call)
        return Applied(*in_force, result.get("accepted") == "new")


@asynccontextmanager
async def connect(
    channel: str | Opener, *, timeout_s: float = CONNECT_S, prepare: bool = False
) -> AsyncIterator[Guest]:
    """A guest that has said hello. Raises Unreachable, with the reason, and Misused.

    `prepare`: a document is about to follow, and the guest may get ready for it.
    """
    guest = Guest(opener(channel) if isinstance(channel, str) else channel, prepare=prepare)
    running = asyncio.create_task(guest.run())
    met = asyncio.create_task(guest._connected())
    try:
        await asyncio.wait({met}, timeout=timeout_s)
        if not met.done():
            raise Unreachable(f"cannot reach the guest: {guest.trouble or 'no answer'}")
        met.result()
        yield guest
    finally:
        for task in (met, running):
            task.cancel()
        await asyncio.gather(met, running, return_exceptions=True)
