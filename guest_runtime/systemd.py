"""What systemd wants to hear: ready, alive, stopping; see sd_notify(3)."""

import os
import socket
from contextlib import suppress


class Notify:
    """Says nothing where nobody asked: without NOTIFY_SOCKET each call does nothing."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = int(os.environ.pop("WATCHDOG_USEC", "0"))
        # Half of what is allowed, as sd_watchdog_enabled(3) advises.
        self._period_s = microseconds / 2e6 if microseconds else float("inf")
        self.due_s = float("inf")

    def ready(self, now_s: float) -> None:
        self._say("READY=1")
        self.due_s = now_s + self._period_s

    def alive(self, now_s: float) -> None:
        """Feed the watchdog when it is due. Only the loop calls this, so only a living loop feeds it."""
        if now_s >= self.due_s:
            self._say("WATCHDOG=1")
            self.due_s = now_s + self._period_s

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A full or absent socket must not stop the loop.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), address)
