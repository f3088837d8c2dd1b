"""`reconciler wait`: 0 reached, 1 not."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.host.conftest import Reconciler
from tests.host.fake_guest import FakeGuest
from tests.host.served import Served, served


@pytest.mark.parametrize(
    ("goal", "code"),
    [
        ("Converged", 0),
        ("phase=Converged", 0),
        ("hostname", 0),
        ("hostname=InSync", 0),
        ("hostname=False", 1),
    ],
)
def test_codes(goal: str, code: int, guest: Served, reconciler: Reconciler) -> None:
    # What is not reached takes the whole time, in which a busy machine has to see one status.
    timeout = "2" if code else "60"
    said = reconciler("wait", "-c", guest.channel, "--for", goal, "--timeout", timeout)
    assert (said.code, said.out) == (code, "")
    assert ("was not reached in 2 s: hostname  True  InSync" in said.err) is (code == 1)


def _waiting(channel: str) -> "subprocess.Popen[bytes]":
    words = ["wait", "-c", channel, "--for", "Converged", "--timeout", "60"]
    return subprocess.Popen([sys.executable, "-m", "reconciler.host", *words])


def test_it_ends_when_it_is_so(guest: Served) -> None:
    guest.guest.reasons["hostname"] = "Drifted"
    subscribed = threading.Event()
    guest.guest.on_call = lambda method: subscribed.set() if method == "subscribe" else None
    with _waiting(guest.channel) as process:
        assert subscribed.wait(30)
        guest.do(lambda: guest.guest.change(guest.guest.reasons.clear))
        assert process.wait(30) == 0


def test_a_guest_that_comes_later(tmp_path: Path) -> None:
    with _waiting(f"unix:{tmp_path}/g") as process, served(FakeGuest(), tmp_path / "g"):
        assert process.wait(30) == 0
