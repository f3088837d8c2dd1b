"""One host's session: its requests, and the status and events that it follows.

Rules: a `hello` begins the session anew. At most one status is on its way; what
changes meanwhile is merged into the next. Nothing waits for the host: an answer
without room is dropped, and the host asks again. Of what was read at once no more is
done than a host may have under way, so no flood of requests holds up the others.
"""

from typing import Protocol

from guest_runtime.report import Report, fitting, json_bytes
from reconciler.errors import Busy, ReconcilerError, Unsupported
from reconciler.journal import Event
from reconciler.protocols import channel as wire
from reconciler.protocols.calls import OUTSTANDING_MAX
from reconciler.resource import Json
from reconciler.status import merge_patch
from reconciler.stream import Connection
from reconciler.track import Answer

ENVELOPE_BYTES_MAX = 1024  # what stands around a status


class Guest(Protocol):
    """What a conversation asks of the daemon."""

    report: Report

    def hello(self) -> Json: ...
    def events(self, since: int) -> tuple[Event, ...]: ...
    def last_event(self) -> int: ...
    def boot_id(self) -> str: ...
    def prepare(self) -> None: ...

    def call(self, method: str, params: Json, answer: Answer) -> bool:
        """Carry out a request that is not about the session; False for an unknown method."""


class Conversation:
    """Owned by the daemon's loop; one for each connection."""

    def __init__(self, connection: Connection, guest: Guest) -> None:
        self._connection = connection
        self._guest = guest
        self._channel = wire.Channel.of_guest()
        self._outstanding = 0
        self._at_once = 0  # requests in what is being read just now
        self._following = False
        self._acked: tuple[int, Json] | None = None
        self._sent: tuple[int, Json] | None = None
        self._asked: tuple[int, Json] | None = None  # was given for the asking, and may be acknowledged
        self._told = 0  # the last event that was sent

    def greet(self) -> None:
        self._send(wire.Notification("hello", self._guest.hello()))

    def receive(self, data: bytes) -> None:
        told = False
        self._at_once = 0
        for event in self._channel.receive_data(data):
            if isinstance(event, wire.Request):
                self._request(event)
            elif isinstance(event, wire.Notification):
                if event.method == "ack":
                    self._ack(event.params.get("revision"))
            elif isinstance(event, wire.Broken) and (event.id is not None or not told):
                told = told or event.id is None  # one for all that cannot be told apart
                self._send(event.answer)

    def publish(self) -> None:
        """Send what the host does not know yet, as far as it can be sent now."""
        if not self._following or self._connection.pending_bytes:
            return
        for event in self._guest.events(self._told):
            if not self._send(wire.Notification("event", event.document())):
                return
            self._told = event.seq
        report = self._guest.report
        if self._sent is not None or (self._acked is not None and self._acked[0] == report.revision):
            return
        status = self._fitting()
        params: dict[str, Json] = {"revision": report.revision}
        if self._acked is None:
            params["status"] = status
        else:
            base, known = self._acked
            patch = merge_patch(known, status)
            # With many names that went it may be longer than the host takes; the status never is.
            fits = json_bytes(patch) <= self._room()
            params |= {"base": base, "patch": patch} if fits else {"status": status}
        if self._send(wire.Notification("status", params)):
            self._sent = (report.revision, status)

    def _fitting(self) -> Json:
        """The status, or what the host takes of it; the same for one status and one host each time."""
        report = self._guest.report
        status = fitting(report.document, self._room())
        if status is not report.document:
            report.shortened.add(report.revision)
        return status

    def _room(self) -> int:
        return self._channel.send_bytes_max - ENVELOPE_BYTES_MAX

    def _ack(self, revision: Json) -> None:
        for known in (self._sent, self._asked):
            if known is not None and known[0] == revision:
                self._acked, self._sent, self._asked = known, None, None
                return

    def _request(self, request: wire.Request) -> None:
        self._at_once += 1
        # A new host's hello may stand behind all that the one before it left on a line.
        if request.method == "hello" and self._at_once <= 2 * OUTSTANDING_MAX:
            self._begin(request)
        elif max(self._outstanding, self._at_once - 1) >= OUTSTANDING_MAX:
            self._reply(
                request.id, None, Busy(f"cannot do {request.method}: {OUTSTANDING_MAX} are under way")
            )
        elif request.method == "subscribe":
            self._reply(request.id, self._subscribe(request.params.get("have")), None)
        elif request.method == "status":
            report = self._guest.report
            self._asked = (report.revision, self._fitting())
            self._reply(request.id, {"revision": report.revision, "status": self._asked[1]}, None)
        else:
            self._outstanding += 1

            def answer(result: Json, error: ReconcilerError | None) -> None:
                # Also after another hello: a host that did not ask this knows no such id.
                self._outstanding -= 1
                self._reply(request.id, result, error)

            if not self._guest.call(request.method, request.params, answer):
                self._outstanding -= 1
                words = f"cannot do {request.method[:64]!r}: no such method"
                self._send(wire.ErrorResponse(request.id, wire.NO_METHOD, words))

    def _begin(self, request: wire.Request) -> None:
        params = request.params
        self._following = False
        self._acked = self._sent = self._asked = None
        limits = params.get("limits")
        limit = limits.get("messageBytes") if isinstance(limits, dict) else None
        limit = limit if type(limit) is int else wire.TO_HOST_BYTES_MAX  # not that of the host before
        self._channel.send_bytes_max = max(4096, min(limit, wire.TO_HOST_BYTES_MAX))
        protocols = params.get("protocols", [wire.PROTOCOL])
        if not isinstance(protocols, list) or wire.PROTOCOL not in protocols:
            words = f"cannot speak with this host: the guest's protocol is {wire.PROTOCOL}"
            self._reply(request.id, None, Unsupported(words))
            return
        if params.get("prepare") is True:
            self._guest.prepare()
        self._reply(request.id, self._guest.hello(), None)

    def _subscribe(self, have: Json) -> Json:
        report = self._guest.report
        self._following = True
        self._told = self._guest.last_event()
        self._sent = None
        known = None
        if isinstance(have, dict) and have.get("bootId") == self._guest.boot_id():
            known = report.at(have.get("revision"))
        # What it has of one that was shortened is not known: it may take longer messages now.
        if known is not None and have["revision"] not in report.shortened:
            self._acked = (have["revision"], known)
            return {"revision": have["revision"]}
        self._acked = (report.revision, self._fitting())
        return {"revision": report.revision, "status": self._acked[1]}

    def _reply(self, id: wire.Id, result: Json, error: ReconcilerError | None) -> None:
        if error is None:
            self._send(wire.Response(id, result))
        else:
            self._send(wire.refusal(id, error, getattr(error, "data", None)))

    def _send(self, message: wire.Message) -> bool:
        try:
            data = self._channel.send(message)
        except wire.TooLong as error:
            if isinstance(message, wire.ErrorResponse):
                # Shorter, but with its code: nobody waits for an answer that never comes.
                data = self._channel.send(wire.ErrorResponse(message.id, message.code, message.message[:500]))
            elif isinstance(message, wire.Response):
                data = self._channel.send(wire.refusal(message.id, Unsupported(str(error))))
            else:
                # An event is left to `events`; a status was made to fit.
                return isinstance(message, wire.Notification) and message.method == "event"
        return self._connection.send(data)
