"""How each mistake in a value is said, in the very words."""

import pytest

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from tests.documents.kinds import KINDS

A_DURATION = "must be a duration such as 30s, 10m or 1h30m, or a number of seconds"
STATES = "must be one of running, off, halted, suspended"
REFUSALS = [
    pytest.param(
        "power: of", [f'f:1:8: spec.power: {STATES} (got "of"; did you mean "off"?)'], id="a wrong word"
    ),
    pytest.param("power: 7", [f"f:1:8: spec.power: {STATES} (got 7)"], id="a number for a word"),
    pytest.param("power: false", [f"f:1:8: spec.power: {STATES} (got false)"], id="a boolean for a word"),
    pytest.param("power:", [f"f:1:7: spec.power: {STATES}, or a mapping (got nothing)"], id="nothing"),
    pytest.param(
        "power: [off]", [f"f:1:8: spec.power: {STATES}, or a mapping (got a list)"], id="a list for a word"
    ),
    pytest.param(
        "power: reboot",
        [f"f:1:8: spec.power: {STATES} (got reboot, which is a field of the long form)"],
        id="a field for a word",
    ),
    pytest.param(
        "lease: 30s",
        [
            "f:1:1: spec.lease: unknown kind, must be one of disks, power, report, units, user "
            "(lease is a field of disks)"
        ],
        id="a field for a kind",
    ),
    pytest.param(
        "disks: {state: frozen, lease: '30'}",
        [f'f:1:31: spec.disks.lease: {A_DURATION} (got "30"; write it without quotes)'],
        id="seconds in quotes",
    ),
    pytest.param(
        "disks: {state: frozen, cap: 1 MiB}",
        [
            "f:1:29: spec.disks.cap: must be a size such as 10Mi or 1G, or a number of bytes "
            '(got "1 MiB"; did you mean "1MiB"?)'
        ],
        id="size with a space",
    ),
    pytest.param(
        "user: {name: a, credential: {}, limits: cpu}",
        ['f:1:41: spec.user.limits: must be a mapping (got "cpu"; did you mean {cpu: …}?)'],
        id="a field where a mapping is wanted",
    ),
    pytest.param(
        "power:off",
        ['f:1:1: spec: must be a mapping of kinds (got "power:off"; a ":" needs a space behind it)'],
        id="no space behind the colon",
    ),
    pytest.param(
        "powr: off",
        [
            "f:1:1: spec.powr: unknown kind, must be one of disks, power, report, units, user "
            '(did you mean "power"?)'
        ],
        id="unknown kind",
    ),
    pytest.param(
        "power: {State: off}",
        [
            "f:1:9: spec.power.State: unknown field, must be one of at, deadline, enforce, graceful, reboot, "
            'state, wall (did you mean "state"?)'
        ],
        id="unknown field in another case",
    ),
    pytest.param(
        "power:\n  state: off\n  deadline: 30 s\n",
        [f'f:3:13: spec.power.deadline: {A_DURATION} (got "30 s"; did you mean "30s"?)'],
        id="duration with a space",
    ),
    pytest.param(
        "power: {deadline: -1}",
        [f"f:1:19: spec.power.deadline: {A_DURATION} (got -1)"],
        id="negative duration",
    ),
    pytest.param(
        "power: {deadline: 500ms}",
        ['f:1:19: spec.power.deadline: must be at least 1s (got "500ms")'],
        id="duration too short",
    ),
    pytest.param(
        "power: {deadline: 601}",
        ["f:1:19: spec.power.deadline: must be at most 10m (got 601)"],
        id="too long",
    ),
    pytest.param(
        "disks: {state: frozen, lease: 367d}",
        ['f:1:31: spec.disks.lease: must be a duration of at most 366d (got "367d")'],
        id="beyond every duration",
    ),
    pytest.param(
        "power: {graceful: yes}",
        ['f:1:19: spec.power.graceful: must be true or false (got "yes"; did you mean true?)'],
        id="yes is no boolean",
    ),
    pytest.param(
        "power: {graceful: OFF}",
        ['f:1:19: spec.power.graceful: must be true or false (got "OFF"; did you mean false?)'],
        id="off is no boolean",
    ),
    pytest.param(
        "power: {graceful: 1}", ["f:1:19: spec.power.graceful: must be true or false (got 1)"], id="nor is 1"
    ),
    pytest.param(
        "power: {reboot: 1.5}",
        [
            "f:1:17: spec.power.reboot: must be 1 to 128 printable ASCII characters without spaces, "
            "or a whole number (got 1.5)"
        ],
        id="a fraction for a token",
    ),
    pytest.param(
        "power: {reboot: [a]}",
        [
            "f:1:17: spec.power.reboot: must be 1 to 128 printable ASCII characters without spaces, "
            "or a whole number (got a list)"
        ],
        id="a list for a token",
    ),
    pytest.param(
        "power: {at: 2026-02-30T00:00:00Z}",
        ['f:1:13: spec.power.at: must be a time that exists (got "2026-02-30T00:00:00Z")'],
        id="no such day",
    ),
    pytest.param(
        "power: {at: 2026-01-31}",
        [
            "f:1:13: spec.power.at: must be a time with its offset such as 2026-01-31T18:00:00Z or "
            '2026-01-31T18:00:00+01:00 (got "2026-01-31")'
        ],
        id="a day for a time",
    ),
    pytest.param(
        "power: {at: 2026-01-31T18:00:00Z, deadline: 1m}",
        ["f:1:13: spec.power.at: cannot stand beside deadline"],
        id="two that exclude each other",
    ),
    pytest.param(
        "power: {wall: hello}",
        ["f:1:15: spec.power.wall: needs graceful: true beside it"],
        id="one that needs another",
    ),
    pytest.param(
        "power: {graceful: true, wall: a message of 23 chars.}",
        ["f:1:31: spec.power.wall: must have at most 20 characters (got 22)"],
        id="too many characters",
    ),
    pytest.param(
        "power: {state: running, deadline: 1m}",
        ["f:1:35: spec.power.deadline: goes only with a state that ends the guest"],
        id="what only the kind can see",
    ),
    pytest.param(
        "power: {enforce: never}",
        ['f:1:18: spec.power.enforce: must be one of always, once (got "never")'],
        id="enforce",
    ),
    pytest.param(
        "report: [memory, nisc]",
        [
            "f:1:18: spec.report[1]: must be one of memory, swap, nics, apps, os "
            '(got "nisc"; did you mean "nics"?)'
        ],
        id="a wrong word in a list",
    ),
    pytest.param(
        "report: memory",
        [
            "f:1:9: spec.report: must be a list of memory, swap, nics, apps, os, or a mapping "
            '(got "memory"; did you mean [memory]?)'
        ],
        id="a word for a list",
    ),
    pytest.param(
        "report: []", ["f:1:9: spec.report: must have at least 1 entry (got 0)"], id="an empty list"
    ),
    pytest.param(
        "units: nginx",
        ['f:1:8: spec.units: must be a mapping (got "nginx")'],
        id="a word where both forms are mappings",
    ),
    pytest.param(
        "report: {memory: 5s}",
        ['f:1:18: spec.report.memory: must be a mapping (got "5s")'],
        id="a word for a mapping",
    ),
    pytest.param(
        "report: {memory: {threshold: '1'}}",
        ['f:1:30: spec.report.memory.threshold: must be a number (got "1"; write it without quotes)'],
        id="a number in quotes",
    ),
    pytest.param(
        "disks: {lease: 1m}",
        ["f:1:8: spec.disks.state: is missing; must be one of frozen, thawed"],
        id="a field is missing",
    ),
    pytest.param(
        "disks: {state: frozen, mounts: [data, /a/../b, 7, /c]}",
        [
            "f:1:32: spec.disks.mounts: must have at most 3 entries (got 4)",
            'f:1:33: spec.disks.mounts[0]: must be an absolute path without .. (got "data")',
            'f:1:39: spec.disks.mounts[1]: must be an absolute path without .. (got "/a/../b")',
            "f:1:48: spec.disks.mounts[2]: must be an absolute path without .. (got 7; write it in quotes)",
        ],
        id="every entry of a list",
    ),
    pytest.param(
        "disks: {state: frozen, hooks: {/a: -1, b: 2.5}}",
        [
            'f:1:36: spec.disks.hooks["/a"]: must be at least 0 (got -1)',
            'f:1:40: spec.disks.hooks.b: must be an absolute path without .. (got "b")',
            "f:1:43: spec.disks.hooks.b: must be a whole number, at least 0 (got 2.5)",
        ],
        id="keys and values of an open mapping",
    ),
    pytest.param(
        "disks: {state: frozen, hooks: {/a: 1, /a/: 2}}",
        ['f:1:39: spec.disks.hooks["/a/"]: means the same key as another: /a'],
        id="two spellings of one key",
    ),
    pytest.param(
        "disks: {state: frozen, window: [2026-01-31T18:00:00Z]}",
        ["f:1:32: spec.disks.window: must have 2 entries (got 1)"],
        id="half a window",
    ),
    pytest.param(
        "disks: {state: frozen, cap: 2Gi}",
        ['f:1:29: spec.disks.cap: must be at most 1Gi (got "2Gi")'],
        id="size over the limit",
    ),
    pytest.param(
        "disks: {state: frozen, cap: 2Gib}",
        ['f:1:29: spec.disks.cap: must be a size such as 10Mi or 1G, or a number of bytes (got "2Gib")'],
        id="no such unit",
    ),
    pytest.param(
        "disks: {state: frozen, ratio: 0.5}",
        ["f:1:31: spec.disks.ratio: must not be 0.5 (got 0.5)"],
        id="a forbidden value",
    ),
    pytest.param(
        "disks: {state: frozen, ratio: 1.5}",
        ["f:1:31: spec.disks.ratio: must be at most 1 (got 1.5)"],
        id="over 1",
    ),
    pytest.param(
        "disks: {state: frozen, wait: nevr}",
        [f'f:1:30: spec.disks.wait: {A_DURATION} or never (got "nevr"; did you mean "never"?)'],
        id="no alternative fits",
    ),
    pytest.param(
        "disks: {state: frozen, wait: [1]}",
        [f"f:1:30: spec.disks.wait: {A_DURATION} or never (got a list)"],
        id="of no alternative's type",
    ),
    pytest.param(
        "disks: {state: frozen, wait: ~}",
        [f"f:1:30: spec.disks.wait: {A_DURATION} or never (got nothing)"],
        id="nothing where alternatives are",
    ),
    pytest.param(
        "disks: {state: frozen, level: ''}",
        ['f:1:31: spec.disks.level: must not be empty (got "")'],
        id="empty",
    ),
    pytest.param(
        "disks: {state: frozen, level: 0.5}",
        ["f:1:31: spec.disks.level: must be a whole number or text (got 0.5; write it in quotes)"],
        id="of neither type",
    ),
    pytest.param(
        "disks: {state: frozen, flags: [noatime, discart]}",
        [
            "f:1:41: spec.disks.flags[1]: must be one of noatime, discard "
            '(got "discart"; did you mean "discard"?)'
        ],
        id="allowed members",
    ),
    pytest.param(
        "user: alice", ['f:1:7: spec.user: must be a mapping with name (got "alice")'], id="no short form"
    ),
    pytest.param(
        "user: {name: 0755}", ['f:1:14: spec.user.name: must be a user name (got "0755")'], id="octal is text"
    ),
    pytest.param(
        "user: {name: 1000}",
        ["f:1:14: spec.user.name: must be a user name (got 1000; write it in quotes)"],
        id="a uid",
    ),
    pytest.param(
        'user: {name: "alice\\n"}',
        ['f:1:14: spec.user.name: must be a user name (got "alice\\u000a")'],
        id="a line feed at the end",
    ),
    pytest.param(
        "user: {name: a, host: '%'}",
        ['f:1:23: spec.user.host: must be like [a-z]+ (got "%")'],
        id="a bare regex",
    ),
    pytest.param(
        "units: {a.b: running, c: stoped}",
        ['f:1:26: spec.units.c: must be one of running, stopped (got "stoped"; did you mean "stopped"?)'],
        id="short mapping",
    ),
    pytest.param(
        "units: {of: {a: {stat: x}}}",
        [
            "f:1:17: spec.units.of.a.state: is missing; must be text",
            "f:1:18: spec.units.of.a.stat: unknown field, must be one of restart, state "
            '(did you mean "state"?)',
        ],
        id="the alternative that was meant",
    ),
]


def refusal(text: str) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        read(text, source="f", kinds=KINDS)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("text", "faults"), REFUSALS)
def test_refusal(text: str, faults: list[str]) -> None:
    assert refusal(text) == faults


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("user: {name: a, credential: hunter2}", id="of the wrong type"),
        pytest.param("user: {name: a, credential: {text: hunter2}}", id="too long"),
        pytest.param("user: {name: a, credential: {txt: hunter2}}", id="under the wrong key"),
        pytest.param("user: {name: a, credential: {hunter2: x}}", id="as a key"),
        pytest.param("user: {name: a, credential: [hunter2]}", id="in a list"),
        pytest.param("user: {name: a, pin: hunter2}", id="of no alternative"),
    ],
)
def test_a_secret_is_never_shown(text: str) -> None:
    assert not [line for line in refusal(text) if "hunter" in line]
