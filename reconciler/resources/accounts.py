"""Accounts: who may log in to the guest, with what groups, password and SSH keys.

The rules of this kind:

1. Only accounts that are named are managed, and of each only what is written.
2. What stands in the way of one account (a group that is missing, a file that is not
   safe) is an obstacle: it is said, and never keeps another account waiting.
3. A password is given once, and is its owner's from then on: who changes it is not fought.
4. Locked is locked for SSH keys too: the password is, and the account has expired.
5. Of SSH keys only those are removed that bear our mark.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf
from typing import ClassVar, Protocol

from reconciler.errors import DriverError, Fault, InvalidSpec, ReconcilerError
from reconciler.resource import (
    Action,
    Change,
    Deed,
    Driver,
    Json,
    Notice,
    Past,
    Phase,
    Resource,
    Rules,
    Touch,
    Verdict,
)
from reconciler.subjects.listing import first_few
from reconciler.subjects.people.acts import VERBS, actions, after
from reconciler.subjects.people.changes import (
    Account,
    Observed,
    displaced,
    hash_is_due,
    is_locked,
    judged,
    shown,
)
from reconciler.subjects.people.rules import FIELDS, NAME, USERS_MAX, User, user_of
from reconciler.subjects.refusals import Refusals

BUSY_S = 10.0  # between two looks whether the processes of an account have ended
FAILED_S = 15.0  # until what failed for one account is tried again; others must not wait for it
MENDED_S = 60.0  # between two looks whether somebody has mended a home, of which nothing tells us
ASK_S = 5.0  # in one look, until crypt(3) is asked of no more hashes: it takes up to as long for each
ASK_AGAIN_S = 600.0  # a refusal may have been for want of memory or time
_NAMED_MAX = 5  # in one message; the rest is said when these are mended
_WORDS = {"present": {}, "absent": {"state": "absent"}, "locked": {"locked": True}}


@dataclass(frozen=True, kw_only=True)
class Desired:
    """By name."""

    users: Mapping[str, User] = field(default_factory=dict)


@dataclass(frozen=True)
class Databases:
    """What the files say of all local accounts."""

    accounts: Mapping[str, Account]  # without what belongs to them elsewhere
    groups: Mapping[str, int]  # their numbers


class People(Driver, Protocol):
    """What this kind asks of the OS. Every act says what is not possible, by DriverError."""

    def boot_clock_s(self) -> float:
        """CLOCK_BOOTTIME in seconds."""

    def databases(self) -> Databases: ...

    def belongings(self, name: str, account: Account, *, keys: bool) -> Account:
        """The account with what is known of its home, and with `keys` where asked for."""

    def follow(self, homes: Collection[str]) -> None:
        """Wake the kind when the keys in these homes change."""

    def running(self) -> frozenset[int]:
        """The numbers of all accounts under which processes run."""

    def foreign(self, names: Collection[str]) -> frozenset[str]:
        """Those of the names, none of them local, that the guest knows nevertheless."""

    def own_uid(self) -> int: ...

    def can_start(self, program: str) -> bool: ...

    def knows_hash(self, hash: str) -> bool:
        """Whether crypt(3) can compare a password with it."""

    def create(self, name: str, fields: Mapping[str, Json]) -> None:
        """Without its home folder.

        With `uid`, `shell`, `comment`, `expires`, primary `group` where there; `system` and `home`.
        """

    def complete(self, name: str) -> None:
        """Add what a crash has left out of the databases."""

    def modify(self, name: str, fields: Mapping[str, Json]) -> None: ...

    def set_groups(self, name: str, groups: Sequence[str]) -> None: ...

    def join(self, name: str, groups: Sequence[str]) -> None: ...

    def make_home(self, name: str) -> None:
        """Whole, with its owner, or not at all; nothing where there is one, be it whose it may."""

    def set_password(self, name: str, password: str) -> None:
        """Unless it is that already."""

    def set_hash(self, name: str, hash: str) -> None: ...

    def must_change(self, name: str) -> None: ...

    def lock(self, name: str) -> None:
        """The password, and the account by LOCK_DAY, at once."""

    def unlock(self, name: str, expires: int) -> None: ...

    def set_expires(self, name: str, expires: int) -> None: ...

    def write_keys(self, name: str, keys: Sequence[str]) -> None:
        """Make these our keys and no others, and see that sshd takes them."""

    def remove(self, name: str, *, home: bool) -> None: ...


class Accounts(Resource[Desired, Observed, People], kind="accounts"):
    summary = "Who may log in to the guest, with what groups, password and SSH keys."
    verbs = VERBS
    earliest = Phase.PEOPLE
    observe_deadline_s = 30.0  # twice ASK_S for crypt(3), and what a directory service may take
    act_deadline_s = 90.0  # useradd(8) waits for locks for 15 s, and a new uid is written into a whole home
    short: ClassVar[Rules] = {
        "type": "dict",
        "keysrules": NAME,
        "valuesrules": {
            "anyof": [{"type": "string", "allowed": list(_WORDS)}, {"type": "dict", "schema": FIELDS}],
            "meta": {"description": "What this account should be."},
        },
        "maxlength": USERS_MAX,
        "meta": {"description": "Accounts by name: accounts: {carol: {groups: [sudo]}, dave: absent}."},
    }
    rules: ClassVar[Rules] = {
        "users": {
            "type": "dict",
            "keysrules": NAME,
            "valuesrules": {"type": "dict", "schema": FIELDS},
            "maxlength": USERS_MAX,
            "required": True,
            "meta": {"description": "Accounts by name. Those that are not named are left alone."},
        },
    }

    def __init__(self, driver: People) -> None:
        super().__init__(driver)
        self._follows = False
        self._refusals: Refusals[str] = Refusals(FAILED_S)
        self._hashes: dict[str, str] = {}  # of the document in force; a plan must not hold them
        self._answers: dict[str, tuple[bool, float]] = {}  # of crypt(3), by hash, and until when they hold

    @staticmethod
    def expand(short: Json) -> dict[str, Json]:
        return {"users": {name: _WORDS[w] if isinstance(w, str) else w for name, w in short.items()}}

    @staticmethod
    def parse(normal: Mapping[str, Json]) -> Desired:
        users, faults = {}, []
        for name, fields in normal["users"].items():
            try:
                users[name] = user_of(name, fields)
            except InvalidSpec as error:
                faults += [Fault(0, 0, f"users.{name}.{f.path}", f.message) for f in error.faults]
        if faults:
            raise InvalidSpec(*faults)
        return Desired(users=users)

    def observe(self, desired: Desired, past: Past) -> Observed:
        driver: People = self.driver
        users = desired.users
        if not past.preview:
            self._hashes = {name: user.hash for name, user in users.items() if user.hash}
        if not users:
            if not past.preview and self._follows:
                self._follows = False
                driver.follow(())
            return Observed()
        known, now_s = driver.databases(), driver.boot_clock_s()
        accounts = {
            name: driver.belongings(name, known.accounts[name], keys=_has_keys(user))
            for name, user in users.items()
            if name in known.accounts
        }
        failed = self._refusals.standing(past, now_s)
        foreign: frozenset[str] = frozenset()
        if missing := users.keys() - accounts.keys():
            try:
                foreign = driver.foreign(missing)
            except DriverError as error:  # those that it may have wait for it, and no other
                failed |= dict.fromkeys(missing, str(error))
        if not past.preview:
            self._follows = True
            driver.follow({account.home for name, account in accounts.items() if _has_keys(users[name])})
        observed = Observed(
            boot_clock_s=now_s,
            named=frozenset(users),
            accounts=accounts,
            foreign=foreign,
            protected=frozenset(n for n, a in accounts.items() if a.uid in (0, driver.own_uid())),
            groups=known.groups,
            failed=failed,
            owners={account.uid: name for name, account in known.accounts.items()},
            shells=frozenset(u.shell for u in users.values() if u.shell and driver.can_start(u.shell)),
            # With a preview come none; with the document itself they will.
            secrets=frozenset(
                name
                for name, user in users.items()
                if user.password and (past.preview or self.secrets.has(_secret(name)))
            ),
            generation=past.generation,
            deeds=past.deeds,
        )
        if any(displaced(name, user, observed) for name, user in users.items()):
            observed = replace(observed, running=driver.running())
        return self._asked(users, observed, past)

    def _asked(self, users: Mapping[str, User], observed: Observed, past: Past) -> Observed:
        """With what crypt(3) says of the hashes that are due; of many, some are left for the next look."""
        driver: People = self.driver
        due = {name: user.hash for name, user in users.items() if hash_is_due(name, user, observed)}
        written, now_s = {user.hash for user in users.values()}, observed.boot_clock_s
        answers = {
            hash: answer for hash, answer in self._answers.items() if hash in written and now_s < answer[1]
        }
        ends_s = driver.boot_clock_s() + ASK_S
        for hash in due.values():
            if hash not in answers and driver.boot_clock_s() < ends_s:
                known = driver.knows_hash(hash)
                answers[hash] = known, inf if known else driver.boot_clock_s() + ASK_AGAIN_S
        if not past.preview:
            self._answers = answers
        return replace(
            observed,
            unusable=frozenset(name for name, hash in due.items() if not answers.get(hash, (True,))[0]),
            unasked=frozenset(name for name, hash in due.items() if hash not in answers),
        )

    @staticmethod
    def diff(desired: Desired, observed: Observed) -> tuple[Change, ...]:
        return tuple(judged(desired.users, observed)[0])

    @staticmethod
    def plan(desired: Desired, changes: Sequence[Change]) -> tuple[Action, ...]:
        by_name: dict[str, list[Change]] = {}
        for change in changes:
            by_name.setdefault(change.target, []).append(change)
        plans = (actions(name, desired.users[name], of_it) for name, of_it in by_name.items())
        # Last, as it is the one that may fail for what happens meanwhile.
        return tuple(sorted(chain(*plans), key=lambda action: action.verb == "remove"))

    @staticmethod
    def foresee(observed: Observed, action: Action) -> Observed:
        accounts = dict(observed.accounts)
        have = accounts.pop(action.target, Account())
        if action.verb != "remove":
            accounts[action.target] = after(have, action)
        deeds = observed.deeds
        if action.token is not None:
            deeds = {**deeds, action.token: Deed("done", "", observed.generation)}
        return replace(observed, accounts=accounts, deeds=deeds)

    @staticmethod
    def verdict(desired: Desired, observed: Observed, changes: Sequence[Change]) -> Verdict:
        if changes:
            wrong: dict[str, list[str]] = {}
            for change in changes:
                wrong.setdefault(change.target, []).append(change.field)
            words = first_few((f"{name}: {', '.join(f)}" for name, f in wrong.items()), _NAMED_MAX, "; ")
            return Verdict(False, "Drifted", words)
        obstacles = sorted(judged(desired.users, observed)[1], key=lambda obstacle: obstacle.waiting)
        if not obstacles:
            count = len(desired.users)
            return Verdict(True, "InSync", "1 account" if count == 1 else f"{count} accounts")
        words = first_few((f"{each.name} {each.why}" for each in obstacles), _NAMED_MAX, "; ")
        first = obstacles[0]
        return Verdict(False, first.reason, words, waiting=first.waiting, failed=not first.waiting)

    @staticmethod
    def due_s(desired: Desired, observed: Observed) -> float | None:
        reasons = {obstacle.reason for obstacle in judged(desired.users, observed)[1]}
        waits = {"InUse": BUSY_S, "HashUnchecked": 0.0, "DriverError": FAILED_S, "HomeNotTheirs": MENDED_S}
        times = (observed.boot_clock_s + wait_s for reason, wait_s in waits.items() if reason in reasons)
        return min(times, default=None)

    @staticmethod
    def show(observed: Observed) -> Json:
        return {"users": {name: shown(account) for name, account in sorted(observed.accounts.items())}}

    @staticmethod
    def notices(before: Observed, after: Observed) -> tuple[Notice, ...]:
        out = []
        for name in sorted(before.named & after.named):
            old, new = before.accounts.get(name), after.accounts.get(name)
            if old is None or new is None:
                if old is not new:
                    out.append(Notice("AccountCreated" if new else "AccountRemoved", name))
            elif is_locked(old) is not is_locked(new):
                out.append(Notice("AccountLocked" if is_locked(new) else "AccountUnlocked", name))
        return tuple(out)

    @staticmethod
    def touches(desired: Desired) -> tuple[Touch, ...]:
        homes = (Touch("path", user.home) for user in desired.users.values() if user.home)
        return (*(Touch("user", name) for name in desired.users), *homes)

    def act(self, action: Action) -> None:
        driver: People = self.driver
        try:
            self._do(action)
        except ReconcilerError as error:
            # It is final for this account alone, and others must not wait for another document.
            self._refusals.note(action.target, str(error), driver.boot_clock_s())
            raise DriverError(str(error)) from error
        self._refusals.drop(action.target)

    def _do(self, action: Action) -> None:
        driver: People = self.driver
        name, value = action.target, action.value
        match action.verb:
            case "set-password":
                with self.secrets.take(_secret(name)) as secret:
                    driver.set_password(name, secret.text())
            case "set-hash":
                driver.set_hash(name, self._hashes[name])
            case "remove":
                driver.remove(name, home=value)
            case "complete" | "make-home" | "must-change" | "lock":
                getattr(driver, action.verb.replace("-", "_"))(name)
            case verb:
                getattr(driver, verb.replace("-", "_"))(name, value)


def _secret(name: str) -> str:
    return f"users.{name}.password"


def _has_keys(user: User) -> bool:
    return user.keys is not None or bool(user.keys_absent)
