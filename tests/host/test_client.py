"""The client, over a line that is cut, garbled, stale or dumb at any place."""

import asyncio
from typing import Any

import pytest

from reconciler.host.client import connect
from reconciler.host.failures import TimedOut, Unreachable
from reconciler.host.following import converged
from tests.host.fake_guest import FakeGuest, Refusal, frame
from tests.host.wire import Wire, run

SPEC = {"hostname": {"name": "web-02"}}
OTHER = {"hostname": {"name": "db-01"}}


async def _converge(wire: Wire, *, wait_s: float = 300.0) -> dict[str, Any]:
    async with connect(wire.open, timeout_s=wait_s) as guest:
        applied = await guest.apply(SPEC)
        return await guest.wait(converged(applied.generation), timeout_s=wait_s)


def _length(to_host: bool) -> int:
    """How many bytes an undisturbed conversation has."""
    wire = Wire(FakeGuest())
    run(_converge(wire))
    return wire.streams[0].to_host if to_host else wire.streams[0].to_guest


@pytest.mark.parametrize("to_host", [True, False], ids=["to-host", "to-guest"])
def test_a_cut_at_any_byte_costs_nothing(to_host: bool) -> None:
    for cut in range(_length(to_host) + 1):
        wire = Wire(FakeGuest())
        wire.cuts = [(cut, None) if to_host else (None, cut)]
        status = run(_converge(wire))
        assert status["observedGeneration"] == wire.guest.generation == 1, cut
        assert wire.guest.spec == SPEC, cut


def test_a_change_right_behind_the_answer_to_subscribe_is_not_lost() -> None:
    async def work() -> None:
        guest = FakeGuest()
        guest.adopt(1, SPEC)
        guest.reasons["hostname"] = "Drifted"

        def mend() -> None:
            guest.reasons.clear()
            guest.turn()

        loop = asyncio.get_running_loop()

        def change(method: str) -> None:
            if method == "subscribe" and guest.reasons:
                loop.call_soon(mend)

        guest.on_call = change
        async with connect(Wire(guest).open) as client:
            before_s = loop.time()
            async for status in client.changes():
                if status["phase"] == "Converged":
                    break
            assert loop.time() - before_s < 1

    run(work())


def test_cut_after_cut_the_end_is_the_same() -> None:
    wire = Wire(FakeGuest())
    wire.cuts = [(cut, None) for cut in range(0, _length(to_host=True), 37)]
    assert run(_converge(wire, wait_s=3000))["observedGeneration"] == 1
    assert wire.opened > 3


