"""Byte streams to the other side; each can drop, stall and come back."""

from collections.abc import Callable
from importlib import import_module

from reconciler.errors import InvalidSpec
from reconciler.stream import Endpoint

# How a channel begins -> the module whose `endpoint` reads the rest.
_MODULES = {"virtio-serial": "virtio_serial", "serial": "serial_line", "vsock": "vsock", "unix": "unix"}


def open_endpoint(channel: str) -> Endpoint:
    """The guest's end of a channel, as `--channel` writes it.

    Opens nothing yet: the first `poll` does, and says what is in the way. Raises
    InvalidSpec for what is written otherwise.
    """
    scheme, colon, rest = channel.partition(":")
    if not colon or scheme not in _MODULES:
        forms = "virtio-serial:NAME, serial:DEV[,BAUD], vsock:PORT or unix:PATH"
        raise InvalidSpec(f"cannot use channel {channel!r}: it is none of {forms}")
    # Late: the sockets of one transport are no use to a guest on another.
    endpoint: Callable[[str], Endpoint] = import_module(f"{__name__}.{_MODULES[scheme]}").endpoint
    try:
        return endpoint(rest)
    except InvalidSpec as error:
        raise InvalidSpec(f"cannot use channel {channel!r}: {error}") from None
