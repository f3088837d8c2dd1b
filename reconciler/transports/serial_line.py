"""A real serial line through pyserial: 8N1, raw, without flow control, ours alone.

A line knows no connection: it is open from the moment the device is, whether or not
anybody listens, and one host that follows another shows by its hello alone.
"""

import errno
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.errors import InvalidSpec, Unsupported
from reconciler.pump.device import Device
from reconciler.pump.line import Line
from reconciler.stream import Endpoint, Event, Opened

if TYPE_CHECKING:
    from serial import Serial

BAUD = 115200  # what consoles and emulators take without asking
_BAUD_MAX = 4_000_000  # the highest of termios(3)

_REST = re.compile(r"(?P<device>/[^,]+)(?:,(?P<baud>[1-9]\d{0,6}))?\Z")


def endpoint(rest: str) -> Endpoint:
    """From what follows `serial:`: DEV or DEV,BAUD."""
    match = _REST.match(rest)
    if match is None or int(match["baud"] or BAUD) > _BAUD_MAX:
        raise InvalidSpec(f"serial: is followed by a device and perhaps a speed, as /dev/ttyS1,{BAUD}")
    return SerialLine(match["device"], int(match["baud"] or BAUD))


class SerialLine(Device):
    """One line, which is one connection for as long as the device is there."""

    def __init__(self, device: str, baud: int = BAUD) -> None:
        super().__init__(f"serial:{device},{baud}", device)
        self._baud = baud
        self._serial: Serial | None = None

    def open(self) -> int:
        # Late: most guests have no serial line, and the agent is to stay small.
        import termios

        try:
            from serial import Serial, SerialException
        except ImportError:
            raise Unsupported("pyserial is not installed here") from None
        try:
            line = Serial(self.path, self._baud, timeout=0, write_timeout=0, exclusive=True)
        except SerialException as error:
            if error.errno in (errno.EAGAIN, errno.EBUSY):  # the first from flock(2), the second from open(2)
                raise OSError(errno.EBUSY, "") from error
            raise Unsupported(os.strerror(error.errno) if error.errno else str(error)) from error
        except ValueError as error:
            raise Unsupported(f"no speed of {self._baud} baud") from error
        # pyserial sets VMIN to 0, where a read without data looks like the end of the line.
        try:
            attributes = termios.tcgetattr(line.fileno())
            attributes[6][termios.VMIN] = 1
            termios.tcsetattr(line.fileno(), termios.TCSANOW, attributes)
        except termios.error as error:  # which is no OSError: unplugged just now
            line.close()
            raise OSError(*error.args) from error
        self._serial = line
        return line.fileno()

    def opened(self, line: Line, now_s: float) -> list[Event]:
        return [Opened(line), *line.turn()]

    def turn(self, line: Line, mask: int, now_s: float) -> list[Event]:
        return line.turn() if mask or line.over else []

    def give_back(self, fd: int) -> None:
        import termios

        assert self._serial is not None
        # Output that nobody takes would hold close(2) for up to 30 s: closing_wait in setserial(8).
        with suppress(termios.error):
            self._serial.reset_output_buffer()
        self._serial.close()
        self._serial = None
