"""What a host may ask, tried on the daemon as it runs."""

import base64
import json
import time
from hashlib import sha256
from pathlib import Path

import pytest

from guest_runtime.methods import READING_MAX, Methods, _Preview, preview
from guest_runtime.validation import Validation
from reconciler.errors import Busy, Forbidden, ReconcilerError
from reconciler.loop import Loop, Setting
from reconciler.policy import Policy
from reconciler.resource import Json, Past
from reconciler.store import StateFile, Store
from reconciler.track import Answer
from tests.guest_runtime.test_daemon import Host, Start, start
from tests.lamps import Lamp, Lamps, World

__all__ = ["start"]  # a fixture


def test_generations(start: Start) -> None:
    host = Host(start()[1])
    spec = {"hostname": "web-01"}
    first = host.call("apply", generation=3, spec=spec)
    assert first["accepted"] == "new"
    assert host.call("apply", generation=3, spec=spec)["accepted"] == "same"
    assert host.call("apply", generation=3, spec={"hostname": {"static": "web-01"}})["accepted"] == "same"
    held = {"generation": 3, "digest": first["digest"]}
    assert host.call("apply", generation=2, spec=spec)["data"] == held
    assert host.call("apply", generation=3, spec={"hostname": "web-02"})["code"] == -32001
    assert host.call("spec")["spec"] == {"hostname": {"static": "web-01"}}


def test_a_refused_document_changes_nothing_and_is_said(start: Start) -> None:
    host = Host(start()[1])
    host.call("apply", generation=1, spec={"hostname": "web-01"})
    refused = host.call("apply", generation=2, spec={"power": "of", "hostname": "web-02"})
    assert refused["code"] == -32602
    assert refused["data"]["faults"][0]["path"] == "spec.power"
    assert host.call("spec")["generation"] == 1
    host.call("apply", generation=2, spec={"hostname": "web-02"})
    assert host.call("spec")["generation"] == 2


def test_another_guests_document_is_refused(start: Start) -> None:
    answer = Host(start()[1]).call("apply", generation=1, spec={}, guest="surely-not-this-one")
    assert answer["code"] == -32001


def test_a_plan_acts_on_nothing_and_knows_what_was_rehearsed(start: Start) -> None:
    host = Host(start()[1])
    spec = {"hostname": "web-01"}
    plan = host.call("plan", spec=spec)["kinds"]["hostname"]
    assert {action["verb"] for action in plan["actions"]}
    assert host.call("spec")["generation"] == 0
    host.converge(1, spec)
    assert host.call("plan", spec=spec)["kinds"]["hostname"]["changes"] == []


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(Policy(acts=("test-lamp.set",)), id="an-act"),
        pytest.param(Policy(paths=("/srv",)), id="a-path"),
    ],
)
def test_a_plan_that_the_policy_forbids_says_so(policy: Policy) -> None:
    document = {"lit": True, "path": "/srv/lamp"}
    with pytest.raises(Forbidden):
        preview(Lamp(Lamps()), document, Past(), policy)
    assert preview(Lamp(Lamps()), document, Past(), Policy())["actions"]


def test_events_from_where_they_were_left(start: Start) -> None:
    host = Host(start()[1])
    host.converge(1, {"hostname": "web-01"})
    told = host.call("events")
    seqs = [event["seq"] for event in told["events"]]
    assert seqs == list(range(1, told["next"]))
    assert host.call("events", since=told["next"] - 1)["events"][0]["seq"] == told["next"] - 1
    assert host.call("events", since=told["next"])["events"] == []
    assert host.call("events", since=told["next"] + 9)["events"][0]["seq"] == 1  # of an earlier agent


def test_only_a_freeze_that_holds_is_renewed(start: Start) -> None:
    host = Host(start()[1])
    assert host.call("renew", kind="filesystems", generation=1, lease=9)["code"] == -32006
    assert host.call("renew", kind="hostname", generation=1, lease=9)["code"] == -32004
    assert host.call("renew", kind="filesystems", generation=1, lease=0)["code"] == -32602


def test_a_long_document_comes_in_chunks(start: Start) -> None:
    host = Host(start()[1])
    body = json.dumps({"hostname": "web-01"}).encode()
    name = "sha256:" + sha256(body).hexdigest()
    assert host.call("transfer.begin", digest=name, size=len(body))["offset"] == 0
    half = len(body) // 2
    for offset in (0, 0, half):  # one of them twice
        data = base64.b64encode(body[offset : offset + half + 1]).decode()
        told = host.call("transfer.chunk", digest=name, offset=offset, data=data)
    assert told["offset"] == len(body)
    assert host.call("apply", generation=1, transfer=name)["accepted"] == "new"
    assert host.call("apply", generation=2, transfer=name)["code"] == -32006  # it is used up
    assert host.call("no.such.method")["code"] == -32601


