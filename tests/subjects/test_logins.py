"""Which login sessions are people's, which have a screen, and how each is named."""

import pytest

from reconciler.subjects.logins import Login


@pytest.mark.parametrize(
    ("login", "personal", "lockable", "name"),
    [
        pytest.param(
            Login(id="2", user="alice", seat="seat0", tty="tty2", type="wayland"),
            *(True, True, "2 (alice, seat0 tty2)"),
            id="a desktop",
        ),
        pytest.param(
            Login(id="3", user="eve", type="x11"), True, True, "3 (eve, x11)", id="a remote desktop"
        ),
        pytest.param(
            Login(id="4", user="alice", tty="pts/0", remote=True, host="192.0.2.7"),
            *(True, False, "4 (alice, pts/0 from 192.0.2.7)"),
            id="an SSH login",
        ),
        pytest.param(Login(id="5", user="bob", seat="seat1"), True, True, "5 (bob, seat1)", id="no terminal"),
        pytest.param(
            Login(id="c1", user="gdm", group="greeter", seat="seat0"),
            *(False, True, "c1 (gdm, seat0)"),
            id="a greeter",
        ),
        pytest.param(
            Login(id="6", user="bob", seat="seat0", group="user-early"),
            *(True, True, "6 (bob, seat0)"),
            id="one of a newer class of users",
        ),
        pytest.param(
            Login(id="1", user="alice", state="closing"), False, False, "1 (alice, tty)", id="left over"
        ),
    ],
)
def test_a_login(login: Login, personal: bool, lockable: bool, name: str) -> None:
    assert (login.personal, login.lockable, str(login)) == (personal, lockable, name)
