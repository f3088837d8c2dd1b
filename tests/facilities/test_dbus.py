"""Calls and signals over a real dbus-daemon that hangs, dies and comes back."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from reconciler.errors import DriverError
from reconciler.facilities.dbus import BUS, Bus, BusError, Call, NoAnswer, Peer
from reconciler.resource import Watch
from tests.bus import PrivateBus, Refusal, Reply, program, readable

NAME = "org.example.Lamp"
LAMP = Peer(NAME, "/lamp", "org.example.Lamp")
MATCH = "type='signal',sender='org.example.Lamp'"


def lamp(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
    match method:
        case "Add":
            return "u", (body[0] + body[1],)
        case "GetAll":
            return "a{sv}", ({"Lit": ("b", True), "Names": ("as", ["a", "b"])},)
        case "Nothing":
            return "", ()
        case "Never":
            return None
        case _:
            raise Refusal("org.example.Broken", "it is broken")


@pytest.fixture
def bus(system_bus: PrivateBus) -> Iterator[Bus]:
    with closing(Bus(MATCH)) as bus:
        yield bus


def test_calls_and_properties(bus: Bus) -> None:
    with program(NAME, lamp):
        assert bus.call(LAMP, "Add", "uu", 2, 3) == (5,)
        assert bus.call(LAMP, "Nothing") == ()
        assert bus.properties(LAMP) == {"Lit": True, "Names": ["a", "b"]}


def test_many_are_asked_at_once_and_answer_in_their_order(bus: Bus) -> None:
    def lamps(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if path == "/lamp/7":
            raise Refusal("org.freedesktop.DBus.Error.UnknownObject", "it is gone")
        return "a{sv}", ({"Path": ("s", path)},)

    paths = [f"/lamp/{number}" for number in range(70)]  # more than are asked at once
    with program(NAME, lamps):
        found = bus.properties_of([Peer(NAME, path, NAME) for path in paths])
        assert bus.properties_of([]) == []
    assert found == [None if path == "/lamp/7" else {"Path": path} for path in paths]


def test_calls_at_once_have_an_answer_each(bus: Bus) -> None:
    calls = [Call(LAMP, "Explode"), *(Call(LAMP, "Add", "uu", (number, 1)) for number in range(40))]
    with program(NAME, lamp):
        error, *sums = bus.call_all(calls)
    assert isinstance(error, BusError)
    assert error.name == "org.example.Broken"
    assert sums == [(number + 1,) for number in range(40)]


def test_errors_have_their_name(bus: Bus) -> None:
    with program(NAME, lamp), pytest.raises(BusError, match="cannot Explode: it is broken") as caught:
        bus.call(LAMP, "Explode")
    assert caught.value.name == "org.example.Broken"
    with pytest.raises(BusError) as caught:
        bus.call(LAMP, "Add")
    assert caught.value.name == "org.freedesktop.DBus.Error.ServiceUnknown"


def test_a_call_ends_in_time_and_its_late_answer_harms_no_other(bus: Bus) -> None:
    late = threading.Event()

    def slow(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        if method == "Slow":
            late.wait(10)
            return "s", ("late",)
        return lamp(path, method, body)

    with program(NAME, slow):
        with pytest.raises(NoAnswer, match="what became of Slow"):
            bus.call(LAMP, "Slow", timeout_s=0.1)
        late.set()
        assert bus.call(LAMP, "Add", "uu", 2, 3) == (5,)


def test_a_program_that_dies_in_a_call_leaves_the_outcome_open(bus: Bus) -> None:
    dying = threading.Event()

    def mortal(path: str, method: str, body: tuple[Any, ...]) -> None:
        dying.set()

    with program(NAME, mortal) as fake:
        failures: list[Exception] = []

        def call() -> None:
            try:
                bus.call(LAMP, "Never", timeout_s=10)
            except DriverError as error:
                failures.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert dying.wait(10)
        fake._connection.sock.shutdown(2)
        thread.join(10)
    assert [type(failure) for failure in failures] == [NoAnswer]


def test_cancel_cuts_a_call_short_and_the_next_one_works(bus: Bus) -> None:
    asked = threading.Event()

    def deaf(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        asked.set()
        return lamp(path, method, body)

    with program(NAME, deaf):
        failures: list[Exception] = []

        def call() -> None:
            try:
                bus.call(LAMP, "Never", timeout_s=30)
            except DriverError as error:
                failures.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert asked.wait(10)
        began_s = time.monotonic()
        bus.cancel()
        thread.join(10)
        assert time.monotonic() - began_s < 5
        assert [type(failure) for failure in failures] == [NoAnswer]
        assert bus.call(LAMP, "Add", "uu", 2, 3) == (5,)


def test_a_bus_that_stands_still_costs_the_timeout_and_no_more(bus: Bus, system_bus: PrivateBus) -> None:
    os.kill(system_bus.pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        with pytest.raises(DriverError, match="cannot reach the system bus"):
            bus.call(LAMP, "Add", "uu", 2, 3, timeout_s=0.2)
        assert time.monotonic() - began_s < 5
    finally:
        os.kill(system_bus.pid, signal.SIGCONT)


def test_without_a_bus_nothing_was_sent(bus: Bus, system_bus: PrivateBus) -> None:
    system_bus.stop()
    with pytest.raises(DriverError, match="cannot reach the system bus: No such file") as caught:
        bus.call(LAMP, "Add", "uu", 2, 3)
    assert not isinstance(caught.value, NoAnswer)


def test_signals_wake(bus: Bus) -> None:
    watch: Watch = bus.watch()
    with program(NAME, lamp) as fake:
        bus.call(LAMP, "Nothing")
        assert not readable(watch.fileno(), 0) or not watch.drain()
        fake.emit("/lamp", NAME, "Lit", "b", True)
        assert readable(watch.fileno())
        assert watch.drain()
        assert not readable(watch.fileno(), 0)
        assert not watch.drain()


def test_signals_that_nobody_asked_for_stay_away(bus: Bus) -> None:
    watch = bus.watch()
    with program("org.example.Other", lamp) as other, program(NAME, lamp) as fake:
        bus.call(LAMP, "Nothing")
        watch.drain()
        other.emit("/lamp", "org.example.Other", "Lit", "b", True)
        fake.emit("/lamp", NAME, "Lit", "b", True)
        assert readable(watch.fileno())
        assert watch.drain()


def test_other_signals_may_be_expected_later(bus: Bus) -> None:
    watch = bus.watch()
    with program(NAME, lamp) as fake:
        bus.call(LAMP, "Nothing")
        bus.expect(f"{MATCH},path='/other'")
        assert watch.hear() == []
        bus.call(LAMP, "Nothing")
        fake.emit("/lamp", NAME, "Lit", "s", "no longer")
        fake.emit("/other", NAME, "Lit", "s", "from now on")
        assert readable(watch.fileno())
        assert watch.hear() == [("from now on",)]


def test_a_signal_during_a_call_is_kept(bus: Bus) -> None:
    emitting: list[Any] = []

    def chatty(path: str, method: str, body: tuple[Any, ...]) -> Reply | None:
        emitting[0].emit("/lamp", NAME, "Lit", "b", True)
        return "", ()

    watch = bus.watch()
    with program(NAME, chatty) as fake:
        emitting.append(fake)
        bus.call(LAMP, "Nothing")
        assert readable(watch.fileno())
        assert watch.drain()


def test_both_come_back_after_the_bus(bus: Bus, system_bus: PrivateBus) -> None:
    watch = bus.watch()
    with program(NAME, lamp):
        bus.call(LAMP, "Nothing")
        fd = watch.fileno()
        system_bus.stop()
    assert readable(fd)
    assert watch.drain(), "the bus is gone: worth a look"
    assert not watch.drain()
    with pytest.raises(DriverError, match="cannot wait for signals"):
        bus.call(LAMP, "Nothing")
    system_bus.start()
    with program(NAME, lamp) as fake:
        assert bus.call(LAMP, "Add", "uu", 2, 3) == (5,)
        assert watch.fileno() == fd
        fake.emit("/lamp", NAME, "Lit", "b", True)
        assert readable(fd)
        assert watch.drain()


def test_nobody_who_asks_for_no_signals_gets_any(bus: Bus) -> None:
    with program(NAME, lamp):
        bus.call(LAMP, "Nothing")
        assert bus._signals._connection is None


def test_a_bus_that_refuses_us_is_an_error_of_its_own(
    system_bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=localhost,port=1")
    with closing(Bus()) as bus, pytest.raises(DriverError, match="cannot reach the system bus"):
        bus.call(LAMP, "Nothing")


def test_a_name_is_ours_until_we_close(bus: Bus, system_bus: PrivateBus) -> None:
    with closing(Bus(MATCH)) as listener:
        signals = listener.watch()
        bus.own(NAME)
        bus.own(NAME)  # it is ours already
        listener.call(BUS, "GetId")  # subscribes
        (names,) = bus.call(BUS, "ListNames")
        for name in names:
            bus.emit(name, LAMP, "Lit", "s", "now")
        assert readable(signals.fileno())
        assert signals.hear() == [("now",)]
        with closing(Bus()) as other:
            with pytest.raises(DriverError, match=r"cannot be org.example.Lamp .* another program is"):
                other.own(NAME)
            bus.close()
            while NAME in other.call(BUS, "ListNames")[0]:
                pass  # the bus hears of it a moment later
            other.own(NAME)


def test_nothing_is_emitted_without_a_bus(bus: Bus, system_bus: PrivateBus) -> None:
    system_bus.stop()
    with pytest.raises(DriverError, match="cannot reach the system bus"):
        bus.emit(":1.1", LAMP, "Lit", "")


def test_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
    assert Bus.there()
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS")
    assert Bus.there() is os.path.exists("/run/dbus/system_bus_socket")
