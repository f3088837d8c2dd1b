"""`reconciler get`: every part of a status in every form."""

import json
from collections.abc import Callable

import pytest
import yaml

from tests.host.conftest import Reconciler
from tests.host.served import Served

EVIL = "\x1b]0;owned\x07\r\n\u202e\x9b2J\x7f"


def test_the_status_as_a_table(guest: Served, reconciler: Reconciler) -> None:
    lines = reconciler("get", "-c", guest.channel).out.splitlines()
    assert lines[0] == "web-01  Converged  generation 3"
    assert lines[1].split() == ["KIND", "READY", "REASON", "MESSAGE", "SINCE"]
    assert lines[2].split()[:3] == ["hostname", "True", "InSync"]


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_the_status_for_programs(
    form: str, parse: Callable[[str], object], guest: Served, reconciler: Reconciler
) -> None:
    assert parse(reconciler("get", "-c", guest.channel, "-o", form).out) == guest.guest.status()


@pytest.mark.parametrize(
    ("words", "out"),
    [
        pytest.param(["spec"], "hostname:\n  static: web-01\n", id="spec"),
        pytest.param(["spec", "-o", "name"], "hostname\n", id="spec-names"),
        pytest.param(["-o", "name"], "hostname\n", id="kinds"),
        pytest.param(["memory"], "FIELD  VALUE\ntotal  1024\nfree   512\n", id="item"),
        pytest.param(["inventory.memory.free"], "512\n", id="path"),
        pytest.param(["conditions.0.reason"], "InSync\n", id="path-through-a-list"),
        pytest.param(["memory", "-o", "name"], "total\nfree\n", id="item-names"),
    ],
)
def test_a_part(words: list[str], out: str, guest: Served, reconciler: Reconciler) -> None:
    said = reconciler("get", "-c", guest.channel, *words)
    assert (said.code, said.out) == (0, out)


def test_no_such_part(guest: Served, reconciler: Reconciler) -> None:
    said = reconciler("get", "-c", guest.channel, "disks")
    assert (said.code, said.out) == (1, "")
    assert "nothing here is called disks; there is filesystems, hostname, memory" in said.err


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_a_hostile_guest_does_not_reach_the_terminal(
    form: str, guest: Served, reconciler: Reconciler
) -> None:
    guest.guest.name = EVIL
    guest.guest.inventory = {"nics": [{"name": EVIL, EVIL: "x"}], EVIL: {EVIL: EVIL}}
    for what in ("status", "nics", "inventory"):
        out = reconciler("get", "-c", guest.channel, "-o", form, what).out
        assert all(character.isprintable() for character in out.replace("\n", ""))


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_what_is_escaped_is_still_the_same_for_programs(
    form: str, parse: Callable[[str], object], guest: Served, reconciler: Reconciler
) -> None:
    guest.guest.inventory = {"names": [EVIL, "Zoë", "東京", "\U0001f600"]}
    out = reconciler("get", "-c", guest.channel, "-o", form, "names").out
    assert parse(out) == guest.guest.inventory["names"]
    assert "Zoë" in out
