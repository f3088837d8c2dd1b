"""`reconciler events`: what was, and what is."""

import json
import signal
import subprocess
import sys

from tests.host.conftest import Reconciler
from tests.host.fake_guest import frame
from tests.host.served import Served


def test_what_was(guest: Served, reconciler: Reconciler) -> None:
    said = reconciler("events", "-c", guest.channel)
    assert said.out.splitlines()[0].split() == ["TIME", "KIND", "REASON", "MESSAGE"]
    line = ["2026-01-01T00:00:00Z", "document", "Accepted", "generation", "3"]
    assert said.out.splitlines()[1].split() == line
    assert json.loads(reconciler("events", "-c", guest.channel, "-o", "json").out) == guest.guest.events


def test_long_messages_are_cut_and_wide_has_all(guest: Served, reconciler: Reconciler) -> None:
    guest.guest.events[0]["message"] = "x" * 200
    for form, length in (("table", 59), ("wide", 200)):
        assert reconciler("events", "-c", guest.channel, "-o", form).out.count("x") == length


def test_what_is_lost_is_said(guest: Served, reconciler: Reconciler) -> None:
    guest.guest.do_events = lambda params: {"events": [], "next": 9, "lost": 4}  # type: ignore[method-assign]
    assert reconciler("events", "-c", guest.channel).err == "4 earlier events are lost\n"


def test_what_happens(guest: Served) -> None:
    words = [sys.executable, "-m", "reconciler.host", "events", "-w", "-c", guest.channel]

    def happen() -> None:
        guest.guest.adopt(4, {})
        for session in guest.guest.sessions:
            session._send(frame({"method": "event", "params": guest.guest.events[-1]}))

    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("generation 3\n")
        guest.do(happen)
        assert process.stdout.readline().endswith("generation 4\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
