"""A program that no SIGTERM ends: `stubborn.py READY`, a file that is made when it ignores them."""

import signal
import sys

signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
while True:
    signal.pause()
