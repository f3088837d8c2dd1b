"""The guest's policy file, from text to what it forbids."""

import pytest

from reconciler.documents import read_policy
from reconciler.errors import InvalidSpec
from reconciler.policy import Policy

TEXT = """\
forbid:
  kinds: [power]
  acts: [filesystems.trim]
  users: [root]
  paths: [/etc/*]
  commands: ["*"]
limits: {freezeLease: 2m}
allow-passwordless-login: [kiosk]
allow-files-in: [/etc/, /srv//app]
"""


def test_a_policy() -> None:
    assert read_policy(TEXT) == Policy(
        kinds=("power",),
        acts=("filesystems.trim",),
        users=("root",),
        paths=("/etc/*",),
        commands=("*",),
        freeze_lease_s_max=120,
        passwordless_users=("kiosk",),
        file_folders=("/etc", "/srv/app"),
    )


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "forbid: {}\nlimits: {}"])
def test_an_empty_policy_forbids_nothing(text: str) -> None:
    assert read_policy(text) == Policy()


def test_no_folder_is_not_every_folder() -> None:
    assert read_policy("allow-files-in: []").file_folders == ()


@pytest.mark.parametrize("pattern", ["*", "kiosk-?", "[ab]", ""])
def test_nobody_logs_in_without_a_password_by_a_pattern(pattern: str) -> None:
    with pytest.raises(InvalidSpec, match="allow-passwordless-login"):
        read_policy(f"allow-passwordless-login: ['{pattern}']")


def test_all_that_is_wrong_with_it() -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_policy("forbid: {kind: [power], users: root}\nlimits: {freezeLease: 0}", source="policy.yaml")
    assert str(caught.value).splitlines() == [
        "policy.yaml:1:10: forbid.kind: unknown field, must be one of acts, commands, kinds, paths, units, "
        'users (did you mean "kinds"?)',
        'policy.yaml:1:32: forbid.users: must be a list, each entry text (got "root")',
        "policy.yaml:2:23: limits.freezeLease: must be at least 1s (got 0)",
    ]


@pytest.mark.parametrize(
    ("forbid", "fault"),
    [
        pytest.param("kinds: [pwer]", 'no kind is called so (got "pwer"; did you mean "power"?)', id="typo"),
        pytest.param(
            "acts: [pwer.off]",
            'no act is called so (got "pwer.off"; did you mean "power.off"?)',
            id="kind-of-act",
        ),
        pytest.param(
            "acts: [power.rebot]",
            'no act is called so (got "power.rebot"; did you mean "power.reboot"',
            id="verb",
        ),
        pytest.param("acts: ['report.*']", "no act is called so", id="kind-that-never-acts"),
        pytest.param(
            "kinds: [Power]", 'no kind is called so (got "Power"; did you mean "power"?)', id="case"
        ),
        pytest.param("kinds: [' power']", "must be a kind", id="space"),
        pytest.param("kinds: ['']", "must be a kind", id="nothing"),
        pytest.param("acts: [reboot]", "must be KIND.VERB", id="act-without-kind"),
        pytest.param("users: ['']", "must", id="no-user"),
        pytest.param("paths: [etc/ssh]", "must be an absolute path", id="relative-path"),
        pytest.param("commands: [lvm]", "must be an absolute path", id="relative-command"),
        pytest.param("paths: [/etc//ssh]", "must be an absolute path without", id="doubled-slash"),
        pytest.param("paths: [/etc/./ssh]", "must be an absolute path without", id="dot"),
        pytest.param("paths: [/srv/..]", "must be an absolute path without", id="dots"),
    ],
)
def test_what_would_forbid_nothing_is_refused(forbid: str, fault: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_policy(f"forbid: {{{forbid}}}", source="policy.yaml")
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    "forbid",
    [
        "kinds: ['*']",
        "kinds: ['[a-f]*']",
        "acts: ['*.re*']",
        "acts: ['*']",
        "acts: ['power*']",
        "paths: [/srv/..x, /.y/]",
    ],
)
def test_patterns_that_may_match_are_taken(forbid: str) -> None:
    assert read_policy(f"forbid: {{{forbid}}}") != Policy()
