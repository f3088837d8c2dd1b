"""Hello from guests that mean well and from others."""

from typing import Any

import pytest

from reconciler.errors import RemoteProtocolError, Unsupported
from reconciler.host.hello import KINDS_MAX, MESSAGE_BYTES_MIN, Limits, parse_hello
from tests.host.fake_guest import FakeGuest


def test_all_of_it() -> None:
    hello = parse_hello(FakeGuest("web-01").hello())
    assert (hello.name, hello.boot_id, hello.generation, hello.digest) == ("web-01", "boot-1", 0, "")
    assert hello.rehearsing
    assert hello.kinds["hostname"].usable
    assert hello.kinds["session"].reason == "Unsupported"
    assert hello.limits == Limits()


@pytest.mark.parametrize(
    ("wants", "got"),
    [pytest.param("time", "time", id="the time"), pytest.param(["time"], "", id="not a word")],
)
def test_what_a_kind_wants(wants: object, got: str) -> None:
    kinds = {"clock": {"usable": True, "wants": wants}}
    assert parse_hello(FakeGuest().hello() | {"kinds": kinds}).kinds["clock"].wants == got


@pytest.mark.parametrize(
    ("limits", "got"),
    [
        pytest.param({"messageBytes": 8192}, 8192, id="less"),
        pytest.param({"messageBytes": 1 << 40}, 1 << 20, id="more-than-ours"),
        pytest.param({"messageBytes": 0}, MESSAGE_BYTES_MIN, id="none"),
        pytest.param({"messageBytes": "x"}, 1 << 20, id="word"),
        pytest.param([], 1 << 20, id="list"),
    ],
)
def test_limits_have_limits(limits: Any, got: int) -> None:
    assert parse_hello(FakeGuest().hello() | {"limits": limits}).limits.message_bytes == got


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"name": 1}, id="name"),
        pytest.param({"name": "x" * 254}, id="long-name"),
        pytest.param({"generation": "1"}, id="generation"),
        pytest.param({"revision": True}, id="revision"),
        pytest.param({"digest": "x" * 200}, id="digest"),
        pytest.param({"kinds": {str(n): {} for n in range(KINDS_MAX + 1)}}, id="kinds"),
    ],
)
def test_nonsense_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_hello(FakeGuest().hello() | part)


@pytest.mark.parametrize("value", [None, [], "hello", 1])
def test_not_even_an_object(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_hello(value)


def test_another_protocol() -> None:
    with pytest.raises(Unsupported, match="it speaks protocol 2, we speak 1"):
        parse_hello(FakeGuest().hello() | {"protocol": 2})
