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
"""


def test_a_policy() -> None:
    assert read_policy(TEXT) == Policy(
        kinds=("power",),
        acts=("filesystems.trim",),
        users=("root",),
        paths=("/etc/*",),
        commands=("*",),
        freeze_lease_s_max=120,
    )


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "forbid: {}\nlimits: {}"])
def test_an_empty_policy_forbids_nothing(text: str) -> None:
    assert read_policy(text) == Policy()


def test_all_that_is_wrong_with_it() -> None:
    with pytest.raises(InvalidSpec) as caught:
        read_policy("forbid: {kind: [power], users: root}\nlimits: {freezeLease: 0}", source="policy.yaml")
    assert str(caught.value).splitlines() == [
        "policy.yaml:1:10: forbid.kind: unknown field, must be one of acts, commands, kinds, paths, users "
        '(did you mean "kinds"?)',
        'policy.yaml:1:32: forbid.users: must be a list, each entry text (got "root")',
        "policy.yaml:2:23: limits.freezeLease: must be at least 1s (got 0)",
    ]
