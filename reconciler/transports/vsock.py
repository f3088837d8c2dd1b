"""A vsock port that the guest listens on, for the host alone."""

import socket

from reconciler.errors import InvalidSpec, Unsupported
from reconciler.pump.listener import Listener
from reconciler.stream import Endpoint

_PORT_MAX = 0xFFFF_FFFE  # VMADDR_PORT_ANY is one more: vsock(7)


def endpoint(port: str) -> Endpoint:
    """From what follows `vsock:`: the port's number."""
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:11]) <= _PORT_MAX:
        raise InvalidSpec(f"vsock: is followed by the number of a port, 1 to {_PORT_MAX}")
    return Vsock(int(port))


class Vsock(Listener):
    """Another guest on the same host could find us too, hence the look at who calls."""

    def __init__(self, port: int) -> None:
        super().__init__(f"vsock:{port}")
        self._port = port

    def bind(self) -> socket.socket:
        try:
            bound = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        except OSError as error:
            raise Unsupported(f"this kernel has no vsock ({error.strerror})") from error
        try:
            bound.bind((socket.VMADDR_CID_ANY, self._port))
        except BaseException:
            bound.close()
            raise
        return bound

    def refusal(self, peer: socket.socket) -> str:
        cid, _ = peer.getpeername()
        return "" if cid == socket.VMADDR_CID_HOST else f"CID {cid} is not the host"
