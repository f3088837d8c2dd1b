"""One session, without a daemon around it."""

import json
from dataclasses import dataclass, field

import pytest

from guest_runtime.conversation import Conversation
from guest_runtime.report import Report
from reconciler.errors import Fault, InvalidSpec
from reconciler.journal import Event
from reconciler.protocols.calls import OUTSTANDING_MAX
from reconciler.resource import Json
from reconciler.status import apply_patch
from reconciler.track import Answer


@dataclass(eq=False)
class Line:
    """A connection that can be full."""

    name: str = "memory"
    pending_bytes: int = 0
    sent: list[Json] = field(default_factory=list)

    def send(self, data: bytes) -> bool:
        if self.pending_bytes:
            return False
        self.sent.append(json.loads(data.strip(b"\x1e\n")))
        return True

    def close(self) -> None:
        raise AssertionError("nobody asked for that")


class Guest:
    """Keeps every question, and answers when it is told to."""

    def __init__(self) -> None:
        self.report = Report()
        self.asked: list[Answer] = []
        self.report.update({"n": 0}, 1.0)

    def hello(self) -> Json:
        return {"protocol": 1}

    def events(self, since: int) -> tuple[Event, ...]:
        return ()

    def last_event(self) -> int:
        return 0

    def boot_id(self) -> str:
        return "boot"

    def prepare(self) -> None: ...

    def call(self, method: str, params: Json, answer: Answer) -> bool:
        self.asked.append(answer)
        return method != "nonsense"


class Session:
    def __init__(self) -> None:
        self.line, self.guest = Line(), Guest()
        self.conversation = Conversation(self.line, self.guest)
        self.asked = 0

    def ask(self, method: str, **params: Json) -> int:
        self.asked += 1
        self.write({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params})
        return self.asked

    def ack(self, revision: int) -> None:
        self.write({"jsonrpc": "2.0", "method": "ack", "params": {"revision": revision}})

    def write(self, message: Json) -> None:
        self.conversation.receive(b"\x1e" + json.dumps(message).encode() + b"\n")

    def changes(self, n: int) -> None:
        self.guest.report.update({"n": n}, 1.0)
        self.conversation.publish()

    def statuses(self) -> list[Json]:
        return [m["params"] for m in self.line.sent if m.get("method") == "status"]


@pytest.fixture
def session() -> Session:
    return Session()


def test_a_second_hello_loses_no_answer(session: Session) -> None:
    first = session.ask("apply")
    session.ask("hello")
    session.guest.asked[0]({"accepted": "new"}, None)
    assert [m["id"] for m in session.line.sent] == [2, first]


def test_hello_without_a_common_protocol(session: Session) -> None:
    session.ask("hello", protocols=[2])
    assert session.line.sent[0]["error"]["code"] == -32004


def test_one_status_is_on_its_way_and_the_rest_is_merged(session: Session) -> None:
    session.ask("subscribe")
    for n in (1, 2, 3):
        session.changes(n)
    assert [s["patch"] for s in session.statuses()] == [{"n": 1}]
    session.ack(session.statuses()[0]["revision"])
    session.conversation.publish()
    assert [s["patch"] for s in session.statuses()] == [{"n": 1}, {"n": 3}]
    assert session.statuses()[1]["base"] == session.statuses()[0]["revision"]


def test_what_was_never_sent_is_not_acknowledged(session: Session) -> None:
    session.ask("subscribe")
    session.changes(1)
    session.ack(424242)
    session.changes(2)
    assert len(session.statuses()) == 1


def test_a_full_line_gets_the_status_later(session: Session) -> None:
    session.ask("subscribe")
    session.line.pending_bytes = 1
    session.changes(1)
    session.line.pending_bytes = 0
    session.changes(2)
    assert [s["patch"] for s in session.statuses()] == [{"n": 2}]


def test_who_comes_back_gets_what_it_missed(session: Session) -> None:
    had = session.guest.report.revision
    session.changes(1)
    session.ask("subscribe", have={"bootId": "boot", "revision": had})
    assert session.line.sent[0]["result"] == {"revision": had}
    session.conversation.publish()
    assert session.statuses()[0]["patch"] == {"n": 1}


def test_another_boot_is_told_everything(session: Session) -> None:
    session.ask("subscribe", have={"bootId": "another", "revision": session.guest.report.revision})
    assert session.line.sent[0]["result"]["status"] == {"n": 0}


def test_too_many_questions_at_once(session: Session) -> None:
    for _ in range(OUTSTANDING_MAX):
        session.ask("apply")
    assert session.line.sent == []
    session.ask("apply")
    assert session.line.sent[0]["error"]["code"] == -32003
    session.guest.asked[0]({}, None)
    session.ask("apply")
    assert len(session.guest.asked) == OUTSTANDING_MAX + 1


def test_a_flood_in_one_read_is_answered_as_far_as_a_host_may_ask(session: Session) -> None:
    status = b'\x1e{"jsonrpc":"2.0","id":7,"method":"status"}\n'
    session.conversation.receive(status * 1000)
    answers = ["result" if "result" in m else m["error"]["code"] for m in session.line.sent]
    assert answers == ["result"] * OUTSTANDING_MAX + [-32003] * (1000 - OUTSTANDING_MAX)
    session.conversation.receive(status)
    assert "result" in session.line.sent[-1]


def test_a_new_host_is_greeted_behind_what_the_one_before_has_left(session: Session) -> None:
    ping, hello = (b'\x1e{"jsonrpc":"2.0","id":7,"method":"%s"}\n' % m for m in (b"ping", b"hello"))
    session.conversation.receive(ping * (OUTSTANDING_MAX + 1) + hello)
    assert session.line.sent[-1]["result"] == {"protocol": 1}
    session.conversation.receive(hello * 1000)
    assert session.line.sent[-1]["error"]["code"] == -32003


