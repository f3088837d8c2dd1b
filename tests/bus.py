"""A system bus of our own: a real dbus-daemon, and programs on it that are made up."""

import os
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jeepney import DBusAddress as Address
from jeepney import HeaderFields, Message, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

START_S = 10.0  # a busy machine's start of a process

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>
"""


class PrivateBus:
    """`dbus-daemon` on a socket in a folder; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._socket, self._config = folder / "bus", folder / "bus.conf"
        self._config.write_text(_CONFIG.format(path=self._socket))
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix:path={self._socket}"

    def start(self) -> None:
        command = ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile"]
        self._process = subprocess.Popen([*command, "--print-address"], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], START_S)[0], "no bus"
        assert self._process.stdout.readline().startswith(b"unix:")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None
            self._socket.unlink(missing_ok=True)


Reply = tuple[str, tuple[Any, ...]]  # signature and body


class Refusal(Exception):
    """A D-Bus error: its name and its text."""


class FakeProgram:
    """Owns a name and answers calls with `answer(path, method, body)`.

    The answer is a `Reply`, None to leave the caller without one, or a raised Refusal.
    """

    def __init__(self, name: str, answer: Callable[[str, str, tuple[Any, ...]], Reply | None]) -> None:
        self._name, self._answer = name, answer
        self._connection: DBusConnection = open_dbus_connection("SYSTEM")
        self._sending = threading.Lock()
        self._connection.send_and_get_reply(message_bus.RequestName(name), timeout=START_S)
        self._end, self._ended = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name=name)
        self._thread.start()

    def emit(self, path: str, interface: str, member: str, signature: str, *body: Any) -> None:
        address = Address(path, bus_name=self._name, interface=interface)
        with self._sending:
            self._connection.send(new_signal(address, member, signature, body))

    def close(self) -> None:
        os.close(self._ended)
        self._thread.join(START_S)
        self._connection.close()
        os.close(self._end)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._connection.sock, self._end], [], [])
            if self._end in ready:
                return
            try:
                call = self._connection.receive(timeout=0)
                while call is not None:
                    self._take(call)
                    call = self._connection.parser.get_next_message()
            except TimeoutError:
                continue
            except OSError:
                return  # the bus was stopped

    def _take(self, call: Message) -> None:
        if call.header.message_type is not MessageType.method_call:
            return
        fields = call.header.fields
        try:
            reply = self._answer(fields[HeaderFields.path], fields[HeaderFields.member], call.body)
        except Refusal as refusal:
            name, text = refusal.args
            answer = new_error(call, name, "s", (text,))
        else:
            if reply is None:
                return
            answer = new_method_return(call, reply[0] or None, reply[1])
        with self._sending:
            self._connection.send(answer)


@contextmanager
def program(name: str, answer: Callable[[str, str, tuple[Any, ...]], Reply | None]) -> Iterator[FakeProgram]:
    fake = FakeProgram(name, answer)
    try:
        yield fake
    finally:
        fake.close()


def readable(fd: int, timeout_s: float = START_S) -> bool:
    """Whether a watch's descriptor turns readable in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
