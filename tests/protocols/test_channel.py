"""The channel's parser: the vectors that every implementation replays, and bytes spoilt at every place."""

import dataclasses
import json
import re
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import errors, stream
from reconciler.errors import Fault, InvalidSpec, ReconcilerError
from reconciler.protocols import calls, channel, transfer
from reconciler.protocols.channel import (
    BROKEN_MAX,
    PARSE_ERROR,
    Broken,
    Channel,
    ErrorResponse,
    Event,
    Message,
    Notification,
    Request,
    Response,
    TooLong,
    as_error,
    refusal,
)

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "specs/vectors/channel.jsonl").read_text().splitlines()
]
_NAMES = {
    Request: "request",
    Notification: "notification",
    Response: "response",
    ErrorResponse: "errorResponse",
}

FIRST = Request(1, "apply", {"spec": {"power": "off", "note": "\x1e\n[{"}})
SECOND = Response(2, {"echo": "Grüße", "list": [1, 2.5, True]})
END = Notification("ping", {"last": True})


def ends() -> tuple[Channel, Channel]:
    return Channel.of_guest(), Channel.of_host()


def wire(*messages: Message) -> bytes:
    return b"".join(Channel.of_guest().send(message) for message in messages)


def receive(pieces: Iterable[bytes]) -> list[Event]:
    end = Channel.of_guest()
    return [event for piece in pieces for event in end.receive_data(piece)]


def plain(event: Event) -> dict[str, Any]:
    """An event as the vectors write it: what may differ between implementations is left out."""
    if isinstance(event, Broken):
        return {"broken": {"code": event.code} | ({} if event.id is None else {"id": event.id})}
    members = dataclasses.asdict(event)
    if members.get("data", 0) is None:
        del members["data"]
    return {_NAMES[type(event)]: members}


