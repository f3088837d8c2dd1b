"""A laptop's lid, as uinput(4) makes one up: `lid.py FIFO` closes it at a line `1`, opens it at `0`.

Numbers are those of linux/uinput.h and linux/input-event-codes.h.
"""

import fcntl
import struct
import sys

SET_EVBIT, SET_SWBIT = 0x40045564, 0x4004556D
DEV_SETUP, DEV_CREATE = 0x405C5503, 0x5501
EV_SYN, EV_SW, SW_LID = 0, 5, 0
BUS_HOST = 0x19


def main(fifo: str) -> None:
    with open("/dev/uinput", "wb", buffering=0) as device:
        fcntl.ioctl(device, SET_EVBIT, EV_SW)
        fcntl.ioctl(device, SET_SWBIT, SW_LID)
        fcntl.ioctl(device, DEV_SETUP, struct.pack("4H80sI", BUS_HOST, 0, 5, 0, b"Lid Switch", 0))
        fcntl.ioctl(device, DEV_CREATE)
        while True:
            with open(fifo) as orders:
                for order in orders:
                    for kind, value in ((EV_SW, int(order)), (EV_SYN, 0)):
                        device.write(struct.pack("llHHi", 0, 0, kind, 0, value))


if __name__ == "__main__":
    main(sys.argv[1])
