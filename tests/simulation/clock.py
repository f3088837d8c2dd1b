"""An event loop whose seconds take no time, and which knows no descriptor."""

import asyncio
from collections.abc import Callable
from typing import Any


class _Selector:
    """Never waits: whenever all is quiet, the clock goes on to the next thing to do."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits for something that nobody will do"
        self.now_s += max(0.0, timeout)
        return []

    def close(self) -> None:
        pass


class Clock(asyncio.BaseEventLoop):
    """Time is 0 at first. What asyncio's own loops do beyond this is about sockets and signals."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()

    def time(self) -> float:
        return self._selector.now_s

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        if seconds > 0:
            self.call_later(seconds, call)
        else:
            self.call_soon(call)

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
