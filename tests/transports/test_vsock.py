"""vsock up to the socket calls: no kernel at hand has a host to connect from.

What follows a connection is tested in a guest, and by the unix socket, whose code it is.
"""

import socket

import pytest

from reconciler.stream import Endpoint, Trouble
from reconciler.transports.vsock import Vsock
from tests.transports.ends import settle


class Caller(socket.socket):
    """A peer with a CID, as accept(2) gives it."""

    def __init__(self, cid: int) -> None:
        super().__init__(socket.AF_UNIX)
        self._cid = cid

    def getpeername(self) -> tuple[int, int]:
        return self._cid, 1023


@pytest.mark.parametrize(
    ("cid", "refusal"),
    [
        pytest.param(socket.VMADDR_CID_HOST, "", id="the host"),
        pytest.param(1, "CID 1 is not the host", id="a process of the guest, over the loopback"),
        pytest.param(17, "CID 17 is not the host", id="another guest"),
    ],
)
def test_only_the_host_may_come_in(cid: int, refusal: str) -> None:
    with Caller(cid) as caller:
        assert Vsock(1024).refusal(caller) == refusal


def test_it_listens_or_says_why_not() -> None:
    endpoint = Vsock(51024)
    seen: Endpoint = endpoint  # for the type checker
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
        expected = []
    except OSError as error:
        expected = [Trouble(f"cannot listen on vsock:51024: this kernel has no vsock ({error.strerror})")]
    assert settle(seen) == expected
    endpoint.close()
