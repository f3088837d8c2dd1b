"""A device file that comes and goes: a named pipe stands for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.pump.device import Device
from reconciler.pump.line import Line
from reconciler.stream import Closed, Event, Opened, Trouble
from tests.transports.ends import descriptors, only, ready, received, settle


class Pipe(Device):
    """Reads what is written into it, by us as by others."""

    def open(self) -> int:
        return self.kernel.open(self.path)

    def opened(self, line: Line, now_s: float) -> list[Event]:
        return [Opened(line)]

    def turn(self, line: Line, mask: int, now_s: float) -> list[Event]:
        return line.turn() if mask or line.over else []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pipe"


@pytest.fixture
def endpoint(path: Path) -> Iterator[Pipe]:
    endpoint = Pipe("test:", str(path))
    yield endpoint
    endpoint.close()


def test_what_is_there_is_opened_at_once(endpoint: Pipe, path: Path) -> None:
    os.mkfifo(path)
    only(Opened, settle(endpoint))
    assert (endpoint.due_s, ready(endpoint)) == (None, False)


def test_what_appears_is_opened_at_once(endpoint: Pipe, path: Path) -> None:
    assert settle(endpoint) == [Trouble("cannot open test:: No such file or directory")]
    assert not ready(endpoint)
    os.mkfifo(path)
    assert ready(endpoint)
    only(Opened, settle(endpoint, now_s=0.1))


def test_its_neighbours_do_not_wake_it_up_for_long(endpoint: Pipe, path: Path) -> None:
    settle(endpoint)
    os.mkfifo(path.with_name("other"))
    assert settle(endpoint, now_s=0.1) == []
    assert (endpoint.due_s, ready(endpoint)) == (1.0, False)


def test_each_failure_waits_longer_and_talking_starts_anew(endpoint: Pipe, path: Path) -> None:
    settle(endpoint)
    settle(endpoint, now_s=1.0)
    assert endpoint.due_s == 3.0
    os.mkfifo(path)
    connection = only(Opened, settle(endpoint, now_s=3.0)).connection
    connection.close()
    settle(endpoint, now_s=3.0)
    assert endpoint.due_s == 7.0  # it was opened, but nothing came: that may go on for ever
    connection = only(Opened, settle(endpoint, now_s=7.0)).connection
    connection.send(b"to ourselves")
    assert received(settle(endpoint, now_s=7.0)) == b"to ourselves"
    connection.close()
    assert settle(endpoint, now_s=7.0) == [Closed(connection, "closed on this side")]
    assert endpoint.due_s == 8.0


def test_what_cannot_be_waited_for_is_told_and_given_back(endpoint: Pipe, path: Path) -> None:
    path.write_text("a plain file")
    before = descriptors()
    assert settle(endpoint) == [Trouble("cannot open test:: Operation not permitted")]
    assert descriptors() == before + 1  # the watch on its folder


def test_everything_is_given_back(path: Path) -> None:
    before = descriptors()
    for exists in (False, True):
        if exists:
            os.mkfifo(path)
        endpoint = Pipe("test:", str(path))
        settle(endpoint)
        endpoint.close()
    assert descriptors() == before