@pytest.mark.parametrize("lost", range(1, 8))
@pytest.mark.parametrize(
    "garble",
    [
        pytest.param(lambda data: b"", id="lost"),
        pytest.param(lambda data: data + data, id="doubled"),
        pytest.param(lambda data: data[: len(data) // 2], id="torn"),
        pytest.param(lambda data: b"\xff" * len(data), id="noise"),
        pytest.param(lambda data: data.replace(b"{", b"[", 1), id="not-json"),
    ],
)
def test_a_message_that_does_not_arrive_whole(lost: int, garble: Any) -> None:
    wire = Wire(FakeGuest())
    wire.alter = lambda number, data: garble(data) if number == lost else data
    assert run(_converge(wire))["observedGeneration"] == 1
    assert wire.guest.generation == 1


def test_what_a_former_host_left_on_the_line_is_nothing_to_us() -> None:
    wire = Wire(FakeGuest())
    stale = {"revision": 99, "status": {"observedGeneration": 99, "phase": "Converged"}}
    answers = b"".join(frame({"id": number, "result": {"generation": 7}}) for number in range(9))
    wire.before = b'half a message"}\n' + answers + frame({"method": "status", "params": stale}) + b'\x1e{"js'
    assert run(_converge(wire))["observedGeneration"] == 1


def test_the_status_follows_through_drops_and_reboots() -> None:
    async def work() -> None:
        guest = FakeGuest()
        wire = Wire(guest)
        async with connect(wire.open) as client:
            changes = client.changes()
            assert (await anext(changes))["inventory"]["memory"]["free"] == 512
            guest.inventory["memory"]["free"] = 256
            guest.turn()
            assert (await anext(changes))["inventory"]["memory"]["free"] == 256
            wire.streams[-1].drop()
            guest.inventory["nics"] = [{"name": "eth0"}]
            guest.turn()
            assert "nics" in (await anext(changes))["inventory"]
            del guest.inventory["nics"]
            guest.reboot()
            status = await anext(changes)
            assert status["agent"]["bootId"] == "boot-2"
            assert "nics" not in status["inventory"]
            await changes.aclose()

    run(work())


def test_a_patch_of_another_boot_is_not_ours_although_the_number_fits() -> None:
    async def work() -> None:
        guest = FakeGuest()
        wire = Wire(guest)
        async with connect(wire.open) as client:
            changes = client.changes()
            await anext(changes)
            wire.alter = lambda _, data: b"" if b'"status": {' in data else data  # the answer to subscribe
            guest.reboot()
            await asyncio.sleep(0.1)
            guest.inventory["memory"]["free"] = 128
            guest.turn()
            await asyncio.sleep(0.1)
            wire.alter = lambda _, data: data
            status = await anext(changes)
            assert (status["agent"]["bootId"], status["inventory"]["memory"]["free"]) == ("boot-2", 128)
            await changes.aclose()

    run(work())


def test_a_reconnect_asks_only_for_what_is_new() -> None:
    async def work() -> None:
        guest = FakeGuest()
        wire = Wire(guest)
        async with connect(wire.open) as client:
            await client.wait(lambda status: True, timeout_s=5)
            wire.streams[-1].drop()
            await asyncio.sleep(10)
        have = [params.get("have") for method, params in guest.calls if method == "subscribe"]
        assert have[-1] == {"bootId": "boot-1", "revision": 1}

    run(work())


def test_events_come_once_each() -> None:
    async def work() -> None:
        guest = FakeGuest()
        wire = Wire(guest)
        async with connect(wire.open) as client:
            seen: list[int] = []
            guest.adopt(1, SPEC)
            async for events, _ in client.new_events():
                seen += [event["seq"] for event in events]
                if len(seen) == 2:
                    break
                guest.adopt(2, OTHER)
                wire.streams[-1].session._send(frame({"method": "event", "params": guest.events[-1]}))
        assert seen == [1, 2]

    run(work())


def test_events_of_another_boot_come_once_each() -> None:
    async def work() -> None:
        guest = FakeGuest()
        wire = Wire(guest)
        async with connect(wire.open) as client:
            seen: list[int] = []
            guest.adopt(1, SPEC)
            guest.adopt(2, OTHER)
            async for events, _ in client.new_events():
                seen += [event["seq"] for event in events]
                if len(seen) >= 5:
                    break
                if len(seen) == 2:
                    guest.events.clear()
                    guest.reboot()
                    for generation in (3, 4, 5):
                        guest.adopt(generation, SPEC)
                    wire.streams[-1].drop()
        assert seen == [1, 2, 1, 2, 3]

    run(work())


@pytest.mark.parametrize(
    ("refuse", "why"),
    [
        pytest.param(FileNotFoundError(2, "No such file or directory"), "No such file", id="absent"),
        pytest.param(ConnectionRefusedError(111, "Connection refused"), "refused", id="refused"),
    ],
)
def test_nobody_there(refuse: OSError, why: str) -> None:
    async def work() -> None:
        wire = Wire(FakeGuest())
        wire.refuse = refuse
        with pytest.raises(Unreachable, match=why):
            async with connect(wire.open, timeout_s=5):
                raise AssertionError("there is no guest")

    run(work())


def test_a_guest_that_comes_later_is_met() -> None:
    async def work() -> None:
        wire = Wire(FakeGuest())
        wire.refuse = FileNotFoundError(2, "No such file or directory")
        asyncio.get_running_loop().call_later(20, setattr, wire, "refuse", None)
        async with connect(wire.open, timeout_s=60) as client:
            assert client.hello.name == "web-01"

    run(work())


def test_an_open_channel_without_a_guest() -> None:
    async def work() -> None:
        wire = Wire(FakeGuest())
        wire.alter = lambda number, data: b""
        with pytest.raises(Unreachable, match=r"no guest answers|says nothing"):
            async with connect(wire.open, timeout_s=5):
                raise AssertionError("there is no guest")

    run(work())


def test_a_question_without_an_answer_ends() -> None:
    async def work() -> None:
        guest = FakeGuest()
        wire = Wire(guest)
        async with connect(wire.open) as client:
            wire.alter = lambda number, data: b"" if b'"echo"' in data else data
            with pytest.raises((TimedOut, Unreachable)):
                await client.call("ping", {}, timeout_s=60)
            wire.alter = lambda number, data: data
            assert await client.ping() >= 0

    run(work())


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param({"protocol": 2}, id="protocol"),
        pytest.param({"name": 7}, id="name"),
        pytest.param({"name": "x" * 10_000}, id="long-name"),
        pytest.param({"generation": -1}, id="generation"),
        pytest.param({"bootId": None}, id="boot-id"),
    ],
)
def test_a_hello_that_makes_no_sense(hello: dict[str, Any]) -> None:
    async def work() -> None:
        guest = FakeGuest()
        good = guest.hello
        guest.hello = lambda: good() | hello  # type: ignore[method-assign]
        with pytest.raises(Unreachable):
            async with connect(Wire(guest).open, timeout_s=5):
                raise AssertionError("taken in")

    run(work())


def test_busy_is_tried_again() -> None:
    async def work() -> None:
        guest = FakeGuest()
        busy = [True, True]

        def refuse(method: str) -> None:
            if method == "ping" and busy:
                busy.pop()
                raise Refusal(-32003, "too much at once")

        guest.on_call = refuse
        async with connect(Wire(guest).open) as client:
            await client.ping()
        assert not busy

    run(work())


def test_what_ends_the_client_is_told_to_who_asks() -> None:
    async def work() -> None:
        wire = Wire(FakeGuest())
        async with connect(wire.open) as client:
            client._open = lambda: 1 / 0  # type: ignore[assignment, return-value]
            wire.streams[-1].drop()
            with pytest.raises(ZeroDivisionError):
                await client.wait(lambda status: False, timeout_s=600)

    run(work())
