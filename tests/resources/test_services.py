"""Units brought about, and how they are written."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import InvalidSpec
from reconciler.resource import Past
from reconciler.resources.services import Desired, Services
from reconciler.subjects.unit_needs import Observed, Said, Want, found
from reconciler.subjects.units import VITAL, Unit
from tests.resources.services_fake import FAILED, UP, WEB, guest

RUNNING = Desired(units={"web.service": Want(state="running")})
PAST = Past(generation=1, boot_id="boot")


def go(kind: Services, desired: Desired, past: Past = PAST) -> Observed:
    """One pass, and the second look."""
    observed = kind.observe(desired, past)
    for action in kind.plan(desired, kind.diff(desired, observed)):
        kind.act(action)
    return kind.observe(desired, past)


def verdict(desired: Desired, observed: Observed) -> tuple[str, str]:
    told = Services.verdict(desired, observed, Services.diff(desired, observed))
    return told.reason, told.message


def test_brings_about_what_is_written_and_then_keeps_still() -> None:
    fake, kind = guest(WEB, replace(UP, name="cron.service", id="cron.service", file="enabled"))
    desired = Desired(
        units={
            "web.service": Want(state="running", enabled=True),
            "cron.service": Want(state="stopped", enabled=False),
        }
    )
    observed = go(kind, desired)
    # What makes room comes first, over all units.
    order = [("disable", "cron.service"), ("enable", "web.service"), ("daemon-reload", "")]
    assert fake.heard == [*order, ("stop", "cron.service"), ("start", "web.service")]
    assert verdict(desired, observed) == ("InSync", "2 units")
    go(kind, desired)
    assert len(fake.heard) == 5


def test_an_unmanaged_kind_looks_at_nothing() -> None:
    fake, kind = guest(UP)
    observed = kind.observe(Desired(), PAST)
    assert fake.asked == ["units 0 True"]
    assert (kind.show(observed), kind.diff(Desired(), observed)) == ({}, ())


def test_drift_is_repaired() -> None:
    fake, kind = guest(WEB)
    go(kind, RUNNING)
    fake.held["web.service"] = WEB
    fake.now_s += 60
    drifted = kind.observe(RUNNING, PAST)
    assert verdict(RUNNING, drifted) == ("Drifted", "web is inactive, not running")
    assert verdict(RUNNING, go(kind, RUNNING)) == ("InSync", "1 unit")


def test_one_that_fails_costs_no_other_and_is_left_alone_for_a_while() -> None:
    other = replace(WEB, name="cron.service", id="cron.service")
    fake, kind = guest(WEB, other)
    fake.refuses = {"enable"}
    desired = Desired(
        units={"web.service": Want(enabled=True), "cron.service": Want(state="running", enabled=False)}
    )
    observed = go(kind, desired)
    assert fake.held["cron.service"].active == "active"
    assert verdict(desired, observed) == ("NotChanged", "web is inactive: cannot enable web.service: no")
    assert kind.due_s(desired, observed) == fake.now_s + 1
    fake.now_s += 1
    observed = go(kind, desired)
    assert kind.due_s(desired, observed) == fake.now_s + 2
    fake.refuses = set()
    fake.now_s += 2
    assert verdict(desired, go(kind, desired)) == ("InSync", "2 units")


def test_what_does_not_start_is_told_with_its_last_words() -> None:
    fake, kind = guest(WEB)
    fake.outcomes = {"start": "failed"}
    observed = go(kind, RUNNING)
    reason, message = verdict(RUNNING, observed)
    assert (reason, message) == (
        "NotStarted",
        "web is failed (exit-code, status 1); it said: out of cheese",
    )
    kind.observe(RUNNING, PAST)
    assert fake.asked.count("log web.service") == 1  # it says nothing new
    assert [n.message for n in kind.notices(replace(observed, units={"web.service": UP}), observed)] == [
        "web (exit-code, status 1)"
    ]


def test_what_systemd_gave_up_is_left_until_somebody_mends_it() -> None:
    fake, kind = guest(FAILED)
    fake.outcomes, fake.failed = {"start": "failed"}, replace(FAILED, restarts=5)
    assert verdict(RUNNING, go(kind, RUNNING))[0] == "GivenUp"
    fake.now_s += 100_000
    observed = go(kind, RUNNING)
    assert (verdict(RUNNING, observed)[0], kind.due_s(RUNNING, observed)) == ("GivenUp", None)
    assert fake.heard == [("reset and start", "web.service")]
    fake.held["web.service"] = UP
    assert verdict(RUNNING, kind.observe(RUNNING, PAST))[0] == "InSync"
    fake.held["web.service"] = FAILED
    assert verdict(RUNNING, kind.observe(RUNNING, PAST))[0] == "Drifted"


def test_another_document_begins_anew() -> None:
    fake, kind = guest(FAILED)
    fake.outcomes, fake.failed = {"start": "failed"}, replace(FAILED, restarts=5)
    go(kind, RUNNING)
    go(kind, RUNNING, replace(PAST, generation=2))
    assert fake.heard == [("reset and start", "web.service")] * 2


def test_a_preview_leaves_no_trace() -> None:
    fake, kind = guest(WEB)
    go(kind, RUNNING)
    fake.held["web.service"] = WEB
    before = kind.observe(RUNNING, PAST)
    preview = kind.observe(RUNNING, replace(PAST, preview=True, generation=2))
    assert [change.have for change in kind.diff(RUNNING, preview)] == ["inactive"]
    assert fake.asked[-2:] == ["units 1 True", "units 1 False"]
    assert kind.observe(RUNNING, PAST) == before


def test_the_agents_own_unit_is_asked_for_only_when_something_is_to_stop() -> None:
    fake, kind = guest(UP)
    fake.own = frozenset({"web.service"})
    kind.observe(RUNNING, PAST)
    assert "vital" not in fake.asked
    desired = Desired(units={"web.service": Want(state="stopped")})
    assert verdict(desired, kind.observe(desired, PAST))[0] == "Protected"
    kind.observe(desired, PAST)
    assert fake.asked.count("vital") == 1


def test_shows_what_there_is() -> None:
    unit = replace(FAILED, id="httpd.service", callers={"web.socket": "listening"})
    observed = Observed(boot_clock_s=1, units={"web.service": unit})
    assert Services.show(observed) == {
        "units": {
            "web": {
                "id": "httpd.service",
                "state": "failed",
                "sub": "failed",
                "file": "disabled",
                "result": "exit-code",
                "startedBy": {"web.socket": "listening"},
            }
        }
    }


def test_many_words_are_cut() -> None:
    names = [f"u{number}.service" for number in range(5)]
    units = {name: replace(WEB, name=name, id=name, load="masked") for name in names}
    desired = Desired(units={name: Want(state="running") for name in names})
    _, message = verdict(desired, Observed(boot_clock_s=1, units=units))
    assert message.endswith("; and 2 more")


UNITS = ["a.service", "b.service", "c.socket"]
wants = st.builds(
    Want,
    state=st.sampled_from([None, "running", "stopped"]),
    enabled=st.none() | st.booleans(),
    masked=st.none() | st.booleans(),
    restart=st.sampled_from(["", "v2"]),
    reload=st.sampled_from(["", "v2"]),
)
states = st.sampled_from(["active", "inactive", "failed", "activating", "deactivating", "reloading"])


def made(name: str, active: str, file: str, passing: bool, called: bool) -> Unit:
    callers = {"c.socket": "listening"} if called and name != "c.socket" else {}
    load = "masked" if file.startswith("masked") else "loaded"
    return Unit(
        name=name, id=name, active=active, file=file, passing=passing, load=load, callers=callers, job=""
    )


files = st.sampled_from(["enabled", "disabled", "static", "masked", "masked-runtime", "enabled-runtime", ""])
seen = st.tuples(*(st.builds(made, st.just(n), states, files, st.booleans(), st.booleans()) for n in UNITS))


@given(desired=st.fixed_dictionaries(dict.fromkeys(UNITS, wants)), units=seen)
def test_a_whole_plan_leaves_nothing_to_do(desired: dict[str, Want], units: tuple[Unit, ...]) -> None:
    for want in desired.values():
        assume(not (want.masked and (want.state == "running" or want.enabled)))
    observed = Observed(boot_clock_s=1, boot_id="boot", units={unit.name: unit for unit in units})
    wanted = Desired(units=desired)
    # A second round: what is up after the first may want to reload.
    for _ in range(2):
        for action in Services.plan(wanted, Services.diff(wanted, observed)):
            assert action.verb in Services.verbs  # or a policy could not name it
            assert action.phase >= Services.earliest
            observed = Services.foresee(observed, action)
    assert Services.diff(wanted, observed) == ()
    rest = [each for each in found(desired, observed) if isinstance(each, Said)]
    pressing = [each for each in rest if each.what in ("trouble", "wait")]
    assert Services.verdict(wanted, observed, ()).ready is not bool(pressing)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        pytest.param("{nginx: running}", {"nginx": {"state": "running"}}, id="short"),
        pytest.param("{ssh: {enabled: true}}", {"ssh": {"enabled": True}}, id="short with fields"),
        pytest.param(
            "{units: {a@b.timer: {state: stopped}}}", {"a@b.timer": {"state": "stopped"}}, id="long"
        ),
        pytest.param(
            "{a: {state: running, restart: 7}}", {"a": {"state": "running", "restart": "7"}}, id="token"
        ),
    ],
)
def test_reads(text: str, normal: dict[str, object]) -> None:
    document = read(f"services: {text}")[0].normal["services"]
    assert document == {"units": normal}
    assert Services.parse(document).units


def test_full_names_are_desired() -> None:
    assert Services.parse({"units": {"nginx": {"masked": True}}}) == Desired(
        units={"nginx.service": Want(masked=True)}
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{-rf: running}", "a unit's name such as", id="an option"),
        pytest.param("{'a;b': running}", "a unit's name such as", id="a semicolon"),
        pytest.param('{"a\\nb": running}', "a unit's name such as", id="two lines"),
        pytest.param("{../a: running}", "a unit's name such as", id="a path"),
        pytest.param('{"a\\0": running}', "", id="NUL"),
        pytest.param("{" + "a" * 300 + ": running}", "", id="huge"),
        pytest.param("{" + ", ".join(f"u{n}: running" for n in range(51)) + "}", "", id="too many"),
        pytest.param("{}", "", id="none"),
        pytest.param("{nginx: started}", "", id="another word"),
        pytest.param("{units: {nginx: running}}", "", id="a word in the long form"),
        pytest.param("{nginx: {}}", "says nothing", id="no wish"),
        pytest.param("{a: running, a.service: stopped}", "means the same as a", id="one unit twice"),
        pytest.param("{poweroff.target: running}", "a target changes", id="a target"),
        pytest.param("{systemd-suspend: running}", "kind power", id="power"),
        pytest.param("{getty@: running}", "a template is no unit", id="a template"),
        pytest.param("{dbus: stopped}", "the agent stands on it", id="the bus"),
        pytest.param("{guest-reconciler: {enabled: false}}", "the agent stands on it", id="the agent"),
        pytest.param("{systemd-logind: {state: running, restart: a}}", "the agent stands on it", id="logind"),
        pytest.param("{a: {restart: b}}", "restart goes only with", id="a restart of what may be stopped"),
        pytest.param(
            "{a: {state: stopped, reload: b}}", "reload goes only with", id="a reload of what stops"
        ),
        pytest.param("{a: {state: running, masked: true}}", "cannot be running", id="masked and running"),
        pytest.param("{a: {enabled: true, masked: true}}", "cannot be enabled", id="masked and enabled"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=r"services") as refusal:
        read(f"services: {text}")
    assert words in str(refusal.value)


def test_what_the_agent_stands_on_may_be_wanted() -> None:
    for name in VITAL:
        assert read(f"services: {{{name}: {{state: running, masked: false}}}}")
