# Only a login on a terminal is a session that can be locked.
if [ "$(tty)" = /dev/tty1 ]; then
    /usr/bin/python3 -B /opt/tests/locker.py &
fi
