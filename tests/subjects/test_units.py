"""Names of units, and what their states come to."""

import re

import pytest

from reconciler.subjects.units import (
    NAME,
    Unit,
    folder_of,
    full_name,
    is_power,
    nearest,
    object_path,
    short_name,
    type_of,
    why_not,
)


@pytest.mark.parametrize(
    ("written", "full", "kind"),
    [
        pytest.param("nginx", "nginx.service", "service", id="a service"),
        pytest.param("nginx.service", "nginx.service", "service", id="in full"),
        pytest.param("ssh.socket", "ssh.socket", "socket", id="a socket"),
        pytest.param("getty@tty1", "getty@tty1.service", "service", id="an instance"),
        pytest.param("a.b", "a.b.service", "service", id="no suffix of systemd's"),
        pytest.param("multi-user.target", "multi-user.target", "target", id="a target keeps its suffix"),
    ],
)
def test_full_names(written: str, full: str, kind: str) -> None:
    assert (full_name(written), type_of(full)) == (full, kind)
    assert full_name(short_name(full)) == full


@pytest.mark.parametrize(
    "name", ["nginx", "srv-data.mount", "-.mount", r"dev-a\x2db.swap", "a@b@c", "a:b_c.d"]
)
def test_possible_names(name: str) -> None:
    assert re.fullmatch(NAME, name)
    assert why_not(full_name(name)) == ""


@pytest.mark.parametrize(
    "name", ["", "-rf", "--user", "@x", "a;b", "a b", "a/b", "a\nb", "a\0b", "../a", "$(x)", "ä", "'", "a\n"]
)
def test_names_that_no_rule_lets_pass(name: str) -> None:
    assert not re.fullmatch(NAME, name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("poweroff.target", "a target changes", id="a target"),
        pytest.param("a.slice", "a slice is there", id="a slice"),
        pytest.param(".service", "no unit can be called so", id="only a suffix"),
        pytest.param("getty@", "write getty@INSTANCE", id="a template"),
        pytest.param("x" * 248, "at most 255 characters", id="too long with its suffix"),
        pytest.param("systemd-poweroff", "kind power", id="power"),
    ],
)
def test_says_what_is_not_to_be_had(name: str, words: str) -> None:
    assert words in why_not(full_name(name))


def test_power_by_any_name() -> None:
    assert is_power("systemd-suspend-then-hibernate.service")
    assert is_power("rescue.service")
    assert not is_power("systemd-logind.service")


@pytest.mark.parametrize(
    ("active", "job", "up", "under_way"),
    [
        pytest.param("active", "", True, False, id="active"),
        pytest.param("reloading", "", True, False, id="reloading"),
        pytest.param("activating", "", False, True, id="activating"),
        pytest.param("deactivating", "", False, True, id="deactivating"),
        pytest.param("inactive", "start", False, True, id="queued"),
        pytest.param("failed", "", False, False, id="failed"),
    ],
)
def test_states(active: str, job: str, up: bool, under_way: bool) -> None:
    unit = Unit(name="a.service", id="a.service", active=active, job=job)
    assert (unit.up, unit.under_way) == (up, under_way)


@pytest.mark.parametrize(
    ("active", "result", "restarts", "given_up"),
    [
        pytest.param("failed", "exit-code", 0, False, id="failed once"),
        pytest.param("failed", "exit-code", 5, True, id="systemd has restarted it"),
        pytest.param("failed", "start-limit-hit", 0, True, id="refused at once"),
        pytest.param("active", "success", 5, False, id="restarted, and runs"),
    ],
)
def test_what_systemd_has_given_up(active: str, result: str, restarts: int, given_up: bool) -> None:
    unit = Unit(name="a.service", id="a.service", active=active, result=result, restarts=restarts)
    assert unit.given_up is given_up


def test_who_is_on_call() -> None:
    callers = {"a.socket": "listening", "a.timer": "elapsed", "a.path": "waiting"}
    assert Unit(name="a.service", id="a.service", callers=callers).on_call == ("a.path", "a.socket")


def test_the_nearest_name() -> None:
    assert nearest("ngnix.service", ["nginx.service", "cron.service"]) == "nginx.service"
    assert nearest("zzz.service", ["nginx.service"]) == ""


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("getty@tty1.service", "getty_40tty1_2eservice"),
        ("3-a_b.timer", "_33_2da_5fb_2etimer"),
        ("a3.path", "a3_2epath"),
        ("ä.service", "_c3_a4_2eservice"),
    ],
)
def test_paths_are_systemds(name: str, path: str) -> None:
    assert object_path(name) == f"/org/freedesktop/systemd1/unit/{path}"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("-.mount", "/"),
        ("home.mount", "/home"),
        (r"srv-a\x2db-c\xc3\xa4.automount", "/srv/a-b/cä"),
        ("home.service", ""),
        ("dev-sda1.swap", ""),
    ],
)
def test_folders_of_mounts(name: str, folder: str) -> None:
    assert folder_of(name) == folder
