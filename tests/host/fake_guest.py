"""A guest that keeps the channel's contract in memory, written without the code under test."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from reconciler.status import merge_patch

Json = Any


def frame(message: Mapping[str, Json]) -> bytes:
    return b"\x1e" + json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


class FakeGuest:
    """State that outlives connections: what a store and a loop are in a real guest."""

    def __init__(self, name: str = "web-01") -> None:
        self.name, self.boot_id, self.boots = name, "boot-1", 1
        self.generation, self.spec = 0, {}  # type: int, dict[str, Json]
        self.revision, self.epoch = 1, 0
        self.freeze: dict[str, Json] | None = None
        self.last_freeze: dict[str, Json] | None = None
        self.limits = {"messageBytes": 1 << 20, "chunkBytes": 128 << 10, "transferBytes": 16 << 20}
        self.inventory: dict[str, Json] = {"memory": {"total": 1024, "free": 512}}
        self.events: list[dict[str, Json]] = []
        self.reasons: dict[str, str] = {}  # kinds that do not get there, and why
        self.errors: dict[str, dict[str, Json]] = {}  # methods that fail
        self.transfers: dict[str, bytearray] = {}
        self.calls: list[tuple[str, dict[str, Json]]] = []
        self.sessions: list[Session] = []
        self.on_call: Callable[[str], None] = lambda method: None

    @property
    def digest(self) -> str:
        text = json.dumps(self.spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + sha256(text.encode()).hexdigest() if self.generation else ""

    def hello(self) -> dict[str, Json]:
        kinds = {"hostname": {"usable": True}, "session": {"usable": False, "reason": "Unsupported"}}
        return {
            "protocol": 1,
            "agent": {"version": "0.1.0"},
            "name": self.name,
            "bootId": self.boot_id,
            "rehearsing": True,
            "kinds": kinds,
            "limits": self.limits,
            "generation": self.generation,
            "digest": self.digest,
            "revision": self.revision,
        }

    def status(self) -> dict[str, Json]:
        conditions = [
            {
                "type": kind,
                "status": "False" if kind in self.reasons else "True",
                "reason": self.reasons.get(kind, "InSync"),
                "message": "",
                "observedGeneration": self.generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "attempts": 0,
            }
            for kind in sorted(self.spec)
        ]
        filesystems: dict[str, Json] = {"mounts": []}
        filesystems |= {"freeze": self.freeze} if self.freeze else {}
        filesystems |= {"lastFreeze": self.last_freeze} if self.last_freeze else {}
        return {
            "observedGeneration": self.generation,
            "phase": "Degraded" if self.reasons else "Holding" if self.freeze else "Converged",
            "conditions": conditions,
            "observed": {"filesystems": filesystems, "hostname": self.spec.get("hostname", {})},
            "inventory": json.loads(json.dumps(self.inventory)),  # as it is now, not later
            "agent": {"version": "0.1.0", "bootId": self.boot_id, "protocol": 1},
        }

    def turn(self) -> None:
        """Something changed: tell whoever subscribed."""
        self.revision += 1
        for session in self.sessions:
            session.tell()

    def change(self, work: Callable[[], object]) -> None:
        """Do it and tell, in one go: a host that subscribes in between would be told of nothing."""
        work()
        self.turn()

    def reboot(self) -> None:
        self.boots += 1
        self.boot_id, self.revision, self.freeze = f"boot-{self.boots}", 1, None
        for session in list(self.sessions):
            session.hello()

    def lose(self, generation: int, spec: dict[str, Json]) -> None:
        """The agent is killed with this document on disk, and begins anew."""
        if self.freeze is not None:
            self.end_freeze("AgentDied")
        self.generation, self.spec = generation, spec
        self.revision += 1
        for session in list(self.sessions):
            session.hello()

    def end_freeze(self, how: str) -> None:
        assert self.freeze is not None
        self.last_freeze = {k: self.freeze[k] for k in ("epoch", "generation")} | {"ended": how}
        self.freeze = None
        if how != "Thawed":
            self.reasons["filesystems"] = "LeaseEnded"

    def adopt(self, generation: int, spec: dict[str, Json]) -> None:
        """Put a spec in force, and be so at once."""
        self.generation, self.spec = generation, spec
        self.reasons.pop("filesystems", None)
        if self.freeze is not None:
            self.end_freeze("Thawed")
        if spec.get("filesystems", {}).get("state") == "frozen":
            self.epoch += 1
            self.freeze = {"epoch": self.epoch, "generation": generation, "until": 60.0, "mounts": ["/"]}
        self.events.append({"seq": len(self.events) + 1, "kind": "document", "reason": "Accepted"})
        self.events[-1] |= {"time": "2026-01-01T00:00:00Z", "message": f"generation {generation}"}
        self.turn()

    # One method for each of the channel's; they return a result or raise Refusal.

    def do_apply(self, params: dict[str, Json]) -> Json:
        spec: dict[str, Json] = params.get("spec", {})
        if "transfer" in params:
            if params["transfer"] not in self.transfers:
                raise Refusal(-32006, "cannot use the transfer: forgotten")
            spec = json.loads(self.transfers[params["transfer"]])
        if params.get("guest", self.name) != self.name:
            raise Refusal(-32001, "cannot apply: another guest is meant")
        same = params["generation"] == self.generation and spec == self.spec
        if not same and params["generation"] <= self.generation:
            data = {"generation": self.generation, "digest": self.digest}
            raise Refusal(-32001, "cannot apply: the generation is taken", data)
        if not same:
            self.adopt(params["generation"], spec)
        accepted = "same" if same else "new"
        return {
            "generation": self.generation,
            "digest": self.digest,
            "accepted": accepted,
            "revision": self.revision,
        }

    def do_plan(self, params: dict[str, Json]) -> Json:
        kinds = {}
        for kind, want in params["spec"].items():
            have = self.spec.get(kind)
            change = {"target": kind, "field": "all", "want": want, "have": have}
            action = {"verb": "set", "target": kind, "phase": "change"}
            differs = have != want
            kinds[kind] = {"ready": not differs, "reason": "", "message": ""}
            kinds[kind] |= {"changes": [change] * differs, "actions": [action] * differs}
        return {"digest": "", "kinds": kinds}

    def do_spec(self, params: dict[str, Json]) -> Json:
        return {"generation": self.generation, "digest": self.digest, "spec": self.spec}

    def do_status(self, params: dict[str, Json]) -> Json:
        return {"revision": self.revision, "status": self.status()}

    def do_events(self, params: dict[str, Json]) -> Json:
        since = params.get("since", 0)
        return {
            "events": [e for e in self.events if e["seq"] >= since],
            "next": len(self.events) + 1,
            "lost": 0,
        }

    def do_renew(self, params: dict[str, Json]) -> Json:
        if self.freeze is None or self.freeze["generation"] != params["generation"]:
            raise Refusal(-32006, "cannot renew: nothing is frozen")
        return {"epoch": self.freeze["epoch"], "remaining": params["lease"]}

    def do_ping(self, params: dict[str, Json]) -> Json:
        return {"echo": params, "bootClock": 1.0}


class Refusal(Exception):
    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({"data": data} if data is not None else {})


class Session:
    """One connection: bytes in, bytes out through `send`."""

    def __init__(self, guest: FakeGuest, send: Callable[[bytes], None]) -> None:
        self.guest, self._send = guest, send
        self._buffer = b""
        self._told = 0
        self._in_flight = False
        self._base: dict[str, Json] | None = None
        self._base_revision = 0
        self._sent: tuple[int, dict[str, Json]] = (0, {})
        guest.sessions.append(self)

    def hello(self) -> None:
        self._base = None
        self._send(frame({"method": "hello", "params": self.guest.hello()}))

    def close(self) -> None:
        if self in self.guest.sessions:
            self.guest.sessions.remove(self)

    def receive(self, data: bytes) -> None:
        self._buffer += data
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            garbage, _, text = line.rpartition(b"\x1e")
            try:
                message = json.loads(text)
            except ValueError:
                garbage, message = text, None
            if not isinstance(message, dict):
                garbage, message = text, None
            if garbage.strip(b"\x1e"):
                self._send(frame({"id": None, "error": {"code": -32700, "message": "broken"}}))
            if message is not None:
                self._take(message)

    def tell(self) -> None:
        """Send a status, if one may be under way now and there is news."""
        guest = self.guest
        if self._base is None or self._in_flight or self._base_revision == guest.revision:
            return
        status = guest.status()
        self._sent, self._in_flight = (guest.revision, status), True
        patch = merge_patch(self._base, status)
        params = {"revision": guest.revision, "base": self._base_revision, "patch": patch}
        self._send(frame({"method": "status", "params": params}))

    def _take(self, message: dict[str, Json]) -> None:
        method, params = message["method"], message.get("params", {})
        if method == "ack":
            if params["revision"] == self._sent[0]:
                self._base_revision, self._base = self._sent
                self._in_flight = False
                self.tell()
            return
        self.guest.calls.append((method, params))
        try:
            self.guest.on_call(method)
            if method in self.guest.errors:
                raise Refusal(**self.guest.errors[method])
            result = self._result(method, params)
        except Refusal as refusal:
            self._send(frame({"id": message["id"], "error": refusal.error}))
        else:
            if result is not None:
                self._send(frame({"id": message["id"], "result": result}))

    def _result(self, method: str, params: dict[str, Json]) -> Json:
        if method == "hello":
            self._base, self._in_flight = None, False
            return self.guest.hello()
        if method == "subscribe":
            self._base, self._base_revision = self.guest.status(), self.guest.revision
            self._in_flight = False
            have = {"bootId": self.guest.boot_id, "revision": self.guest.revision}
            known = params.get("have") == have
            return {"revision": self.guest.revision} | ({} if known else {"status": self._base})
        if method.startswith("transfer."):
            return self._transfer(method, params)
        return getattr(self.guest, f"do_{method}")(params)

    def _transfer(self, method: str, params: dict[str, Json]) -> Json:
        # Late, as it is for this alone.
        import base64

        body = self.guest.transfers.setdefault(params["digest"], bytearray())
        if method == "transfer.chunk" and params["offset"] == len(body):
            body += base64.b64decode(params["data"])
        return {"offset": len(body)}
