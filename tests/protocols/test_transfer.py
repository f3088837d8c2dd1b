"""Large bodies over a channel that loses, doubles and reorders chunks, and forgets."""

import binascii
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import InvalidSpec, NotHeld, RemoteProtocolError
from reconciler.protocols.transfer import CHUNK_BYTES_MAX, STALLS_MAX, Receiving, Sending

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
BODY = bytes(range(256)) * 4


def deliver(sending: Sending, receiving: Receiving) -> None:
    params = sending.next({"offset": receiving.begin(sending.opening)})
    while params is not None:
        params = sending.next({"offset": receiving.chunk(params)})


def chunk(offset: Any = 0, data: Any = "AAAA", digest: Any = DIGEST) -> dict[str, Any]:
    return {"digest": digest, "offset": offset, "data": data}


def begun(size: int = len(BODY)) -> Receiving:
    receiving = Receiving()
    receiving.begin({"digest": DIGEST, "size": size})
    return receiving


@pytest.mark.parametrize("chunk_bytes", [1, 100, 256, len(BODY), len(BODY) + 1])
def test_a_body_arrives_whole(chunk_bytes: int) -> None:
    receiving = Receiving()
    deliver(Sending(DIGEST, BODY, chunk_bytes), receiving)
    assert receiving.take(DIGEST) == BODY
    with pytest.raises(NotHeld):
        receiving.take(DIGEST)


def test_the_longest_chunk_is_taken() -> None:
    body = b"x" * CHUNK_BYTES_MAX
    receiving = Receiving()
    deliver(Sending(DIGEST, body), receiving)
    assert receiving.take(DIGEST) == body


@given(
    st.lists(st.sampled_from(["arrives", "is lost", "comes twice", "loses its answer", "reconnects"])),
    st.data(),
)
def test_a_bad_channel_delivers_the_body_or_nothing(fates: list[str], data: st.DataObject) -> None:
    receiving, sending = Receiving(), Sending(DIGEST, BODY, 100)
    params = sending.next({"offset": receiving.begin(sending.opening)})
    stale: list[dict[str, Any]] = []
    for fate in fates:
        if params is None:
            break
        stale.append(params)
        if fate != "is lost":
            receiving.chunk(params)
        if fate == "comes twice":
            receiving.chunk(data.draw(st.sampled_from(stale)))
        if fate in ("arrives", "comes twice"):
            params = sending.next({"offset": receiving.chunk(params)})
        elif fate == "reconnects":
            sending = Sending(DIGEST, BODY, data.draw(st.integers(1, 300)))
            params = sending.next({"offset": receiving.begin(sending.opening)})
    deliver(Sending(DIGEST, BODY, 100), receiving)
    assert receiving.take(DIGEST) == BODY


def test_an_interrupted_body_goes_on_where_it_stopped() -> None:
    receiving, sending = Receiving(), Sending(DIGEST, BODY, 100)
    params = sending.next({"offset": receiving.begin(sending.opening)})
    assert params is not None
    receiving.chunk(params)
    again = Sending(DIGEST, BODY, 100).next({"offset": receiving.begin(sending.opening)})
    assert again is not None
    assert again["offset"] == 100


def test_a_chunk_too_early_changes_nothing() -> None:
    receiving = begun()
    assert receiving.chunk(chunk(offset=500)) == 0
    assert receiving.chunk(chunk(offset=0)) == 3


def test_a_chunk_that_overlaps_adds_what_is_new() -> None:
    receiving = begun(5)
    receiving.chunk(chunk(0, binascii.b2a_base64(b"abc").decode().strip()))
    assert receiving.chunk(chunk(2, binascii.b2a_base64(b"cde").decode().strip())) == 5
    assert receiving.take(DIGEST) == b"abcde"


def test_another_body_takes_the_place_of_the_first() -> None:
    receiving = begun()
    receiving.chunk(chunk())
    assert receiving.begin({"digest": OTHER, "size": 3}) == 0
    with pytest.raises(NotHeld, match="cannot go on with the transfer"):
        receiving.chunk(chunk())
    assert receiving.begin({"digest": DIGEST, "size": len(BODY)}) == 0


def test_what_is_not_complete_is_not_taken() -> None:
    receiving = begun(9)
    receiving.chunk(chunk())
    with pytest.raises(NotHeld, match=r"^cannot use the transfer: 3 of 9 bytes are here$"):
        receiving.take(DIGEST)


def test_nothing_begun_nothing_taken() -> None:
    with pytest.raises(NotHeld):
        Receiving().chunk(chunk(digest=""))


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="empty"),
        pytest.param({"digest": "md5:" + "a" * 64, "size": 1}, id="another digest"),
        pytest.param({"digest": DIGEST + "\n", "size": 1}, id="digest with a line feed"),
        pytest.param({"digest": DIGEST, "size": 0}, id="no bytes"),
        pytest.param({"digest": DIGEST, "size": (16 << 20) + 1}, id="too many bytes"),
        pytest.param({"digest": DIGEST, "size": True}, id="a boolean"),
    ],
)
def test_a_wrong_beginning_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match="cannot begin the transfer"):
        Receiving().begin(params)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(chunk(offset=-1), id="before the body"),
        pytest.param(chunk(offset=True), id="offset a boolean"),
        pytest.param(chunk(offset=len(BODY) - 2), id="beyond the body"),
        pytest.param(chunk(data="AAA"), id="base64 cut short"),
        pytest.param(chunk(data="A A="), id="base64 with a space"),
        pytest.param(chunk(data="é"), id="not ASCII"),
        pytest.param(chunk(data=None), id="no data"),
        pytest.param(chunk(data="A" * (2 * CHUNK_BYTES_MAX)), id="too long"),
    ],
)
def test_a_wrong_chunk_is_refused_and_harmless(params: dict[str, Any]) -> None:
    receiving = begun()
    with pytest.raises(InvalidSpec, match="cannot take the chunk"):
        receiving.chunk(params)
    assert receiving.chunk(chunk()) == 3


@pytest.mark.parametrize(
    "result", [None, {}, {"offset": -1}, {"offset": len(BODY) + 1}, {"offset": "0"}], ids=repr
)
def test_the_sender_refuses_an_answer_without_sense(result: object) -> None:
    with pytest.raises(RemoteProtocolError, match="the answer has no offset in the body"):
        Sending(DIGEST, BODY).next(result)


def test_the_sender_gives_up_when_nothing_moves() -> None:
    sending = Sending(DIGEST, BODY)
    for _ in range(STALLS_MAX + 1):
        sending.next({"offset": 0})
    with pytest.raises(RemoteProtocolError, match="it stands still at 0"):
        sending.next({"offset": 0})
