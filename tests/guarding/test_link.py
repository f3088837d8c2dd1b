"""A guardian process is started, asked and lost; nothing is frozen."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.guarding.link import Link, LinkLost, LinkSilent
from tests.loop_mounts import PATIENCE_S


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    link = Link(str(tmp_path / "freeze.json"))
    yield link
    link.close()


def wait_for_end(link: Link) -> None:
    assert select.select([link.bell], [], [], PATIENCE_S)[0]


def test_it_answers_in_order_and_by_number(link: Link) -> None:
    assert link.lives()
    link.send({"do": "thaw"})  # whose answer nobody waits for
    refused = link.call({"do": "renew", "generation": 7, "lease_s": 60}, PATIENCE_S)
    assert refused["error"] == "cannot renew: no freeze of generation 7 holds"
    assert link.call({"do": "thaw"}, PATIENCE_S) == {"n": 3}


def test_no_thread_takes_the_answer_of_another(link: Link) -> None:
    errors: dict[int, str] = {}

    def ask(generation: int) -> None:
        answer = link.call({"do": "renew", "generation": generation, "lease_s": 1}, PATIENCE_S)
        errors[generation] = answer["error"]

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert errors == {n: f"cannot renew: no freeze of generation {n} holds" for n in range(20)}


def test_a_freeze_of_nothing_is_refused(link: Link) -> None:
    asked = {"do": "freeze", "generation": 7, "lease_s": 60, "mounts": [], "hooks": []}
    assert link.call(asked, PATIENCE_S)["error"] == "cannot freeze: nothing was asked for"


def test_its_death_is_noticed(link: Link) -> None:
    link.call({"do": "thaw"}, PATIENCE_S)
    os.kill(link.pid, signal.SIGKILL)
    wait_for_end(link)
    assert not link.lives()
    assert not link.rung()
    with pytest.raises(LinkLost):
        link.call({"do": "thaw"}, PATIENCE_S)


def test_a_stopped_one_lives_and_is_silent(link: Link) -> None:
    link.call({"do": "thaw"}, PATIENCE_S)
    os.kill(link.pid, signal.SIGSTOP)
    assert link.lives()
    with pytest.raises(LinkSilent):
        link.call({"do": "thaw"}, 0.1)
    link.kill()
    wait_for_end(link)
    assert not link.lives()


def test_it_ends_of_itself_when_it_is_let_go(link: Link) -> None:
    process = os.pidfd_open(link.pid)
    link.close()
    link.close()
    assert not link.lives()
    assert select.select([process], [], [], PATIENCE_S)[0]
    os.close(process)


def test_what_is_sent_to_all_of_the_service_does_not_end_it(link: Link) -> None:
    link.call({"do": "thaw"}, PATIENCE_S)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(link.pid, number)
    assert link.call({"do": "thaw"}, PATIENCE_S) == {"n": 2}


def test_a_message_that_makes_no_sense_ends_it_and_is_noticed(link: Link) -> None:
    link._socket.send(b"{")
    wait_for_end(link)
    with pytest.raises(LinkLost):
        link.call({"do": "thaw"}, PATIENCE_S)


def test_an_agent_that_dies_without_having_read_is_only_dead(link: Link) -> None:
    for _ in range(3):
        link.send({"do": "thaw"})
    assert select.select([link._socket], [], [], PATIENCE_S)[0]
    link._socket.close()  # which is a reset to the other end, not the end of a file
    assert os.waitstatus_to_exitcode(os.waitpid(link.pid, 0)[1]) == 0
