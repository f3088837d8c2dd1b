"""How a channel is written on the command line."""

import pytest

from reconciler.errors import InvalidSpec
from reconciler.transports import open_endpoint


@pytest.mark.parametrize(
    ("written", "name"),
    [
        pytest.param(
            "virtio-serial:org.guest_reconciler.0", "virtio-serial:org.guest_reconciler.0", id="virtio"
        ),
        pytest.param("serial:/dev/ttyS1", "serial:/dev/ttyS1,115200", id="serial"),
        pytest.param("serial:/dev/ttyS1,9600", "serial:/dev/ttyS1,9600", id="serial with a speed"),
        pytest.param("vsock:1024", "vsock:1024", id="vsock"),
        pytest.param("unix:/run/a:b.sock", "unix:/run/a:b.sock", id="unix"),
    ],
)
def test_a_channel_is_opened_by_what_is_written(written: str, name: str) -> None:
    endpoint = open_endpoint(written)
    assert endpoint.name == name
    endpoint.close()


@pytest.mark.parametrize(
    ("written", "why"),
    [
        pytest.param("", "it is none of virtio-serial:NAME, serial:", id="nothing"),
        pytest.param("unix", "it is none of", id="no colon"),
        pytest.param("tcp:localhost:1", "it is none of", id="unknown"),
        pytest.param("unix:", "unix: is followed by a path", id="no path"),
        pytest.param(
            "unix:/" + "x" * 107, "unix: is followed by a path of 1 to 107 bytes", id="path too long"
        ),
        pytest.param("virtio-serial:", "followed by the name of a port", id="no port"),
        pytest.param("virtio-serial:../sda", "followed by the name of a port", id="port out of its folder"),
        pytest.param("vsock:x", "followed by the number of a port", id="no number"),
        pytest.param("vsock:0", "followed by the number of a port", id="port 0"),
        pytest.param("vsock:4294967295", "1 to 4294967294", id="any port"),
        pytest.param("vsock:" + "9" * 5000, "1 to 4294967294", id="a number without end"),
        pytest.param("serial:ttyS1", "followed by a device", id="no path to a device"),
        pytest.param("serial:/dev/ttyS1,", "followed by a device", id="no speed"),
        pytest.param("serial:/dev/ttyS1,0", "followed by a device", id="speed 0"),
        pytest.param("serial:/dev/ttyS1,5000000", "followed by a device", id="too fast"),
    ],
)
def test_a_channel_written_otherwise_is_refused(written: str, why: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        open_endpoint(written)
    assert str(caught.value).startswith(f"cannot use channel {written!r}: ")
    assert why in str(caught.value)