@pytest.mark.parametrize("vector", [pytest.param(row, id=row["name"]) for row in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"]) if "hex" in vector else vector["wire"].encode()
    new = {"guest": Channel.of_guest, "host": Channel.of_host}[vector["to"]]
    assert [plain(event) for event in new().receive_data(data)] == vector["events"]
    byte_by_byte = new()
    events = [event for byte in data for event in byte_by_byte.receive_data(bytes([byte]))]
    assert [plain(event) for event in events] == vector["events"]


@pytest.mark.parametrize(
    "vector", [row for row in VECTORS if "conversation" in row["name"]], ids=lambda row: row["to"]
)
def test_what_we_send_is_what_the_vectors_say(vector: dict[str, Any]) -> None:
    guest, host = ends()
    receiver, sender = (guest, host) if vector["to"] == "guest" else (host, guest)
    events = receiver.receive_data(vector["wire"].encode())
    assert (
        b"".join(sender.send(event) for event in events if not isinstance(event, Broken))
        == vector["wire"].encode()
    )


@pytest.mark.parametrize("cut", range(len(wire(FIRST, SECOND)) + 1))
def test_messages_survive_a_cut_anywhere(cut: int) -> None:
    data = wire(FIRST, SECOND)
    assert receive([data[:cut], data[cut:]]) == [FIRST, SECOND]


@pytest.mark.parametrize("lost", range(1, len(wire(FIRST))))
def test_a_message_that_lost_its_tail_costs_only_itself(lost: int) -> None:
    broken, *rest = receive([wire(FIRST)[:-lost], wire(SECOND)])
    if lost < len(wire(FIRST)) - 1:
        assert isinstance(broken, Broken)
        assert rest == [SECOND]
    else:  # only the start byte is left, and a start alone is nothing
        assert broken == SECOND


@pytest.mark.parametrize(
    "vector", [row for row in VECTORS if "conversation" in row["name"]], ids=lambda row: row["to"]
)
def test_a_conversation_cut_at_any_byte_begins_anew(vector: dict[str, Any]) -> None:
    """On a line without connections: the receiver cannot know that the sender has begun again."""
    data = vector["wire"].encode()
    new = {"guest": Channel.of_guest, "host": Channel.of_host}[vector["to"]]
    whole = new().receive_data(data)
    for cut in range(len(data)):
        end = new()
        before, after = end.receive_data(data[:cut]), end.receive_data(data)
        assert before == whole[: len(before)]
        assert after[-len(whole) :] == whole
        assert [type(event) for event in after[: -len(whole)]] in ([], [Broken])


@pytest.mark.parametrize("place", range(len(wire(FIRST))))
@pytest.mark.parametrize("value", [0x00, 0x0A, 0x1E, 0x22, 0xFF], ids=hex)
def test_a_garbled_byte_costs_one_message_at_most(place: int, value: int) -> None:
    data = bytearray(wire(FIRST))
    data[place] = value
    events = receive([bytes(data), wire(SECOND, END)])
    assert events[-2:] == [SECOND, END]


messages = st.lists(st.sampled_from([FIRST, SECOND, END, ErrorResponse(None, -1, "x", [1])]), max_size=6)


@given(messages, st.data())
def test_what_is_doubled_and_reordered_is_just_that(sent: list[Message], data: st.DataObject) -> None:
    sent = data.draw(st.permutations(sent + sent[:2]))
    assert receive([wire(*sent)]) == sent


@given(st.lists(st.binary(max_size=30)), messages, st.lists(st.binary(max_size=30)))
def test_garbage_never_raises_and_what_follows_a_start_arrives(
    before: list[bytes], sent: list[Message], after: list[bytes]
) -> None:
    events = receive([*before, wire(*sent), *after])
    arrived = [event for event in events if not isinstance(event, Broken)]
    assert [message for message in arrived if message in sent] == sent


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_how_bytes_are_cut_makes_no_difference(garbage: bytes, cuts: list[int]) -> None:
    data = (wire(FIRST) + garbage + wire(END)).replace(b"\x00", b"\x1e")
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = receive([data])
    if sum(isinstance(event, Broken) for event in whole) <= BROKEN_MAX:
        assert receive(data[a:b] for a, b in pairwise(places)) == whole


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_json_comes_back_as_it_was_sent(value: object) -> None:
    assert receive([wire(Response(1, value))]) == [Response(1, value)]


def test_a_name_that_is_not_unicode_does_not_cost_the_message() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")
    assert receive([wire(Response(1, {name: name}))]) == [Response(1, {"caf?": "caf?"})]


def test_an_endless_message_is_refused_once_and_its_memory_given_back() -> None:
    guest = Channel.of_guest()
    piece = b"x" * 65536
    tracemalloc.start()
    try:
        events = guest.receive_data(b"\x1e")
        for _ in range(10 * channel.TO_GUEST_BYTES_MAX // len(piece)):
            events += guest.receive_data(piece)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (broken,) = events
    assert isinstance(broken, Broken)
    assert broken.message == "message is longer than 1048576 bytes"
    assert peak < 2.5 * channel.TO_GUEST_BYTES_MAX  # a growing buffer is copied once in a while
    assert held < 4096
    assert guest.receive_data(b"\n" + wire(END)) == [END]


def test_the_longest_message_arrives_and_one_byte_more_does_not() -> None:
    room = channel.TO_GUEST_BYTES_MAX - len(Channel.of_host().send(Request(1, "m", {"d": ""}))) + 2
    guest, host = ends()
    longest = Request(1, "m", {"d": "x" * room})
    assert guest.receive_data(host.send(longest)) == [longest]
    with pytest.raises(TooLong, match=r"^cannot send m: 1048577 bytes, the limit is 1048576$"):
        host.send(Request(1, "m", {"d": "x" * (room + 1)}))
    host.send_bytes_max += 1
    (broken,) = guest.receive_data(host.send(Request(1, "m", {"d": "x" * (room + 1)})))
    assert isinstance(broken, Broken)


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"[" * 1_000_000, id="only opened"),
        pytest.param(b"[" * 500_000 + b"]" * 500_000, id="closed as well"),
        pytest.param(b'{"a":' * 150_000 + b"1" + b"}" * 150_000, id="objects"),
        pytest.param(b'["\\"[",' * 100_000, id="with strings between"),
    ],
)
def test_a_deep_message_costs_one_error(bomb: bytes) -> None:
    (broken, end) = receive([b"\x1e" + bomb + b"\n", wire(END)])
    assert isinstance(broken, Broken)
    assert broken.message == "message nests deeper than 32, or its brackets do not match"
    assert end == END


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'"' + b'\\"' * 500_000, id="an endless string of escapes"),
        pytest.param(b'[["' + b'\\"' * 500_000 + b"[" * 40, id="and brackets"),
        pytest.param(b'{"a":' + b"9" * 1_000_000 + b"}", id="a million digits"),
        pytest.param(b"[" + b"[]," * 300_000 + b"[]]", id="wide, not deep"),
    ],
)
def test_hostile_text_takes_linear_time(text: bytes) -> None:
    """The quadratic ways to read these take minutes."""
    (broken,) = receive([b"\x1e" + text + b"\n"])
    assert isinstance(broken, Broken)


def test_a_flood_of_garbage_gives_few_events_and_keeps_the_messages() -> None:
    events = receive([b"\x1ex\n" * 10_000 + wire(END) + b"\x1ex\n" * 10_000])
    assert len(events) == BROKEN_MAX + 2
    assert END in events
    assert events[-1] == Broken(PARSE_ERROR, f"{20_000 - BROKEN_MAX} more broken messages")


