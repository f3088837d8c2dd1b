"""A screen locker as a session has one: does what logind asks, and says so to logind.

Started in the session of whoever is logged in on the terminal; a real desktop's
locker answers the same two signals and sets the same hint.
"""

import os

from jeepney import DBusAddress, MatchRule, message_bus, new_method_call
from jeepney.io.blocking import open_dbus_connection

LOGIND = "org.freedesktop.login1"
SESSION = f"{LOGIND}.Session"


def main() -> None:
    bus = open_dbus_connection("SYSTEM")
    logind = DBusAddress("/org/freedesktop/login1", LOGIND, f"{LOGIND}.Manager")
    asked = bus.send_and_get_reply(new_method_call(logind, "GetSessionByPID", "u", (os.getppid(),)))
    session = DBusAddress(asked.body[0], LOGIND, SESSION)
    wanted = MatchRule(type="signal", interface=SESSION, path=asked.body[0])
    bus.send_and_get_reply(message_bus.AddMatch(wanted))
    with bus.filter(wanted) as signals:
        with open(f"{os.environ['XDG_RUNTIME_DIR']}/locker", "w"):
            pass  # for who waits until the session can be locked
        while True:
            name = bus.recv_until_filtered(signals).header.fields.get(3)  # MEMBER
            if name in ("Lock", "Unlock"):
                locked = name == "Lock"
                print("\033[2J\033[H  ** locked **" if locked else "\033[2J\033[Hunlocked", flush=True)
                bus.send_and_get_reply(new_method_call(session, "SetLockedHint", "b", (locked,)))


if __name__ == "__main__":
    main()
