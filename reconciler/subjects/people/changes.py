"""What is not as written of an account, and what stands in the way of mending it; pure."""

from binascii import crc32
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.resource import Change, Deed, Json
from reconciler.subjects.people.rules import LOCK_DAY, NEVER, User, date_of
from reconciler.subjects.people.ssh_keys import content, identity

UID_MIN = 1000  # of people, in login.defs(5) of every distribution; below it are services
NOBODY = (
    65_534  # whom the kernel names where there is no number; his home is /nonexistent, and must not exist
)
ENTRY = ("uid", "home", "shell", "comment")  # what one call of usermod(8) changes
# Without root nobody could mend the guest, and without the agent's account the host could not.
_KEPT = frozenset({"state", "uid", "home"})


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of one account in its file, as ssh_keys tells them apart."""

    ours: tuple[str, ...] = ()
    others: frozenset[str] = frozenset()  # identities, of those that stand without options
    mentioned: frozenset[str] = frozenset()  # contents, of all that are not ours
    loose: bool = False  # others can write there, and sshd takes none; see StrictModes of sshd_config(5)
    fault: str = ""  # why the file is not to be touched


@dataclass(frozen=True, kw_only=True)
class Account:
    """One local account: its lines in passwd(5), shadow(5) and group(5), and what belongs to it."""

    uid: int = -1  # -1: not known yet
    gid: int = -1
    comment: str = ""
    home: str = ""
    shell: str = ""
    groups: tuple[str, ...] = ()  # beside the primary one, sorted
    hash: str = field(default="!", repr=False)  # begins with ! while the password is locked
    expires: int = NEVER
    changed: int = NEVER  # the day of the last change of the password; 0: it must be changed
    whole: bool = True  # its lines are there, each of them: a crash may have left the first alone
    home_there: bool = False  # and its own
    home_taken: bool = False  # there is one, and it belongs to another number
    keys: Keys = Keys()


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The accounts that the document names, as far as there are such, and what bears on them."""

    boot_clock_s: float = 0.0
    named: frozenset[str] = frozenset()
    accounts: Mapping[str, Account] = field(default_factory=dict)
    foreign: frozenset[str] = frozenset()  # names that only a directory service knows
    running: frozenset[int] = frozenset()  # numbers that processes run under, where that matters
    failed: Mapping[str, str] = field(default_factory=dict)  # by name, what went wrong a moment ago
    protected: frozenset[str] = frozenset()  # of uid 0, and of the agent itself
    groups: Mapping[str, int] = field(default_factory=dict)  # the numbers of all that there are
    owners: Mapping[int, str] = field(default_factory=dict)  # names by number, of all accounts
    shells: frozenset[str] = frozenset()  # of those desired, what can be started
    unusable: frozenset[str] = frozenset()  # names whose new hash the guest's crypt(3) does not know
    unasked: frozenset[str] = frozenset()  # names whose new hash it was not asked about yet
    secrets: frozenset[str] = frozenset()  # names whose password has come with the document
    generation: int = 0
    deeds: Mapping[str, Deed] = field(default_factory=dict)  # by token


@dataclass(frozen=True)
class Opening(Change):
    """An account that is to be opened again, and until when."""

    expires: int = NEVER


@dataclass(frozen=True)
class Creation(Change):
    """An account that is to be made."""

    group: str = ""  # its primary one, where there is one of its name already


@dataclass(frozen=True)
class Obstacle:
    """Why something about one account cannot be brought about."""

    name: str
    reason: str
    why: str

    @property
    def waiting(self) -> bool:
        return self.reason in ("InUse", "HashUnchecked")


def is_locked(account: Account) -> bool:
    return account.expires == LOCK_DAY and account.hash.startswith(("!", "*"))


def judged(users: Mapping[str, User], seen: Observed) -> tuple[list[Change], list[Obstacle]]:
    """What is to be brought about, and what cannot be."""
    changes: list[Change] = []
    obstacles: list[Obstacle] = []
    for name, user in sorted(users.items()):
        if name in seen.foreign:
            why = "is not in /etc/passwd: a directory service has it"
            obstacles.append(Obstacle(name, "Unsupported", why))
            continue
        wrong = list(_changes(name, user, seen))
        if wrong and name in seen.failed:
            obstacles.append(Obstacle(name, "DriverError", f"is tried again later: {seen.failed[name]}"))
            continue
        for change in wrong:
            obstacle = _obstacle(change, user, seen)
            if obstacle is None:
                changes.append(change)
                continue
            obstacles.append(obstacle)
            if change.field == "state":
                break  # all else waits for it
        else:
            obstacles += _remarks(name, user, seen)
    return changes, obstacles


def displaced(name: str, user: User, seen: Observed) -> bool:
    """Whether its processes would stand in the way."""
    return name in seen.accounts and any(change.field in _KEPT for change in _changes(name, user, seen))


