"""One task: a command or a script that is run once for its token, and what became of it."""

from dataclasses import dataclass
from typing import Literal

from reconciler.resource import Json, Rules
from reconciler.secret import secret_field

DEADLINE_S = 300.0  # longer than a package's upgrade, and somebody still waits for it
ROOT = "root"
SHELL = "/bin/sh"

_DEADLINE_S_MAX = 86_400  # what runs for longer than a day is a service
_INPUT_CHARS_MAX = 16_384  # of UTF-8 no more than a pipe holds, so nobody has to feed it: 64 KiB
_SCRIPT_CHARS_MAX = 65_536  # a document of 256 KiB has room for a few of them


@dataclass(frozen=True, kw_only=True)
class Task:
    """One command, or one script and its interpreter, and how it is to run."""

    name: str
    token: str
    argv: tuple[str, ...]
    script: str | None = None  # given to argv as a file, its last argument
    user: str = ROOT
    group: str = ""  # empty: the user's own
    cwd: str = ""  # empty: the user's home
    environment: tuple[tuple[str, str], ...] = ()
    stdin: str = ""
    secret: bool = False  # standard input is the secret at `secret_path`
    deadline_s: float = DEADLINE_S

    @property
    def deed(self) -> str:
        """Its token as it is remembered."""
        return f"run@{self.name}:{self.token}"

    @property
    def secret_path(self) -> str:
        return f"tasks.{self.name}.stdin"


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Of what a command wrote to one stream: its beginning, and its end where that is not all."""

    total: int  # bytes written
    head: str
    tail: str = ""
    base64: bool = False  # head and tail are base64, as they are no text

    def show(self) -> dict[str, Json]:
        shown: dict[str, Json] = {"bytes": self.total, "head": self.head}
        if self.tail:
            shown["tail"] = self.tail
        return shown | ({"encoding": "base64"} if self.base64 else {})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one token of a task."""

    token: str
    state: Literal["running", "ended", "lost"]
    started_at: str = ""  # RFC 3339 in UTC, to the second; empty: it never began
    ended_at: str = ""
    duration_s: float = 0.0
    exit_code: int | None = None
    signal: str = ""  # its name, such as SIGKILL
    cut: Literal["", "deadline", "stopped"] = ""  # what ended it before it ended by itself
    fault: str = ""  # why it never began, who cut it short, or why nobody knows
    stdout: Excerpt | None = None
    stderr: Excerpt | None = None
    kept: bool = False  # written down, so that the next boot knows
    beginning: bool = False  # systemd was asked for it just now, and does not show it yet

    @property
    def reason(self) -> str:
        """Of a condition."""
        if self.state != "ended":
            return "Running" if self.state == "running" else "Lost"
        if self.cut:
            return "DeadlinePassed" if self.cut == "deadline" else "Stopped"
        if self.signal:
            return "Killed"
        return "Failed" if self.fault or self.exit_code else "Succeeded"

    def __str__(self) -> str:
        match self.reason:
            case "Running":
                return f"runs since {self.started_at}"
            case "DeadlinePassed":
                return "ended at its deadline"
            case "Stopped":
                return "stopped from outside" + (f": {self.fault}" if self.fault else "")
            case "Killed":
                return f"killed by {self.signal}"
        return self.fault or f"exit code {self.exit_code}"

    def show(self) -> dict[str, Json]:
        shown: dict[str, Json] = {"token": self.token, "state": self.state}
        texts = {"startedAt": self.started_at, "endedAt": self.ended_at, "signal": self.signal}
        texts |= {"cutShortBy": self.cut, "message": self.fault}
        shown |= {key: text for key, text in texts.items() if text}
        if self.ended_at:
            shown["durationSeconds"] = self.duration_s
        if self.exit_code is not None:
            shown["exitCode"] = self.exit_code
        for stream, excerpt in (("stdout", self.stdout), ("stderr", self.stderr)):
            if excerpt is not None and excerpt.total:
                shown[stream] = excerpt.show()
        return shown


_COMMAND: Rules = {
    "type": "list",
    "schema": {"type": "string", "regex": r"[^\x00]*", "meta": {"expected": "text without NUL"}},
    "minlength": 1,
    "maxlength": 256,  # longer lists of files are for a script or standard input
    "excludes": ["shell", "interpreter"],
    "meta": {"description": "The program by its full path, and its arguments, to no shell: [/bin/ls, -l]."},
}


def _account(description: str, default: str) -> Rules:
    return {
        "type": "string",
        "regex": r"[^-\x00-\x20/:\x7f][^\x00-\x20/:\x7f]*",
        "maxlength": 256,  # LOGIN_NAME_MAX
        "meta": {"description": description, "expected": "a name such as alice", "default": default},
    }


FIELDS: Rules = {
    "token": {
        "type": "token",
        "required": True,
        "meta": {"description": "A word that this task never had before: it is run once for each."},
    },
    "command": _COMMAND,
    "shell": {
        "type": "string",
        "regex": r"[^\x00]+",
        "maxlength": _SCRIPT_CHARS_MAX,
        "excludes": ["command"],
        "meta": {
            "description": "A script, given to the interpreter as a file.",
            "expected": "text without NUL",
        },
    },
    "interpreter": {
        "type": "path",
        "dependencies": "shell",
        "meta": {"description": "What the script is for.", "default": SHELL},
    },
    "user": _account("Whose rights it has, with all of the user's groups; nobody is logged in.", ROOT),
    "group": _account("Its first group.", "the user's own"),
    "cwd": {"type": "path", "meta": {"description": "Where it begins.", "default": "the user's home"}},
    "environment": {
        "type": "dict",
        "keysrules": {
            "type": "string",
            "regex": r"[A-Za-z_][A-Za-z0-9_]*",
            "maxlength": 128,
            "meta": {"expected": "a variable's name: letters, digits and _, no digit first"},
        },
        "valuesrules": {"type": "string", "regex": r"[^\x00]*", "meta": {"expected": "text without NUL"}},
        "maxlength": 64,  # more than that is a file
        "meta": {
            "description": "Variables beside PATH, HOME, USER, LOGNAME, SHELL and LANG. Not for secrets."
        },
    },
    "stdin": {
        "anyof": [
            {
                "type": "string",
                "regex": r"[^\x00]*",
                "maxlength": _INPUT_CHARS_MAX,
                "meta": {"expected": "text without NUL"},
            },
            secret_field("A secret: it goes through memory only, to standard input and nowhere else."),
        ],
        "meta": {"description": "What it reads: a text, or a secret.", "default": "nothing"},
    },
    "deadline": {
        "type": "duration",
        "min": 1,
        "max": _DEADLINE_S_MAX,
        "meta": {
            "description": "After it SIGTERM, and SIGKILL 10 s later, to all that it has started.",
            "default": "5m",
        },
    },
}
