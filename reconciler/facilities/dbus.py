"""The system bus: calls that end in time, and signals as wake-ups.

1. A driver has a `Bus` of its own: one that hangs, or is cut short, costs no other.
2. Calls and signals have a connection each, so no signal is lost in a call. Signals are
   asked for before the look that follows, so none is missed between the two.
3. A connection that broke is made anew before the next call. A call is never sent
   twice: when its answer is lost, `NoAnswer` says that it may have been carried out.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from reconciler.errors import DriverError

CALL_S = 4.0  # below the 5 s that a look may take; a daemon that is alive answers in milliseconds
_READ_BYTES = 16 * 1024  # a reply to GetAll has some 2 KiB
_AT_ONCE_MAX = 32  # calls without a reply; a bus lets one connection have at least 128
_ROUNDS_MAX = 64  # 1 MiB of signals at a time; more of them must not hold the loop
_DO_NOT_QUEUE, _OURS = 4, (1, 4)  # of RequestName: taken now, or ours already
_NOT_CARRIED_ON = ("NoReply", "TimedOut", "Timeout", "Disconnected")  # below org.freedesktop.DBus.Error


class BusError(DriverError):
    """The other side said no; `name` is the D-Bus error's."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class NoAnswer(DriverError):
    """The call was sent and no answer came: it may have been carried out."""


@dataclass(frozen=True)
class Peer:
    """One interface of one object of one program on the bus."""

    name: str
    path: str
    interface: str


@dataclass(frozen=True)
class Call:
    """A method of a peer, and what it is given."""

    peer: Peer
    method: str
    signature: str = ""
    body: tuple[Any, ...] = ()