def has_home(user: User, uid: int) -> bool:
    if user.create_home is not None:
        return user.create_home
    number = uid if user.uid is None else user.uid
    return not user.system and not 0 <= number < UID_MIN and number != NOBODY


def first_day(user: User) -> int:
    """When an account expires from its creation on: who is to be kept out is never let in before."""
    if user.locked:
        return LOCK_DAY
    return NEVER if user.expires is None else user.expires


def password_token(name: str, generation: int) -> str:
    return f"password@{name}@{generation}"


def hash_is_due(name: str, user: User, seen: Observed) -> bool:
    """Whether its hash was not given yet, or there is no password at all."""
    have = seen.accounts.get(name, Account())
    if not user.hash or have.hash.lstrip("!") == user.hash:
        return False
    if not have.hash.strip("!*x"):
        return True
    given = [token for token in seen.deeds if token.startswith(f"hash.{name}@")]
    return not given or not given[-1].startswith(_hash_stem(name, user)) or not _done(given[-1], seen)


def _hash_stem(name: str, user: User) -> str:
    # An act of its own for each account, or those of others would let it be forgotten.
    return f"hash.{name}@{crc32(user.hash.encode()):08x}@"


def _done(token: str, seen: Observed) -> bool:
    return token in seen.deeds and seen.deeds[token].state == "done"


def _spent(token: str, seen: Observed) -> bool:
    return token in seen.deeds and seen.deeds[token].spent


def _changes(name: str, user: User, seen: Observed) -> Iterator[Change]:
    have = seen.accounts.get(name)
    if user.absent:
        if have is not None:
            yield Change(name, "state", "absent", "present")
        return
    if have is None:
        yield Creation(name, "state", "present", "absent", group=name if name in seen.groups else "")
        have = _new(name, user)
    if not have.whole:
        yield Change(name, "entry", "whole", "torn")
    for part in ENTRY:
        want = getattr(user, part)
        if want not in (None, getattr(have, part)):
            yield Change(name, part, want, getattr(have, part))
    if user.groups not in (None, have.groups):
        yield Change(name, "groups", user.groups, have.groups)
    if lacking := tuple(group for group in user.more_groups if group not in have.groups):
        yield Change(name, "moreGroups", lacking, have.groups)
    if has_home(user, have.uid) and not have.home_there:
        yield Change(name, "homeFolder", "there", "missing")
    yield from _secrets(name, user, seen)
    yield from _door(name, user, have, seen)
    yield from _keys(name, user, have)


def _new(name: str, user: User) -> Account:
    """What an account is right after its creation."""
    return Account(
        uid=-1 if user.uid is None else user.uid,
        home=home_of(name, user),
        shell=user.shell or "",
        comment=user.comment or "",
        expires=first_day(user),
    )


def home_of(name: str, user: User) -> str:
    """Where its home is from its creation on, whatever useradd's own default is: the policy asks."""
    return user.home or f"/home/{name}"


def _secrets(name: str, user: User, seen: Observed) -> Iterator[Change]:
    token = password_token(name, seen.generation)
    if user.password and not _spent(token, seen):
        yield Change(name, "password", token, "")
    if hash_is_due(name, user, seen):
        stem = _hash_stem(name, user)
        tries = sum(known.startswith(stem) for known in seen.deeds)
        yield Change(name, "passwordHash", f"{stem}{seen.generation}.{tries}", "")
    token = f"must-change.{name}@{user.must_change}"
    if user.must_change and not _spent(token, seen):
        yield Change(name, "mustChangePassword", token, "")


def _door(name: str, user: User, have: Account, seen: Observed) -> Iterator[Change]:
    """Locked, open, or open until a day."""
    if user.locked:
        # A new password opens what was locked, so it is locked again in the same plan.
        anew = any(_obstacle(change, user, seen) is None for change in _given(name, user, seen))
        if anew or not is_locked(have):
            yield Change(name, "locked", True, False)
        return
    until = have.expires if user.expires is None else user.expires
    shut = have.hash.startswith("!") and bool(have.hash.strip("!*"))
    if user.locked is False and (shut or (have.expires == LOCK_DAY and user.expires is None)):
        yield Opening(name, "locked", False, True, expires=NEVER if until == LOCK_DAY else until)
    elif until != have.expires:
        yield Change(name, "expires", until, have.expires)


def _given(name: str, user: User, seen: Observed) -> Iterator[Change]:
    return (change for change in _secrets(name, user, seen) if change.field != "mustChangePassword")


def _keys(name: str, user: User, have: Account) -> Iterator[Change]:
    ours = have.keys.ours
    if user.keys is not None:
        wanted = tuple(key for key in user.keys if identity(key) not in have.keys.others)
    else:
        wanted = tuple(key for key in ours if identity(key) not in user.keys_absent)
    if wanted != ours or (have.keys.loose and wanted):
        yield Change(name, "sshKeys", wanted, ours)


