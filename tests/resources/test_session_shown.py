"""What the host is told of sessions and of the machine around them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.resources.session import SHOWN_MAX, Observed, Session
from reconciler.subjects.logins import Login, Station

SSH = Login(
    id="4",
    user="alice",
    uid=1000,
    tty="pts/0",
    remote=True,
    host="192.0.2.7",
    service="sshd",
    scope="session-4.scope",
    since="2026-03-01T12:00:00Z",
    idle_since="2026-03-01T12:30:00Z",
)
RACK = Station()


def seen(*sessions: Login, station: Station = RACK) -> Observed:
    return Observed(boot_clock_s=1000.0, now="2026-03-01T13:00:00Z", sessions=sessions, station=station)


def test_a_remote_session_says_where_it_comes_from() -> None:
    assert Session.show(seen(SSH))["sessions"]["4"] == {
        "user": "alice",
        "uid": 1000,
        "tty": "pts/0",
        "type": "tty",
        "class": "user",
        "state": "active",
        "active": True,
        "remote": True,
        "remoteHost": "192.0.2.7",
        "service": "sshd",
        "scope": "session-4.scope",
        "since": "2026-03-01T12:00:00Z",
        "locked": False,
        "idleSince": "2026-03-01T12:30:00Z",
    }
    (notice,) = Session.notices(seen(), seen(SSH))
    assert (notice.reason, notice.message) == ("SessionOpened", "4 (alice, pts/0 from 192.0.2.7)")


def test_what_is_not_known_is_left_out() -> None:
    shown = Session.show(seen(Login(id="c1", user="bob", seat="seat0", tty="tty3")))["sessions"]["c1"]
    assert {"remoteHost", "service", "scope", "since", "idleSince", "display"} & shown.keys() == set()


@pytest.mark.parametrize(
    ("station", "shown"),
    [
        pytest.param(
            RACK, {"lidClosed": False, "docked": False, "externalPower": True}, id="a machine in a rack"
        ),
        pytest.param(
            Station(lid_closed=True, docked=True, mains=False, idle_since="2026-03-01T12:30:00Z"),
            {
                "lidClosed": True,
                "docked": True,
                "externalPower": False,
                "idleSince": "2026-03-01T12:30:00Z",
            },
            id="a closed one on a desk, idle",
        ),
    ],
)
def test_the_machine_around_sessions(station: Station, shown: dict[str, object]) -> None:
    assert Session.show(seen(station=station)) == shown | {"sessions": {}}


def test_a_terminal_server_tells_of_its_people_first_and_of_no_more_than_fit() -> None:
    greeters = [Login(id=f"c{number}", user="gdm", group="greeter") for number in range(3)]
    people = [Login(id=str(number), user="alice") for number in range(SHOWN_MAX - 1)]
    shown = Session.show(seen(*greeters, *people))
    assert list(shown["sessions"]) == [*(login.id for login in people), "c0"]
    assert shown["leftOut"] == 2
    assert "leftOut" not in Session.show(seen(*people))


def test_the_page_shows_what_is_told() -> None:
    idle_since = "2026-03-01T12:30:00Z"
    desktop = Login(
        id="2",
        user="alice",
        uid=1000,
        seat="seat0",
        tty="tty2",
        type="wayland",
        service="gdm-password",
        scope="session-2.scope",
        since="2026-03-01T09:00:00Z",
        locked=True,
        idle_since=idle_since,
    )
    page = (Path(__file__).parents[2] / "specs/session.md").read_text()
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert shown == Session.show(seen(desktop, station=Station(idle_since=idle_since)))


def test_what_only_idles_is_no_event() -> None:
    assert Session.notices(seen(SSH), seen(replace(SSH, idle_since=""))) == ()