@pytest.mark.parametrize(
    "text",
    [
        '{"password":"hunter2',
        '{"hunter2":NaN}',
        '{"hunter2":1,"hunter2":2}',
        '{"a":"hunter2\\ud800"}',
        '{"hunter2" 1}',
    ],
)
def test_what_was_in_a_broken_message_is_not_told(text: str) -> None:
    (broken,) = receive([b"\x1e" + text.encode() + b"\n"])
    assert isinstance(broken, Broken)
    assert "hunter2" not in f"{broken} {broken.error} {broken.answer}"


def test_what_is_not_json_is_not_sent() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        wire(Response(1, float("nan")))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(
            InvalidSpec(Fault(3, 4, "spec.power", "is odd")), channel.INVALID_PARAMS, id="InvalidSpec"
        ),
        pytest.param(errors.Conflict("x"), channel.CONFLICT, id="Conflict"),
        pytest.param(errors.Forbidden("x"), channel.FORBIDDEN, id="Forbidden"),
        pytest.param(errors.Busy("x"), channel.BUSY, id="Busy"),
        pytest.param(errors.Unsupported("x"), channel.UNSUPPORTED, id="Unsupported"),
        pytest.param(errors.DriverError("x"), channel.FAILED, id="DriverError"),
        pytest.param(errors.NotHeld("x"), channel.NOT_HELD, id="NotHeld"),
        pytest.param(errors.RemoteProtocolError("x"), channel.INVALID_REQUEST, id="RemoteProtocolError"),
    ],
)
def test_an_error_is_the_same_error_at_the_other_end(error: ReconcilerError, code: int) -> None:
    guest, host = ends()
    (answer,) = host.receive_data(guest.send(refusal(7, error)))
    assert isinstance(answer, ErrorResponse)
    assert (answer.id, answer.code) == (7, code)
    assert type(as_error(answer)) is type(error)


def test_the_faults_of_a_document_travel() -> None:
    error = InvalidSpec(Fault(3, 4, "spec.power", "is odd", "a.yaml"), Fault(0, 0, "", "is empty"))
    back = as_error(refusal(7, error))
    assert isinstance(back, InvalidSpec)
    assert [(fault.path, fault.message) for fault in back.faults] == [
        ("spec.power", "is odd"),
        ("", "is empty"),
    ]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(ErrorResponse(1, channel.NO_METHOD, "x"), errors.Unsupported, id="an older guest"),
        pytest.param(
            ErrorResponse(1, channel.INTERNAL, "x"), errors.RemoteProtocolError, id="a fault of theirs"
        ),
        pytest.param(ErrorResponse(1, 12345, "x"), errors.RemoteProtocolError, id="an unknown code"),
        pytest.param(
            ErrorResponse(1, channel.INVALID_PARAMS, "x", {"faults": 3}), InvalidSpec, id="odd data"
        ),
        pytest.param(ErrorResponse(1, channel.INVALID_PARAMS, "x", [{}]), InvalidSpec, id="odder data"),
        pytest.param(refusal(1, errors.Terminal("x")), errors.DriverError, id="final or not is not told"),
    ],
)
def test_every_answer_is_some_error(answer: ErrorResponse, kind: type[ReconcilerError]) -> None:
    error = as_error(answer)
    assert type(error) is kind
    assert str(error) == "x"


SPEC = (Path(__file__).parents[2] / "specs/channel.md").read_text()


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("message to the guest", channel.TO_GUEST_BYTES_MAX),
        ("message to the host", channel.TO_HOST_BYTES_MAX),
        ("depth", channel.DEPTH_MAX),
        ("requests without an answer", calls.OUTSTANDING_MAX),
        ("method, id", channel.METHOD_LENGTH_MAX),
        ("method, id", channel.ID_LENGTH_MAX),
        ("broken messages told", channel.BROKEN_MAX),
        ("chunk", transfer.CHUNK_BYTES_MAX),
        ("transfer", transfer.TRANSFER_BYTES_MAX),
        ("kept unsent by the guest", stream.SEND_BYTES_MAX),
    ],
)
def test_the_limits_are_those_of_the_contract(row: str, value: int) -> None:
    assert re.search(rf"^\| {row} \| {value}\b", SPEC, re.MULTILINE)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (channel.PARSE_ERROR, "parse error"),
        (channel.INVALID_REQUEST, "invalid request"),
        (channel.NO_METHOD, "no method"),
        (channel.INVALID_PARAMS, "invalid params"),
        (channel.INTERNAL, "internal"),
        (channel.CONFLICT, "Conflict"),
        (channel.FORBIDDEN, "Forbidden"),
        (channel.BUSY, "Busy"),
        (channel.UNSUPPORTED, "Unsupported"),
        (channel.FAILED, "Failed"),
        (channel.NOT_HELD, "NotHeld"),
    ],
)
def test_the_codes_are_those_of_the_contract(code: int, name: str) -> None:
    assert f"\n| {code} | {name} |" in SPEC
