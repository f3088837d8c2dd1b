"""How accounts are written in a document, and what that comes to mean; pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.errors import Fault, InvalidSpec
from reconciler.resource import Json, Rules
from reconciler.secret import secret_field
from reconciler.subjects.people import ssh_keys

LOCK_DAY = 1  # 1970-01-02, as usermod(8) advises; 0 means different things to different programs
NEVER = -1  # as chage(1) has it

USERS_MAX = 200  # the store remembers 256 acts of one sort, and each account may get a password
GROUPS_MAX = 64  # of one account; a person has some ten
KEYS_MAX = 64  # of one account; sshd tries them one after another

NAME: Rules = {
    "type": "string",
    "regex": r"[a-z_][a-z0-9_-]*\$?",  # NAME_REGEX of useradd(8)
    "maxlength": 32,  # UT_NAMESIZE of utmp(5)
    "meta": {
        "expected": "a name of a to z, digits, _ and -, with a letter or _ first",
        "description": "The name of the account.",
    },
}
# Forms of crypt(5) that take time to guess, and not hours to compare; each whole, with its salt.
_HASH = (
    r"\$g?y\$[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}"
    r"|\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}"
    r"|\$2[aby]\$[01][0-9]\$[./A-Za-z0-9]{53}"
    r"|\$6\$(?:rounds=[1-9][0-9]{3,5}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
    r"|\$5\$(?:rounds=[1-9][0-9]{3,5}\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}"
)
_KEY: Rules = {
    "type": "string",
    "regex": r"[!-~]+ [+/=0-9A-Za-z]+(?: [^\x00-\x20\x7f-\xa0\u2028\u2029]+)*",
    "meta": {
        "expected": "a public key such as ssh-ed25519 AAAA… comment, on one line and without options",
        "description": "A public key as in the file id_ed25519.pub.",
    },
}


def _names(description: str, other: str) -> Rules:
    return {
        "type": "list",
        "schema": NAME,
        "maxlength": GROUPS_MAX,
        "excludes": other,
        "meta": {"description": description, "default": "left as they are"},
    }


def _path(description: str, default: str) -> Rules:
    return {
        "type": "string",
        "regex": r"(?!.*/\.\.?(?:/|$))(?!.*//)/[/A-Za-z0-9._+@-]*[A-Za-z0-9._+@-]",
        "maxlength": 1024,  # a line of passwd(5) must stay readable for all that read it
        "meta": {
            "description": description,
            "default": default,
            "expected": "an absolute path of letters, digits and ._+@-, without //, . and ..",
        },
    }


def _keys(description: str) -> Rules:
    return {"type": "list", "schema": _KEY, "maxlength": KEYS_MAX, "meta": {"description": description}}


FIELDS: Rules = {
    "state": {
        "type": "string",
        "allowed": ["present", "absent"],
        "meta": {"description": "Whether there is such an account.", "default": "present"},
    },
    "removeHome": {
        "type": "boolean",
        "dependencies": {"state": "absent"},
        "meta": {"description": "Remove the home folder and the mail with the account.", "default": False},
    },
    "uid": {
        "type": "integer",
        "min": 1,
        "max": 4_294_967_293,  # the last two are nobody's
        "forbidden": [65_535],  # -1 to programs with short numbers
        "meta": {"description": "Its number; files elsewhere keep an old one.", "default": "a free one"},
    },
    "home": _path("Its home folder; what is in another one stays there.", "/home/NAME"),
    "shell": _path("What is started at login.", "the guest's own"),
    "comment": {
        "type": "string",
        "regex": r"[^\x00-\x1f\x7f-\x9f:\u2028\u2029]*",
        "maxlength": 256,  # a person's name and telephone number
        "meta": {
            "description": "The person's name, and what else GECOS holds.",
            "expected": "text without colons and control characters",
        },
    },
    "system": {
        "type": "boolean",
        "meta": {"description": "Create it as a service's account.", "default": False},
    },
    "createHome": {
        "type": "boolean",
        "meta": {
            "description": "See that it has a home folder.",
            "default": "true for people, false for accounts of services",
        },
    },
    "groups": _names("Its groups beside its primary one: these and no others.", "moreGroups"),
    "moreGroups": _names("Groups that it is in, whatever other ones.", "groups"),
    "password": {
        **secret_field("Its password, given once for each change of the document."),
        "excludes": "passwordHash",
    },
    "passwordHash": {
        "type": "string",
        "regex": _HASH,
        "maxlength": 256,
        "excludes": "password",
        "meta": {
            "description": "Its password as crypt(5) has it, given once.",
            "expected": "a whole hash of yescrypt, scrypt, bcrypt, SHA-512 or SHA-256, see crypt(5)",
            "secret": True,
        },
    },
    "mustChangePassword": {
        "type": "token",
        "meta": {"description": "A word that was never used before: it must choose a new password then."},
    },
    "locked": {
        "type": "boolean",
        "meta": {
            "description": "Nobody gets in, with a password or a key.",
            "default": "left as it is",
        },
    },
    "expires": {
        "type": "string",
        "regex": r"never|[12][0-9]{3}-[01][0-9]-[0-3][0-9]",
        "meta": {
            "description": "The day from which on nobody gets in, or never.",
            "default": "left as it is",
            "expected": "a day such as 2030-12-31, or never",
        },
    },
    "sshKeys": {
        "type": "dict",
        "schema": {
            "present": _keys("Keys that it has; of others only those that stood here before are removed."),
            "absent": _keys("Keys that it does not have; one that somebody else has put there is reported."),
        },
        "meta": {"description": "Public keys in the file .ssh/authorized_keys of its home folder."},
    },
}


@dataclass(frozen=True, kw_only=True)
class User:
    """What is written of one account; None: not managed."""

    absent: bool = False
    remove_home: bool = False
    uid: int | None = None
    home: str | None = None
    shell: str | None = None
    comment: str | None = None
    system: bool = False
    create_home: bool | None = None
    groups: tuple[str, ...] | None = None  # these and no others
    more_groups: tuple[str, ...] = ()
    password: bool = False  # it comes as a secret
    hash: str = field(default="", repr=False)
    must_change: str = ""  # a token
    locked: bool | None = None
    expires: int | None = None  # days since 1970, or NEVER
    keys: tuple[str, ...] | None = None
    keys_absent: tuple[str, ...] = ()


def user_of(name: str, normal: Mapping[str, Json]) -> User:
    """What is written of one account, in normal form. Raises InvalidSpec with paths inside the account."""
    if faults := [Fault(0, 0, path, message) for path, message in _faults(name, normal)]:
        raise InvalidSpec(*faults)
    keys = normal.get("sshKeys", {})
    groups = normal.get("groups")
    expires = normal.get("expires")
    return User(
        absent=normal.get("state") == "absent",
        remove_home=normal.get("removeHome", False),
        uid=normal.get("uid"),
        home=normal.get("home"),
        shell=normal.get("shell"),
        comment=normal.get("comment"),
        system=normal.get("system", False),
        create_home=normal.get("createHome"),
        groups=None if groups is None else tuple(sorted(set(groups))),
        more_groups=tuple(sorted(set(normal.get("moreGroups", ())))),
        password="password" in normal,
        hash=normal.get("passwordHash", ""),
        must_change=normal.get("mustChangePassword", ""),
        locked=normal.get("locked"),
        expires=None if expires is None else _day(expires),
        keys=tuple(keys["present"]) if "present" in keys else None,
        keys_absent=tuple(ssh_keys.identity(key) for key in keys.get("absent", ())),
    )


_ALONE = frozenset({"state", "removeHome"})
# Without root nobody could mend the guest; and what has expired runs no timers and jobs either.
_NOT_OF_ROOT = ("uid", "home", "expires", "createHome", "system")


def _faults(name: str, normal: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    if normal.get("state") == "absent":
        yield from ((other, "does not go with state: absent") for other in normal if other not in _ALONE)
        if name == "root":
            yield "state", "root cannot be removed"
    if name == "root":
        yield from ((other, "cannot be changed for root") for other in _NOT_OF_ROOT if other in normal)
        if normal.get("locked"):
            yield "locked", "root cannot be locked: jobs of the guest would stop"
    expires = normal.get("expires", "never")
    if expires != "never" and (_day(expires) <= LOCK_DAY or date_of(_day(expires)) != expires):
        yield "expires", "must be a day that exists, after 1970-01-02"
    yield from _key_faults(normal.get("sshKeys", {}))


def _key_faults(keys: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for part in ("present", "absent"):
        for place, key in enumerate(keys.get(part, ())):
            if why := ssh_keys.fault_of(key):
                yield f"sshKeys.{part}.{place}", why
            elif ssh_keys.identity(key) in seen:
                yield f"sshKeys.{part}.{place}", "is given twice"
            elif key.endswith(ssh_keys.MARK):
                yield f"sshKeys.{part}.{place}", f"cannot have {ssh_keys.MARK} as its comment"
            seen.add(ssh_keys.identity(key))


def _day(date: str) -> int:
    """Days since 1970 of `YYYY-MM-DD`, which need not exist; NEVER of `never`."""
    if date == "never":
        return NEVER
    # By hand: datetime takes 0.4 MiB in a guest, and the kinds know no clock.
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:10])
    years = year - (month <= 2)  # counted from March, a leap day comes last
    days = years * 365 + years // 4 - years // 100 + years // 400
    return days + (153 * ((month - 3) % 12) + 2) // 5 + day - 1 - 719_468


def date_of(day: int) -> str:
    """`YYYY-MM-DD` of days since 1970."""
    era, rest = divmod(day + 719_468, 146_097)
    year = (rest - rest // 1460 + rest // 36_524 - rest // 146_096) // 365
    rest -= 365 * year + year // 4 - year // 100
    month = (5 * rest + 2) // 153
    number = rest - (153 * month + 2) // 5 + 1
    return f"{era * 400 + year + (month > 9):04}-{(month + 2) % 12 + 1:02}-{number:02}"
