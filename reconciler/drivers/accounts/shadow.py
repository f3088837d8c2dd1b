"""Accounts through shadow's own tools: useradd(8), usermod(8), chpasswd(8) and their kin.

They keep the databases' locks and formats, and tell other programs of a change. Passwords and
hashes go over chpasswd's standard input; what stands in arguments anybody may read.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from reconciler.drivers.accounts import crypt3, databases, home, locks
from reconciler.errors import DriverError, Unsupported
from reconciler.facilities.child import ENVIRONMENT, Ended, Streams, run
from reconciler.facilities.inotify import Following
from reconciler.policy import covers, reaches
from reconciler.resource import Json, Watch
from reconciler.resources.accounts import Databases, People
from reconciler.subjects.people.changes import Account, Keys
from reconciler.subjects.people.rules import LOCK_DAY, NEVER, date_of

PASSWORD_BYTES_MAX = 511  # PAM_MAX_RESP_SIZE of pam_modules.h, less the NUL
_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_TOOLS = ("useradd", "usermod", "userdel", "groupadd", "groupmod", "chpasswd", "chage")
_RUN_S = 75.0  # below the 90 s of an act: the locks may take 15 s, a new number a walk through a big home
_LOOK_S = 3.0  # a directory service that is away must not keep the look from what is local
_OUTPUT_BYTES_MAX = 64 << 10  # getent(1) about as many names as a document may have
_SELINUX = "/sys/fs/selinux"  # it is there where a policy is loaded
_SAID_MAX = 200  # letters of what a tool says, in a message: its last line or two
# A day is taken for one of the guest's own zone otherwise, and may come out as the day before.
_ENVIRONMENT = {**ENVIRONMENT, "TZ": "UTC"}
_OPTIONS = {"uid": "-u", "home": "-d", "shell": "-s", "comment": "-c", "group": "-g"}
# EXIT VALUES of the tools' pages; they agree as far as they have the same ones.
_LOCKED = (1, 5, 10)
_WHY = {
    3: "it does not take what was asked",
    4: "the number is taken",
    6: "there is no such group or account",
    8: "the account still has processes",
    9: "the name is taken",
    10: "it cannot write the groups",
    12: "it cannot change the home folder",
    15: "there is no shadow file",
}


class Shadow(People):
    needs = "useradd of the shadow suite, or no right to use it"
    forbidden_paths: tuple[str, ...] = ()  # the policy's

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")
        self._changes = Following()

    @classmethod
    def available(cls) -> bool:
        return os.geteuid() == 0 and cls.observable() and all(map(_found, _TOOLS))

    @classmethod
    def observable(cls) -> bool:
        return os.access("/etc/shadow", os.R_OK)

    def watches(self) -> Sequence[Watch]:
        return (self._changes,)

    def boot_clock_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def databases(self) -> Databases:
        return databases.read(f"{self._root}/etc")

    def belongings(self, name: str, account: Account, *, keys: bool) -> Account:
        place = self._root + account.home
        owner = home.owner(place) if _is_home(account) else None
        account = replace(
            account, home_there=owner == account.uid, home_taken=owner not in (None, account.uid)
        )
        if not keys:
            return account
        if self._forbids(f"{account.home}/{home.KEYS}"):
            return replace(account, keys=Keys(fault="the guest's policy forbids its folder (forbid.paths)"))
        return replace(account, keys=home.keys(place, account.uid, account.gid))

    def follow(self, homes: Collection[str]) -> None:
        keys = {f"{self._root}{path}/.ssh" for path in homes}
        self._changes.follow({f"{self._root}/etc", *keys}, (*databases.FILES, "authorized_keys"))

    def running(self) -> frozenset[int]:
        pids = [name for name in os.listdir("/proc") if name.isdecimal()]
        return frozenset(uid for pid in pids for uid in _uids(pid))

    def foreign(self, names: Collection[str]) -> frozenset[str]:
        getent = _found("getent")
        if self._root or not getent:
            return frozenset()
        ended = run(
            [getent, "passwd", "--", *sorted(names)],
            deadline_s=_LOOK_S,
            output_bytes_max=_OUTPUT_BYTES_MAX,
            environment=_ENVIRONMENT,
        )
        # 2: not all of them were found; getent(1).
        if ended.fault and ended.status != 2:
            raise DriverError(f"cannot look for accounts in a directory service: {ended.fault}")
        lines = ended.output.decode(errors="replace").split("\n")
        return frozenset(names) & {line.partition(":")[0] for line in lines}

    def own_uid(self) -> int:
        return os.geteuid()

    def can_start(self, program: str) -> bool:
        place = self._root + program
        return os.path.isfile(place) and os.access(place, os.X_OK)

    def knows_hash(self, hash: str) -> bool:
        return crypt3.knows(hash)

    def create(self, name: str, fields: Mapping[str, Json]) -> None:
        # Never -m: a home that useradd had begun when it was killed would be root's for ever.
        options = ["-M", *_options(fields), *(["-r"] if fields["system"] else [])]
        # Locked from its first moment on: all else that locks it comes later.
        ends = ["-e", _day(fields["expires"])] if "expires" in fields else []
        self._run(f"create {name}", "useradd", [*options, *ends, "--", name])

    def complete(self, name: str) -> None:
        what, account = f"complete {name}", self._account(name)
        lacking, group = databases.torn(f"{self._root}/etc", name, account.gid)
        if lacking.group:
            self._run(what, "groupadd", ["-g", str(account.gid), "--", name])
        elif lacking.sealed_group:
            # Whatever it changes, it adds the line that is missing; and so does chage.
            self._run(what, "groupmod", ["-p", "!", "--", group])
        if lacking.shadow:
            self._run(what, "chage", ["-d", str(int(time.time()) // 86_400), "--", name])
        if lacking.sealed_members:
            self.set_groups(name, account.groups)

    def modify(self, name: str, fields: Mapping[str, Json]) -> None:
        if "uid" in fields:
            self._check_all(f"give the home of {name} another number", self._account(name).home)
        self._run(f"change {name}", "usermod", [*_options(fields), "--", name])

    def set_groups(self, name: str, groups: Sequence[str]) -> None:
        self._run(f"set the groups of {name}", "usermod", ["-G", ",".join(groups), "--", name])

    def join(self, name: str, groups: Sequence[str]) -> None:
        self._run(f"set the groups of {name}", "usermod", ["-a", "-G", ",".join(groups), "--", name])

    def make_home(self, name: str) -> None:
        account = self._account(name)
        if not _is_home(account):
            raise DriverError(f"cannot make a home for {name}: /etc/passwd names none")
        if home.owner(self._root + account.home) is not None:
            return
        self._check(f"make the home of {name}", account.home)
        if place := home.unmounted(account.home, f"{self._root}/etc/fstab"):
            raise DriverError(
                f"cannot make the home of {name}: nothing is mounted at {place} yet, see fstab(5)"
            )
        place, skel = self._root + account.home, f"{self._root}/etc/skel"
        home.make(place, account.uid, account.gid, skel, _label)

    def set_password(self, name: str, password: str) -> None:
        if not password or set(password) & set("\n\r\0"):
            raise DriverError(f"cannot set the password of {name}: the secret is not one line of text")
        if len(password.encode()) > PASSWORD_BYTES_MAX:
            raise DriverError(
                f"cannot set the password of {name}: it is longer than {PASSWORD_BYTES_MAX} bytes"
            )
        if not crypt3.is_of(self._account(name).hash, password):
            self._run(f"set the password of {name}", "chpasswd", [], f"{name}:{password}\n")

    def set_hash(self, name: str, hash: str) -> None:
        self._run(f"set the password of {name}", "chpasswd", ["-e"], f"{name}:{hash}\n")

    def must_change(self, name: str) -> None:
        self._run(f"have {name} change the password", "chage", ["-d", "0", "--", name])

    def lock(self, name: str) -> None:
        self._run(f"lock {name}", "usermod", ["-L", "-e", date_of(LOCK_DAY), "--", name])

    def unlock(self, name: str, expires: int) -> None:
        # Without a password to unlock, usermod only complains.
        unlock = ["-U"] if self._account(name).hash.strip("!*") else []
        self._run(f"unlock {name}", "usermod", [*unlock, "-e", _day(expires), "--", name])

    def set_expires(self, name: str, expires: int) -> None:
        self._run(f"set when {name} expires", "usermod", ["-e", _day(expires), "--", name])

    def write_keys(self, name: str, keys: Sequence[str]) -> None:
        account = self._account(name)
        self._check(f"write keys of {name}", f"{account.home}/{home.KEYS}")
        home.write_keys(self._root + account.home, account.uid, account.gid, keys)

    def remove(self, name: str, *, home: bool) -> None:
        if home:
            self._check_all(f"remove the home of {name}", self._account(name).home)
        self._run(f"remove {name}", "userdel", [*(["-r"] if home else []), "--", name])

    def _check(self, what: str, path: str) -> None:
        """Raises DriverError for what is forbidden; the names in a document are checked before."""
        if self._forbids(path):
            raise DriverError(f"cannot {what}: forbidden by the guest's policy (forbid.paths)")

    def _check_all(self, what: str, folder: str) -> None:
        """The same for all that lies in a folder, which a tool goes through."""
        self._check(what, folder)
        if any(reaches(place, self.forbidden_paths) for place in self._places(folder)):
            raise DriverError(
                f"cannot {what}: something in it is forbidden by the guest's policy (forbid.paths)"
            )

    def _forbids(self, path: str) -> bool:
        return any(covers(place, self.forbidden_paths) for place in self._places(path))

    def _places(self, path: str) -> tuple[str, ...]:
        """A path as it is written, and as it is where links on the way are followed."""
        if not self.forbidden_paths:
            return ()
        real = os.path.realpath(self._root + path)
        return path, real.removeprefix(os.path.realpath(self._root) if self._root else "")

    def _account(self, name: str) -> Account:
        try:
            return self.databases().accounts[name]
        except KeyError:
            raise DriverError(f"cannot change {name}: there is no such account any more") from None

    def _run(self, what: str, tool: str, options: Sequence[str], stdin: str = "") -> None:
        program = _found(tool)
        if not program:
            raise Unsupported(f"cannot {what}: this guest has no {tool}")
        root = ["-R", self._root] if self._root else []
        ended = _ran([program, *root, *options], stdin)
        # It could not write, maybe for a lock that a killed tool has left.
        if ended.status in _LOCKED and locks.clear(f"{self._root}/etc"):
            ended = _ran([program, *root, *options], stdin)
        if ended.fault:
            why, said = _WHY.get(ended.status or 0, ""), _said(ended.output, stdin).removeprefix(f"{tool}: ")
            words = ": ".join(filter(None, (why, said))) or ended.fault
            raise DriverError(f"cannot {what}: {tool}: {words}")


def _ran(command: Sequence[str], stdin: str) -> Ended:
    return run(
        command,
        deadline_s=_RUN_S,
        output_bytes_max=_OUTPUT_BYTES_MAX,
        environment=_ENVIRONMENT,
        streams=Streams(stdin.encode(), stderr=True),
    )


def _label(folder: str) -> None:
    """Give what lies in a folder the labels that SELinux has for homes, as useradd(8) would, where it can."""
    restorecon = _found("restorecon")
    if restorecon and os.path.isdir(_SELINUX):
        _ran([restorecon, "-R", "--", folder], "")


def _said(output: bytes, stdin: str) -> str:
    """The end of what a tool wrote, in one line; nothing if what it was given shows in it."""
    text = " ".join("".join(c if c.isprintable() else " " for c in output.decode(errors="replace")).split())
    secret = stdin.partition(":")[2].strip().encode()
    return "" if secret and secret in output else text[-_SAID_MAX:]


def _is_home(account: Account) -> bool:
    return account.home.startswith("/") and account.home.strip("/") != ""


def _found(program: str) -> str:
    paths = (f"{folder}/{program}" for folder in _FOLDERS)
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def _options(fields: Mapping[str, Json]) -> list[str]:
    return [word for key, option in _OPTIONS.items() if key in fields for word in (option, str(fields[key]))]


def _day(expires: int) -> str:
    return "" if expires == NEVER else date_of(expires)


def _uids(pid: str) -> list[int]:
    """The numbers that a process runs under: real, effective, saved and for files; none if it is gone."""
    try:
        with open(f"/proc/{pid}/status", errors="replace") as file:
            line = next((line for line in file if line.startswith("Uid:")), "Uid:")
    except OSError:
        return []
    return [int(number) for number in line.split()[1:]]
