"""What the guest's administrator forbids."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import pytest

from reconciler.errors import Forbidden
from reconciler.policy import Policy, reaches
from reconciler.resource import Action, Touch

POLICY = Policy(
    kinds=("x-*",),
    acts=("power.re*",),
    users=("root",),
    paths=("/etc/", "/home/*/.ssh"),
    commands=("/bin/sh",),
)


def outcome(forbidden: bool, word: str) -> AbstractContextManager[Any]:
    return pytest.raises(Forbidden, match=rf"forbid\.{word}") if forbidden else nullcontext()


@pytest.mark.parametrize(
    ("what", "name", "forbidden"),
    [
        pytest.param("path", "/etc", True, id="the-path"),
        pytest.param("path", "/etc/ssh/sshd_config", True, id="below-it"),
        pytest.param("path", "/etcetera", False, id="a-name-that-begins-like-it"),
        pytest.param("path", "/home/ann/.ssh/authorized_keys", True, id="below-a-pattern"),
        pytest.param("path", "/", False, id="above-it"),
        pytest.param("user", "root", True, id="user"),
        pytest.param("user", "Root", False, id="case-counts"),
        pytest.param("command", "/bin/sh", True, id="command"),
        pytest.param("command", "/etc", False, id="a-path-is-no-command"),
    ],
)
def test_touches(what: Literal["user", "path", "command"], name: str, forbidden: bool) -> None:
    with outcome(forbidden, f"{what}s"):
        POLICY.check_touches("lamp", [Touch(what, name)])


@pytest.mark.parametrize(("verb", "forbidden"), [("reboot", True), ("off", False)])
def test_acts(verb: str, forbidden: bool) -> None:
    with outcome(forbidden, "acts"):
        POLICY.check_action("power", Action(verb, "guest"))


@pytest.mark.parametrize(("kind", "forbidden"), [("x-lamp", True), ("lamp", False)])
def test_kinds(kind: str, forbidden: bool) -> None:
    with outcome(forbidden, "kinds"):
        POLICY.check_kind(kind)


def test_everything_may_be_forbidden_below_the_root() -> None:
    with pytest.raises(Forbidden):
        Policy(paths=("/",)).check_touches("lamp", [Touch("path", "/srv")])


@pytest.mark.parametrize(
    ("pattern", "below"),
    [
        pytest.param("/home/carol/vault", True, id="below-it"),
        pytest.param("/home/carol/", True, id="written-as-a-folder"),
        pytest.param("/home/*/.ssh", True, id="a-star-before"),
        pytest.param("/home/c*", True, id="a-star-that-goes-on"),
        pytest.param("*.key", True, id="anywhere"),
        pytest.param("/home/?arol/x[ab]", True, id="one-letter-for-another"),
        pytest.param("/home/car*/*/.ssh", True, id="two-stars"),
        pytest.param("/home/dave/vault", False, id="beside-it"),
        pytest.param("/home/d*/.ssh", False, id="another-beginning"),
        pytest.param("/home/caroline", False, id="a-longer-name"),
        pytest.param("/srv", False, id="elsewhere"),
        pytest.param("/home/ca?/x", False, id="too-few-letters"),
    ],
)
def test_what_lies_below_a_folder(pattern: str, below: bool) -> None:
    assert reaches("/home/carol", [pattern]) is below
    assert reaches("/home/carol/", ["/srv", pattern]) is below
    assert reaches("/", [pattern])