BUS = Peer("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class Bus:
    """Calls from one thread, `cancel` and the watch from another.

    `matches` are match rules in the bus' own words, for what the watch wakes up.
    """

    def __init__(self, *matches: str) -> None:
        self._turn = threading.Lock()
        self._calls: _Connection | None = None
        self._signals = _Signals(matches)

    @staticmethod
    def there() -> bool:
        """Whether this guest has a system bus; nothing is asked of it."""
        address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
        return bool(address) or os.path.exists("/run/dbus/system_bus_socket")

    def call(
        self, peer: Peer, method: str, signature: str = "", *body: Any, timeout_s: float = CALL_S
    ) -> tuple[Any, ...]:
        """The body of the reply. Raises BusError, NoAnswer, or DriverError when nothing was sent."""
        # Late: jeepney takes 0.9 MiB and 20 ms, and a guest may have no bus.
        from jeepney import DBusAddress, new_method_call

        address = DBusAddress(peer.path, bus_name=peer.name, interface=peer.interface)
        message = new_method_call(address, method, signature or None, body)
        (reply,) = self._exchange([message], method, timeout_s)
        return _body(reply, method)

    def _exchange(self, messages: Sequence[Any], method: str, timeout_s: float) -> list[Any]:
        deadline_s = time.monotonic() + timeout_s
        with self._turn:
            self._signals.revive(deadline_s)
            connection = self._ready(deadline_s)
            try:
                return connection.ask_all(messages, deadline_s)
            except OSError as error:
                self._drop()
                why = str(error.strerror or error or "no answer in time")
                raise NoAnswer(f"cannot tell what became of {method}: {why}") from error

    def properties(self, peer: Peer, timeout_s: float = CALL_S) -> dict[str, Any]:
        """All properties of the interface, out of their variants."""
        everything = Peer(peer.name, peer.path, "org.freedesktop.DBus.Properties")
        (found,) = self.call(everything, "GetAll", "s", peer.interface, timeout_s=timeout_s)
        return {name: value for name, (_, value) in found.items()}

    def properties_of(self, peers: Sequence[Peer]) -> list[dict[str, Any] | None]:
        """As `properties`, of several objects that are asked at once; None for one that is gone."""
        interface = "org.freedesktop.DBus.Properties"
        calls = [Call(Peer(p.name, p.path, interface), "GetAll", "s", (p.interface,)) for p in peers]
        return [
            None if isinstance(body, BusError) else {name: value for name, (_, value) in body[0].items()}
            for body in self.call_all(calls)
        ]

    def call_all(self, calls: Sequence[Call]) -> list[tuple[Any, ...] | BusError]:
        """As `call`, made at once: the replies' bodies in the calls' order, or why the other side said no."""
        from jeepney import DBusAddress, new_method_call  # late, as above

        out: list[tuple[Any, ...] | BusError] = []
        for first in range(0, len(calls), _AT_ONCE_MAX):
            some = calls[first : first + _AT_ONCE_MAX]
            messages = [
                new_method_call(
                    DBusAddress(of.peer.path, bus_name=of.peer.name, interface=of.peer.interface),
                    of.method,
                    of.signature or None,
                    of.body,
                )
                for of in some
            ]
            replies = self._exchange(messages, some[0].method, CALL_S)
            out += [_body_or_error(reply, of.method) for reply, of in zip(replies, some, strict=True)]
        return out

    def emit(self, to: str, peer: Peer, signal: str, signature: str, *body: Any) -> None:
        """Tell one connection what `peer`, a name that is ours, has to say; nobody else hears it.

        Raises DriverError when it could not be sent. Where `to` has gone, nothing is said.
        """
        from jeepney import DBusAddress, HeaderFields, new_signal  # late, as above

        message = new_signal(DBusAddress(peer.path, interface=peer.interface), signal, signature, body)
        message.header.fields[HeaderFields.destination] = to
        deadline_s = time.monotonic() + CALL_S
        with self._turn:
            try:
                self._ready(deadline_s).tell(message, deadline_s)
            except OSError as error:
                self._drop()
                raise DriverError(f"cannot emit {signal}: {_why(error)}") from error

    def own(self, name: str) -> None:
        """Be reached under that name, until `close`. Raises DriverError where another is, or it must not."""
        (answer,) = self.call(BUS, "RequestName", "su", name, _DO_NOT_QUEUE)
        if answer not in _OURS:
            raise DriverError(f"cannot be {name} on the system bus: another program is")

    def watch(self) -> "_Signals":
        """A `Watch` that begins with the next call."""
        self._signals.wanted = True
        return self._signals

    def expect(self, *matches: str) -> None:
        """Wake up for these alone, from the next call on."""
        self._signals.expect(matches)

    def cancel(self) -> None:
        """Make the call under way fail now."""
        connection = self._calls
        if connection is not None:
            connection.cut()

    def close(self) -> None:
        with self._turn:
            self._drop()
            self._signals.close()

    def _ready(self, deadline_s: float) -> "_Connection":
        if self._calls is not None:
            try:
                self._calls.receive()
                return self._calls
            except OSError:
                self._drop()
        self._calls = _Connection()
        try:
            self._calls.open(deadline_s)
        except (OSError, ValueError) as error:
            self._drop()
            raise DriverError(f"cannot reach the system bus: {_why(error)}") from error
        return self._calls

    def _drop(self) -> None:
        if self._calls is not None:
            self._calls.close()
            self._calls = None


class _Signals:
    """A `Watch` whose descriptor stays the same over every new connection."""

    def __init__(self, matches: Iterable[str]) -> None:
        self.wanted = False
        self._matches = tuple(sorted(matches))
        self._swap = threading.Lock()
        self._connection: _Connection | None = None
        self._epoll: select.epoll | None = None

    def fileno(self) -> int:
        with self._swap:
            return self._poll().fileno()

    def drain(self) -> bool:
        """Take in what has come, without blocking; whether anything was said, or the bus is gone."""
        heard = self.hear()
        return heard is None or bool(heard)

    def hear(self) -> list[tuple[Any, ...]] | None:
        """The bodies of the signals that have come, without blocking; None when the bus is gone."""
        with self._swap:
            if self._connection is None:
                return []
            try:
                return [tuple(message.body) for message in self._connection.receive() if _is_signal(message)]
            except OSError:
                self._drop()
                return None  # the look that follows connects again, or says why it cannot

    def expect(self, matches: Iterable[str]) -> None:
        """Other matches need another connection, which the next call makes."""
        wanted = tuple(sorted(matches))
        with self._swap:
            if wanted != self._matches:
                self._matches = wanted
                self._drop()

    def revive(self, deadline_s: float) -> None:
        """Subscribe, unless that was done. Raises DriverError."""
        if not self.wanted or self._connection is not None:
            return
        from jeepney import DBusAddress, new_method_call  # late, as above

        connection = _Connection()
        try:
            connection.open(deadline_s)
            address = DBusAddress(BUS.path, bus_name=BUS.name, interface=BUS.interface)
            for match in self._matches:
                message = new_method_call(address, "AddMatch", "s", (match,))
                _body(connection.ask(message, deadline_s), "AddMatch")
        except (OSError, ValueError, DriverError) as error:
            connection.close()
            raise DriverError(f"cannot wait for signals: {_why(error)}") from error
        with self._swap:
            self._connection = connection
            self._poll().register(connection.fileno(), select.EPOLLIN)

    def close(self) -> None:
        with self._swap:
            self._drop()
            if self._epoll is not None:
                self._epoll.close()
                self._epoll = None

    def _poll(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
        return self._epoll

    def _drop(self) -> None:
        if self._connection is not None:
            self._poll().unregister(self._connection.fileno())
            self._connection.close()
            self._connection = None


class _Connection:
    """A socket and jeepney's parser. OSError is all that its methods raise once it is open."""

    def __init__(self) -> None:
        from jeepney import Parser  # late, as above

        self._socket = socket.socket(socket.AF_UNIX)
        self._parser = Parser()
        self._serial = 0

    def open(self, deadline_s: float) -> None:
        """Say who we are. Raises ValueError where the bus does not want us."""
        from jeepney import DBusAddress, new_method_call  # late, as above
        from jeepney.auth import BEGIN, Authenticator
        from jeepney.bus import get_bus

        try:
            path = get_bus("SYSTEM")
        except RuntimeError as error:  # an address that is not a unix socket's
            raise ValueError(str(error)) from error
        self._within(deadline_s).connect(path)
        conversation = Authenticator()
        for line in conversation:
            self._within(deadline_s).sendall(line)
            conversation.feed(self._read(deadline_s))
        self._within(deadline_s).sendall(BEGIN)
        address = DBusAddress(BUS.path, bus_name=BUS.name, interface=BUS.interface)
        self.ask(new_method_call(address, "Hello"), deadline_s)

    def ask(self, message: Any, deadline_s: float) -> Any:
        """Send a call and wait for its reply."""
        (reply,) = self.ask_all([message], deadline_s)
        return reply

    def ask_all(self, messages: Sequence[Any], deadline_s: float) -> list[Any]:
        """Send calls and wait for all replies, in the calls' order; whatever else comes is not for us."""
        replies: dict[int, Any] = {}
        for message in messages:
            self._serial += 1
            replies[self._serial] = None
            self._within(deadline_s).sendall(message.serialise(serial=self._serial))
        while True:
            while (reply := self._parser.get_next_message()) is not None:
                serial = reply.header.fields.get(5)  # REPLY_SERIAL
                if serial in replies:
                    replies[serial] = reply
            if all(reply is not None for reply in replies.values()):
                return list(replies.values())
            self._parser.add_data(self._read(deadline_s))

    def tell(self, message: Any, deadline_s: float) -> None:
        """Send what nobody replies to."""
        self._serial += 1
        self._within(deadline_s).sendall(message.serialise(serial=self._serial))

    def receive(self) -> list[Any]:
        """The messages that have come, without waiting for any."""
        messages: list[Any] = []
        self._socket.setblocking(False)
        for _ in range(_ROUNDS_MAX):
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                raise ConnectionResetError("the bus closed the connection")
            messages += self._parser.feed(data)
        return messages

    def fileno(self) -> int:
        return self._socket.fileno()

    def cut(self) -> None:
        with suppress(OSError):  # not connected yet, or closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _read(self, deadline_s: float) -> bytes:
        data = self._within(deadline_s).recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the bus closed the connection")
        return data

    def _within(self, deadline_s: float) -> socket.socket:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        self._socket.settimeout(left_s)
        return self._socket


def _is_signal(message: Any) -> bool:
    # The bus tells every client its own name in a signal of its own.
    fields = message.header.fields
    return message.header.message_type.value == 4 and fields.get(3) not in ("NameAcquired", "NameLost")


def _body(reply: Any, method: str) -> tuple[Any, ...]:
    if reply.header.message_type.value != 3:  # ERROR
        return tuple(reply.body)
    name = str(reply.header.fields.get(4, ""))
    text = str(reply.body[0]) if reply.body and isinstance(reply.body[0], str) else name
    prefix, _, last = name.rpartition(".")
    if prefix == "org.freedesktop.DBus.Error" and last in _NOT_CARRIED_ON:
        raise NoAnswer(f"cannot tell what became of {method}: {text}")
    raise BusError(f"cannot {method}: {text}", name)


def _body_or_error(reply: Any, method: str) -> tuple[Any, ...] | BusError:
    try:
        return _body(reply, method)
    except BusError as error:
        return error


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
