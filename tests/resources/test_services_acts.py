"""What is done to units once, what becomes of it, and what is said of what comes back."""

from dataclasses import replace

import pytest

from reconciler.errors import DriverError, OutcomeUnknown
from reconciler.resource import Action, Deed, Phase, Touch
from reconciler.resources.services import Desired, Services
from reconciler.subjects.unit_needs import Want
from tests.resources.services_fake import FAILED, UP, WEB, guest
from tests.resources.test_services import PAST, RUNNING, go, verdict


def test_a_token_that_could_not_be_used_is_not_spent() -> None:
    fake, kind = guest(UP)
    fake.refuses = {"restart"}
    desired = Desired(units={"web.service": Want(state="running", restart="v2")})
    kind.observe(desired, PAST)
    with pytest.raises(DriverError):
        kind.act(Action("restart", "web.service", Phase.PROGRAMS, "restart:web.service:v2"))
    assert verdict(desired, kind.observe(desired, PAST)) == (
        "NotStarted",
        "web is active (running): cannot restart web.service: no",
    )


def test_whether_it_was_restarted_may_not_be_known() -> None:
    _, kind = guest(UP)
    desired = Desired(units={"web.service": Want(state="running", restart="v2")})
    past = replace(PAST, deeds={"restart:web.service:v2": Deed("begun", "boot", 1)})
    told = Services.verdict(desired, kind.observe(desired, past), ())
    assert (told.reason, told.failed) == ("OutcomeUnknown", True)


def test_a_condition_that_is_not_met_spends_a_restart_and_no_start() -> None:
    fake, kind = guest(WEB)
    fake.outcomes = {"restart": "skipped", "start": "skipped"}
    kind.observe(RUNNING, PAST)
    kind.act(Action("restart", "web.service", Phase.PROGRAMS, "restart:web.service:v2"))
    with pytest.raises(DriverError, match=r"^cannot start web\.service: its conditions .*: ConditionPath"):
        kind.act(Action("start", "web.service", Phase.PROGRAMS, "start:web.service:boot"))
    kind.act(Action("start", "web.service", Phase.PROGRAMS))
    words = "web is inactive: its conditions are not met: ConditionPathExists=/x"
    assert verdict(RUNNING, kind.observe(RUNNING, PAST)) == ("NotStarted", words)


def test_systemd_reloads_once_for_many_files() -> None:
    names = [f"u{number}.service" for number in range(3)]
    fake, kind = guest(*(replace(UP, name=name, id=name, file="disabled") for name in names))
    masked = Want(masked=True, state="stopped")
    first, *others = names
    go(kind, Desired(units={first: Want(enabled=True), **dict.fromkeys(others, masked)}))
    assert [verb for verb, _ in fake.heard] == [
        "enable", "daemon-reload", "stop", "stop", "mask", "mask", "daemon-reload",
    ]  # fmt: skip


def test_what_ends_over_and_over_is_told_once_and_read_once_a_minute() -> None:
    fake, kind = guest(UP)
    seen = [kind.observe(RUNNING, PAST)]
    for number in range(1, 9):
        for unit in (
            replace(FAILED, active="activating", sub="auto-restart", restarts=number, since_us=2 * number),
            replace(UP, restarts=number, since_us=2 * number + 1),
        ):
            fake.held["web.service"] = unit
            fake.now_s += 10
            seen.append(kind.observe(RUNNING, PAST))
    reasons = [verdict(RUNNING, observed)[0] for observed in seen]
    assert reasons == ["InSync", *["Waiting", "InSync"] * 3, *["Restarting"] * 10]
    assert len({verdict(RUNNING, observed)[1] for observed in seen[-10:]}) == 1
    assert fake.asked.count("log web.service") == 3 + 2
    told = Services.verdict(RUNNING, seen[-1], ())
    assert told.failed
    assert Services.due_s(RUNNING, seen[-1]) == seen[-1].boot_clock_s - 10 + 600
    # With systemd that has units fail in between, none of these is news.
    failed = replace(seen[-1], units={"web.service": FAILED})
    assert Services.notices(seen[-1], failed) == ()
    fake.now_s += 600
    assert verdict(RUNNING, kind.observe(RUNNING, PAST))[0] == "InSync"


def test_a_mount_reaches_for_its_folder() -> None:
    desired = Services.parse({"units": {"srv-data.mount": {"state": "stopped"}, "web": {"enabled": True}}})
    assert Services.touches(desired) == (Touch("path", "/srv/data"),)


def test_what_was_undone_is_said_to_be() -> None:
    fake, kind = guest(UP)
    stopped = Desired(units={"web.service": Want(state="stopped")})
    go(kind, stopped)
    fake.held["web.service"] = UP
    assert verdict(stopped, kind.observe(stopped, PAST))[0] == "Undone"


def test_no_answer_leaves_what_has_no_token_to_the_next_look() -> None:
    fake, kind = guest(WEB)
    fake.silent = {"start", "restart"}
    kind.act(Action("start", "web.service", Phase.PROGRAMS))
    with pytest.raises(OutcomeUnknown):
        kind.act(Action("restart", "web.service", Phase.PROGRAMS, "restart:web.service:v2"))
