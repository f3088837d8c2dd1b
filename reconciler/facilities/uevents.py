"""Wake-ups from the kernel's uevents: devices of one subsystem that come, go and change."""

_NETLINK_KOBJECT_UEVENT = 15  # linux/netlink.h
_BY_KERNEL, _BY_UDEV = 1, 2  # multicast groups: at once, and when udev knows the device
_EVENT_BYTES = 8192  # twice what the kernel writes for one event
_EVENTS_MAX = 256  # taken in at once; a storm must not hold the loop


class Uevents:
    """A `Watch`; with `udev`, on events that udevd has seen to. Raises OSError where there are none.

    Nobody else's word is heard: to send there takes CAP_NET_ADMIN.
    """

    def __init__(self, subsystem: str, items: tuple[str, ...] = (), *, udev: bool = False) -> None:
        # Late: a guest may watch no devices, and socket takes 0.5 MiB.
        import socket

        self.items = items
        self._ours = f"SUBSYSTEM={subsystem}\0".encode()
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_KOBJECT_UEVENT)
        try:
            self._socket.bind((0, _BY_UDEV if udev else _BY_KERNEL))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        changed = False
        for _ in range(_EVENTS_MAX):
            try:
                event = self._socket.recv(_EVENT_BYTES)
            except BlockingIOError:
                break
            except OSError:
                return True  # ENOBUFS: events were lost, and one may have been ours
            changed = changed or self._ours in event
        return changed

    def close(self) -> None:
        self._socket.close()
