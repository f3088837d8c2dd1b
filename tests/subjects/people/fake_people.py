"""A guest's accounts in memory, held to the port of the kind, and the kind over them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.documents import read
from reconciler.errors import DriverError
from reconciler.resource import Action, Deed, Json, Past, Phase
from reconciler.resources.accounts import Accounts, Databases, Desired, People
from reconciler.secret import Safe, Secret
from reconciler.subjects.people.acts import after
from reconciler.subjects.people.changes import Account, Observed

ALICE = Account(uid=1000, gid=1000, home="/home/alice", shell="/bin/bash", hash="$old", home_there=True)
ROOT = Account(uid=0, gid=0, home="/root", shell="/bin/bash", hash="*", home_there=True)
WWW = Account(uid=33, gid=33, home="/var/www", shell="/usr/sbin/nologin", hash="*")
GROUPS = {"root": 0, "adm": 4, "sudo": 27, "www-data": 33, "alice": 1000}


@dataclass
class FakePeople:
    """What each act does is what the kind foresees of it, but for what a real guest decides itself."""

    held: dict[str, Account] = field(default_factory=lambda: {"root": ROOT, "alice": ALICE, "www-data": WWW})
    directory: frozenset[str] | DriverError = frozenset()
    busy: frozenset[int] = frozenset()
    strange_hashes: frozenset[str] = frozenset()
    refuses: dict[str, str] = field(default_factory=dict)  # what goes wrong, by account
    done: list[tuple[str, str]] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)  # passwords and hashes
    followed: Collection[str] = ()
    looks: int = 0
    asked: list[str] = field(default_factory=list)  # hashes, of crypt(3)
    hash_takes_s: float = 0.0
    now_s: float = 100.0

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return self.now_s

    def databases(self) -> Databases:
        self.looks += 1
        return Databases(self.held, GROUPS)

    def belongings(self, name: str, account: Account, *, keys: bool) -> Account:
        return account

    def follow(self, homes: Collection[str]) -> None:
        self.followed = homes

    def running(self) -> frozenset[int]:
        return self.busy

    def foreign(self, names: Collection[str]) -> frozenset[str]:
        if isinstance(self.directory, DriverError):
            raise self.directory
        return self.directory & frozenset(names)

    def own_uid(self) -> int:
        return 0

    def can_start(self, program: str) -> bool:
        return program in ("/bin/sh", "/bin/bash")

    def knows_hash(self, hash: str) -> bool:
        self.asked.append(hash)
        self.now_s += self.hash_takes_s
        return hash not in self.strange_hashes

    def create(self, name: str, fields: Mapping[str, Json]) -> None:
        self._do("create", name, dict(fields))
        uid = fields.get("uid", max(account.uid for account in self.held.values()) + 1)
        self.held[name] = replace(self.held[name], uid=uid, gid=uid)

    def complete(self, name: str) -> None:
        self._do("complete", name)

    def modify(self, name: str, fields: Mapping[str, Json]) -> None:
        self._do("modify", name, dict(fields))

    def set_groups(self, name: str, groups: Sequence[str]) -> None:
        self._do("set-groups", name, list(groups))

    def join(self, name: str, groups: Sequence[str]) -> None:
        self._do("join", name, list(groups))

    def make_home(self, name: str) -> None:
        self._do("make-home", name)

    def set_password(self, name: str, password: str) -> None:
        self._do("set-password", name)
        self.given[name] = password

    def set_hash(self, name: str, hash: str) -> None:
        self._do("set-hash", name)
        self.held[name] = replace(self.held[name], hash=hash)
        self.given[name] = hash

    def must_change(self, name: str) -> None:
        self._do("must-change", name)

    def lock(self, name: str) -> None:
        self._do("lock", name)

    def unlock(self, name: str, expires: int) -> None:
        self._do("unlock", name, expires)

    def set_expires(self, name: str, expires: int) -> None:
        self._do("set-expires", name, expires)

    def write_keys(self, name: str, keys: Sequence[str]) -> None:
        self._do("write-keys", name, list(keys))

    def remove(self, name: str, *, home: bool) -> None:
        self._do("remove", name, home)

    def _do(self, verb: str, name: str, value: Json = None) -> None:
        if name in self.refuses:
            raise DriverError(self.refuses[name])
        self.done.append((verb, name))
        have = self.held.pop(name, Account())
        if verb != "remove":
            self.held[name] = after(have, Action(verb, name, value=value))


PORT: People = FakePeople()  # holds the fake to the port, for the type checker


class Guest:
    """The kind over a guest in memory, with a store and secrets of the test's own."""

    def __init__(self, **accounts: Account) -> None:
        self.people = FakePeople()
        self.people.held |= accounts
        self.kind = Accounts(self.people)
        self.safe = Safe()
        self.kind.secrets = self.safe.of("accounts")
        self.deeds: dict[str, Deed] = {}
        self.generation = 0
        self.desired = Desired()
        self.seen = Observed()

    def write(self, accounts: str, **secrets: str) -> None:
        """A new document, with passwords by name."""
        (document,) = read(f"accounts: {accounts}")
        self.desired = Accounts.parse(document.normal["accounts"])
        self.generation += 1
        kept = {("accounts", f"users.{n}.password"): Secret(p.encode()) for n, p in secrets.items()}
        self.safe.put(kept, 0.0)
        self.kind.secrets = self.safe.of("accounts")

    def plan(self) -> tuple[Action, ...]:
        past = Past(generation=self.generation, boot_id="b", deeds=dict(self.deeds))
        self.seen = self.kind.observe(self.desired, past)
        return Accounts.plan(self.desired, Accounts.diff(self.desired, self.seen))

    def act(self, action: Action) -> None:
        try:
            self.kind.act(action)
        except DriverError as error:
            self._note(action.token, "refused", str(error))
            raise
        self._note(action.token, "done")

    def _note(self, token: str | None, state: Any, message: str = "") -> None:
        if token is not None:
            self.deeds.pop(token, None)
            self.deeds[token] = Deed(state, "b", self.generation, message)

    def settle(self, accounts: str = "", **secrets: str) -> list[tuple[str, str]]:
        """Bring a document about; what was done. A second pass must have nothing to do."""
        if accounts:
            self.write(accounts, **secrets)
        self.people.done.clear()
        for action in self.plan():
            assert action.verb in Accounts.verbs  # or a policy could not name it
            assert action.phase is Phase.PEOPLE
            assert "$6$" not in repr(action)
            self.act(action)
        assert self.plan() == ()
        return list(self.people.done)

    def verdict(self) -> tuple[bool, str, str]:
        verdict = Accounts.verdict(self.desired, self.seen, Accounts.diff(self.desired, self.seen))
        return verdict.ready, verdict.reason, verdict.message


def verbs(done: list[tuple[str, str]]) -> str:
    return " ".join(verb for verb, _ in done)