def test_few_documents_are_read_at_once_whoever_has_left_meanwhile(tmp_path: Path) -> None:
    reading: list[Answer] = []
    errors: list[ReconcilerError | None] = []
    store = Store(StateFile(str(tmp_path)), "boot")
    methods = Methods(
        loop=Loop(Setting(resources={}), store, lambda s: ""),
        store=store,
        validation=Validation(),
        background=lambda run, answer: reading.append(answer),
        revision=lambda: 0,
        clock_s=lambda: 0.0,
        rehearsing=True,
    )

    def ask(method: str, params: Json) -> None:
        methods.call(method, params, lambda result, error: errors.append(error))

    for _ in range(READING_MAX):
        ask("plan", {"spec": {}})
    assert errors == []
    ask("apply", {"spec": {}, "generation": 1})
    assert isinstance(errors.pop(), Busy)
    reading[0]({"normal": {}, "digest": ""}, None)
    assert errors == [None]
    ask("apply", {"spec": {}, "generation": 1})
    assert len(reading) == READING_MAX + 1


def test_secrets_are_kept_beside_the_document_and_not_in_it(tmp_path: Path) -> None:
    store = Store(StateFile(str(tmp_path)), "boot")
    loop = Loop(Setting(resources={}), store, str)
    now_s = [100.0]
    methods = Methods(
        loop=loop,
        store=store,
        validation=Validation(),
        background=lambda run, answer: answer(run(), None),
        revision=lambda: 1,
        clock_s=lambda: now_s[0],
        rehearsing=False,
    )
    told: list[tuple[Json, ReconcilerError | None]] = []

    def answer(result: Json, error: ReconcilerError | None) -> None:
        told.append((result, error))

    word = base64.b64encode(b"kept-under-the-mat").decode()
    params = {"generation": 1, "spec": {"hostname": "web-01"}, "secrets": {"user": {"credential": word}}}
    methods.call("apply", params, answer)
    methods.validation.close()
    store.flush()
    assert methods.safe.of("user").has("credential")
    assert "kept" not in (tmp_path / "state.json").read_text()
    assert word not in str(told)

    # A retry without them takes none away; another document does.
    methods.call("apply", {"generation": 1, "spec": {"hostname": "web-01"}}, answer)
    assert methods.safe.of("user").has("credential")
    methods.call("apply", {"generation": 2, "spec": {"hostname": "web-02"}}, answer)
    methods.validation.close()
    assert not methods.safe.of("user").has("credential")

    methods.call("apply", params | {"generation": 3, "secrets": {"user": word}}, answer)
    assert isinstance(told[-1][1], ReconcilerError)
    assert word not in str(told[-1][1])
    assert loop.spec.generation == 2

    methods.rehearsing = True
    methods.call("apply", params | {"generation": 4}, answer)
    methods.validation.close()
    with methods.safe.of("user").take("credential") as secret:
        assert secret.data == b""  # it came, and nobody will use it


def test_secrets_that_a_retry_brings_are_looked_at_soon() -> None:
    world = World({"test-lamp": Lamps()})
    methods = Methods(
        loop=world.loop,
        store=world.store,
        validation=Validation(),
        background=lambda run, answer: answer({"normal": {"test-lamp": {"lit": True}}, "digest": "d"}, None),
        revision=lambda: 1,
        clock_s=lambda: world.now_s,
        rehearsing=False,
    )
    params = {"generation": 1, "spec": {"test-lamp": {"lit": True}}}
    methods.call("apply", params, lambda result, error: None)
    world.settle()
    world.pass_time(1)
    looks = world.kinds["test-lamp"].looks
    word = base64.b64encode(b"kept-under-the-mat").decode()
    secrets = {"test-lamp": {"word": word}, "unheard-of": {"word": word}}
    methods.call("apply", params | {"secrets": secrets}, lambda result, error: None)
    world.settle()
    assert world.kinds["test-lamp"].looks == looks + 1


def test_the_time_is_taken_where_a_document_asks_for_it(start: Start) -> None:
    host = Host(start()[1])

    def tell(**other: Json) -> Json:
        clocks = {name: clock_s for name, clock_s in host.call("ping").items() if name != "echo"}
        return host.call("clock", **clocks | {"time": time.time() - 600.0, "error": 0.5} | other)

    assert tell()["code"] == -32006
    host.call("apply", generation=1, spec={"clock": {"source": "host"}})
    assert host.call("hello", protocols=[1])["kinds"]["clock"] == {"usable": True, "wants": "time"}
    assert tell()["ahead"] == pytest.approx(600.0, abs=5.0)
    assert tell(time="noon")["code"] == -32602
    host.call("apply", generation=2, spec={"clock": {"source": "rtc"}})
    assert "wants" not in host.call("hello", protocols=[1])["kinds"]["clock"]
    assert tell()["code"] == -32006


@pytest.mark.parametrize(
    ("ends_all", "left"),
    [
        pytest.param(False, ["a.frozen", "b.frozen", "b.lit"], id="two-holds"),
        pytest.param(True, ["b.frozen", "b.lit"], id="one-of-them-ends-all"),
    ],
)
def test_a_preview_holds_nothing_that_is_to_be_switched_off(
    ends_all: bool, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World({"a": Lamps(), "b": Lamps()})
    monkeypatch.setattr(type(world.loop.tracks["b"].resource), "ends_all", ends_all)
    told: list[Json] = []
    normal = {"a": {"frozen": True}, "b": {"frozen": True, "lit": True}}
    valid = {"normal": normal, "digest": "sha256:"}
    _Preview(world.loop, world.store, valid, lambda result, error: told.append(result)).begin()
    world.settle()
    kinds = told[0]["kinds"]
    found = sorted(f"{kind}.{act['target']}" for kind in kinds for act in kinds[kind]["actions"])
    assert found == left
    assert world.kinds["b"].acts == []