def _obstacle(change: Change, user: User, seen: Observed) -> Obstacle | None:
    name, part = change.target, change.field
    have = seen.accounts.get(name, Account())
    if name in seen.protected and (part in _KEPT or part == "expires" or (part == "locked" and user.locked)):
        return Obstacle(name, "Protected", f"keeps its {part}: the guest or the agent depends on it")
    if have.uid in seen.running and part in _KEPT:
        return Obstacle(name, "InUse", f"still has processes ({part})")
    if part == "state":
        return None if user.absent else _creation(name, user, seen)
    if part in ("groups", "moreGroups"):
        return _groups(name, user, seen)
    if part in ("uid", "shell"):
        return _number(name, user, seen) if part == "uid" else _shell(name, user, seen)
    if part == "password" and name not in seen.secrets:
        return Obstacle(name, "SecretMissing", _missing(str(change.want), seen))
    if part == "passwordHash":
        return _hash(name, seen)
    if part == "homeFolder" and have.home_taken:
        why = f"has no home: {have.home} belongs to somebody else; write createHome: false if that is meant"
        return Obstacle(name, "HomeNotTheirs", why)
    return _keys_obstacle(name, user, have) if part == "sshKeys" else None


def _creation(name: str, user: User, seen: Observed) -> Obstacle | None:
    if not user.system and 0 <= seen.groups.get(name, -1) < UID_MIN:
        return Obstacle(name, "NameTaken", "cannot be created: a group of the guest's own has that name")
    return _number(name, user, seen) or _shell(name, user, seen)


def _number(name: str, user: User, seen: Observed) -> Obstacle | None:
    owner = seen.owners.get(-1 if user.uid is None else user.uid, name)
    return (
        Obstacle(name, "NumberTaken", f"cannot have number {user.uid}: {owner} has")
        if owner != name
        else None
    )


def _shell(name: str, user: User, seen: Observed) -> Obstacle | None:
    if not user.shell or user.shell in seen.shells:
        return None
    return Obstacle(name, "NoSuchShell", f"cannot have shell {user.shell}: it cannot be started here")


def _groups(name: str, user: User, seen: Observed) -> Obstacle | None:
    lacking = sorted(set(user.groups or user.more_groups) - seen.groups.keys())
    return (
        Obstacle(name, "NoSuchGroup", f"cannot join {', '.join(lacking)}: no such group") if lacking else None
    )


def _hash(name: str, seen: Observed) -> Obstacle | None:
    if name in seen.unusable:
        return Obstacle(name, "HashUnusable", "has a passwordHash that crypt(3) of this guest refuses")
    if name in seen.unasked:
        return Obstacle(name, "HashUnchecked", "waits until crypt(3) was asked about its passwordHash")
    return None


def _keys_obstacle(name: str, user: User, have: Account) -> Obstacle | None:
    if have.keys.fault:
        return Obstacle(name, "KeysUnsafe", f"keeps its keys: {have.keys.fault}")
    if not (have.home_there or has_home(user, have.uid)):
        return Obstacle(name, "NoHome", "cannot have keys: it has no home folder")
    return None


def _missing(token: str, seen: Observed) -> str:
    deed = seen.deeds.get(token)
    why = f" ({deed.message})" if deed and deed.message else ""
    return f"has not got its password: the secret is not here{why}: apply the document again"


def _remarks(name: str, user: User, seen: Observed) -> Iterator[Obstacle]:
    """What is not as written, and for which nothing is to be done."""
    have = seen.accounts.get(name, Account())
    tokens = [password_token(name, seen.generation)] if user.password else []
    if user.must_change and have.changed != 0:
        tokens.append(f"must-change.{name}@{user.must_change}")
    if any(token in seen.deeds and seen.deeds[token].state == "begun" for token in tokens):
        why = "may have got its password or not, a crash hides it: apply the document again"
        yield Obstacle(name, "OutcomeUnknown", why)
    if left := [key for key in user.keys_absent if content(key) in have.keys.mentioned]:
        why = f"keeps {len(left)} of the keys that are to be absent: somebody else has put them there"
        yield Obstacle(name, "KeyNotOurs", why)


def shown(account: Account) -> dict[str, Json]:
    """What the host is told of one account."""
    texts = {"home": account.home, "shell": account.shell, "comment": account.comment}
    out: dict[str, Json] = {key: text for key, text in texts.items() if text}
    if account.uid >= 0:
        out["uid"] = account.uid
    if account.expires not in (NEVER, LOCK_DAY):
        out["expires"] = date_of(account.expires)
    has_password = bool(account.hash.strip("!*x"))
    keys = {"ours": len(account.keys.ours), "others": len(account.keys.others)}
    facts = {
        "locked": is_locked(account),
        "password": has_password,
        "mustChangePassword": account.changed == 0,
    }
    return out | facts | {"groups": list(account.groups), "sshKeys": keys}
