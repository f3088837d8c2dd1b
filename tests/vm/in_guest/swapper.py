"""A user who swaps names in a folder of hers: `swapper.py FOLDER OUTSIDE`, run as her, until it is killed.

FOLDER/d is by turns a folder and a symbolic link to OUTSIDE, and FOLDER/d/x is a symbolic link to OUTSIDE/x,
or a file of hers. Now and then she rests for a moment, whichever the names are: a race can be won too.
"""

import ctypes
import os
import random
import sys
import time
from contextlib import suppress

RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100
TURNS, REST_S = 50, 0.3  # on the average; a write takes 0.1 s in an emulated guest, and longer beside another

folder, outside = sys.argv[1:]
libc = ctypes.CDLL(None)
own, link = (os.fsencode(f"{folder}/{name}") for name in ("d", "l"))
os.makedirs(own)
os.symlink(outside, link)
inside = os.open(own, os.O_RDONLY)
while True:
    if random.randrange(TURNS) == 0:
        time.sleep(random.uniform(0, REST_S))
    libc.renameat2(AT_FDCWD, own, AT_FDCWD, link, RENAME_EXCHANGE)
    with suppress(OSError):
        os.unlink("x", dir_fd=inside)
        if random.randrange(2):
            os.symlink(f"{outside}/x", "x", dir_fd=inside)
        else:
            os.close(os.open("x", os.O_CREAT | os.O_WRONLY, 0o666, dir_fd=inside))
    with suppress(OSError):
        os.unlink(".guest-reconciler~", dir_fd=inside)
        os.symlink(f"{outside}/x", ".guest-reconciler~", dir_fd=inside)