def test_a_refusal_that_is_too_long_for_the_host_is_shortened(session: Session) -> None:
    session.ask("hello", limits={"messageBytes": 4096})
    asked = session.ask("apply")
    faults = [Fault(0, 0, f"spec.k{n}", "unknown kind") for n in range(1000)]
    session.guest.asked[0](None, InvalidSpec(*faults))
    answer = session.line.sent[-1]
    assert (answer["id"], answer["error"]["code"]) == (asked, -32602)


def test_the_limit_of_the_host_before_is_forgotten(session: Session) -> None:
    session.ask("hello", limits={"messageBytes": 4096})
    session.ask("hello")
    asked = session.ask("apply")
    session.guest.asked[0]({"notes": "x" * 5000}, None)
    assert session.line.sent[-1]["id"] == asked
    assert "result" in session.line.sent[-1]


def test_an_event_that_is_too_long_for_the_host_holds_up_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.ask("hello", limits={"messageBytes": 4096})
    session.ask("subscribe")
    event = Event(1, "", "lamp", "Broke", "\N{FIRE}" * 1024)
    monkeypatch.setattr(session.guest, "events", lambda since: (event,) if since < 1 else ())
    session.changes(1)
    assert [s["patch"] for s in session.statuses()] == [{"n": 1}]


def test_a_status_that_is_too_long_for_the_host_is_told_as_far_as_it_fits(session: Session) -> None:
    session.ask("hello", limits={"messageBytes": 4096})
    session.ask("subscribe")

    def changes(n: int, length: int) -> None:
        session.guest.report.update({"n": n, "observed": {"run": "x" * length, "cpus": n}}, float(n))
        session.conversation.publish()

    known = session.line.sent[-1]["result"]["status"]
    for n, length in ((1, 9000), (2, 9001), (3, 10)):
        changes(n, length)
        told = session.statuses()[-1]
        known = apply_patch(known, told["patch"])
        session.ack(told["revision"])
        cut = {"n": n, "observed": {"cpus": n}, "inventory": {}, "leftOut": ["observed.run"]}
        assert known == (cut if length > 4096 else session.guest.report.document)

    changes(4, 9002)
    for asked in ("status", "subscribe"):
        session.ask(asked)
        assert session.line.sent[-1]["result"]["status"]["leftOut"] == ["observed.run"]


def test_who_comes_back_is_patched_from_what_it_was_told(session: Session) -> None:
    session.ask("hello", limits={"messageBytes": 4096})
    session.guest.report.update({"observed": {"run": "x" * 9000, "cpus": 1}}, 5.0)
    session.ask("subscribe")
    known = session.line.sent[-1]["result"]
    session.ask("hello", limits={"messageBytes": 4096})
    session.ask("subscribe", have={"bootId": "boot", "revision": known["revision"]})
    session.guest.report.update({"observed": {"run": "short", "cpus": 1}}, 6.0)
    session.conversation.publish()
    assert apply_patch(known["status"], session.statuses()[-1]["patch"]) == session.guest.report.document


def test_a_patch_that_is_too_long_for_the_host_makes_way_for_the_status(session: Session) -> None:
    def changes(second: float, name: str, number: int) -> None:
        apps = {f"{name}-{n}": "1" for n in range(number)}
        session.guest.report.update({"inventory": {"apps": apps}}, second)
        session.conversation.publish()

    session.ask("hello", limits={"messageBytes": 4096})
    changes(2.0, "an-application", 100)
    session.ask("subscribe")
    changes(3.0, "another-application", 100)
    assert [s.get("status") for s in session.statuses()] == [session.guest.report.document]
    session.ack(session.statuses()[-1]["revision"])
    changes(4.0, "another-application", 99)
    assert session.statuses()[-1]["patch"] == {"inventory": {"apps": {"another-application-99": None}}}


def test_who_comes_back_with_more_room_is_told_what_was_left_out(session: Session) -> None:
    session.guest.report.update({"observed": {"run": "x" * 9000}}, 5.0)
    session.ask("hello", limits={"messageBytes": 4096})
    session.ask("subscribe")
    known = session.line.sent[-1]["result"]
    assert known["status"]["leftOut"] == ["observed.run"]
    session.ask("hello", limits={"messageBytes": 65536})
    session.ask("subscribe", have={"bootId": "boot", "revision": known["revision"]})
    assert session.line.sent[-1]["result"]["status"] == session.guest.report.document


def test_who_comes_back_with_less_room_is_patched_from_the_whole(session: Session) -> None:
    session.guest.report.update({"observed": {"run": "x" * 9000}}, 5.0)
    session.ask("hello", limits={"messageBytes": 65536})
    session.ask("subscribe")
    known = session.line.sent[-1]["result"]
    session.ask("hello", limits={"messageBytes": 4096})
    session.ask("subscribe", have={"bootId": "boot", "revision": known["revision"]})
    assert "status" not in session.line.sent[-1]["result"]
    session.guest.report.update({"observed": {"run": "y" * 9000}}, 6.0)
    session.conversation.publish()
    told = apply_patch(known["status"], session.statuses()[-1]["patch"])
    assert told == {"observed": {}, "inventory": {}, "leftOut": ["observed.run"]}


def test_garbage_has_one_answer_for_each_read(session: Session) -> None:
    session.conversation.receive(b"\x1e{\n\x1e[\n\x1e}\n")
    assert [m["error"]["code"] for m in session.line.sent] == [-32700]


def test_an_unknown_method_is_said_and_forgotten(session: Session) -> None:
    session.ask("nonsense")
    assert session.line.sent[0]["error"]["code"] == -32601
