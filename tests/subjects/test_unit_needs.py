"""What units need, decided without a systemd: one unit and one wish a row."""

from dataclasses import replace

import pytest

from reconciler.resource import Deed
from reconciler.subjects.unit_needs import Observed, Said, Step, Want, deed_of, found
from reconciler.subjects.unit_past import Spell, Try
from reconciler.subjects.units import VITAL, Unit

WEB = Unit(name="web.service", id="web.service", file="disabled")
UP = replace(WEB, active="active", sub="running")
FAILED = replace(WEB, active="failed", sub="failed", result="exit-code", exit="status 1")
ONCE = replace(WEB, passing=True)
CALLED = replace(WEB, callers={"web.socket": "listening"})
RUNNING, STOPPED = Want(state="running"), Want(state="stopped")
RESTART = Want(state="running", restart="v2")
RESTARTED = "restart:web.service:v2"
RAN = "start:web.service:boot"


def seen(unit: Unit, **more: object) -> Observed:
    observed = Observed(boot_clock_s=1000, boot_id="boot", generation=1, units={unit.name: unit})
    return replace(observed, **more)  # type: ignore[arg-type]


def steps(want: Want, observed: Observed, **others: Want) -> list[tuple[str, str]]:
    wants = {"web.service": want, **{name.replace("_", "."): other for name, other in others.items()}}
    return [(step.verb, step.target) for step in found(wants, observed) if isinstance(step, Step)]


def said(want: Want, observed: Observed) -> list[tuple[str, str]]:
    return [
        (each.what, each.words) for each in found({"web.service": want}, observed) if isinstance(each, Said)
    ]


@pytest.mark.parametrize(
    ("want", "unit", "verbs"),
    [
        pytest.param(Want(enabled=False), UP, [], id="state not managed"),
        pytest.param(RUNNING, UP, [], id="runs"),
        pytest.param(RUNNING, WEB, ["start"], id="to start"),
        pytest.param(RUNNING, FAILED, ["start"], id="failed, to start"),
        pytest.param(RUNNING, replace(WEB, active="activating"), [], id="starting is waited for"),
        pytest.param(RUNNING, replace(WEB, job="start"), [], id="queued is waited for"),
        pytest.param(RUNNING, replace(WEB, active="deactivating"), [], id="stopping is waited for"),
        pytest.param(RUNNING, replace(UP, active="reloading"), [], id="reloading runs"),
        pytest.param(RUNNING, replace(UP, load="not-found"), [], id="removed while it runs"),
        pytest.param(RUNNING, CALLED, [], id="on call by its socket"),
        pytest.param(
            RUNNING, replace(WEB, callers={"web.timer": "elapsed"}), ["start"], id="a timer that is over"
        ),
        pytest.param(
            RUNNING, replace(FAILED, callers=CALLED.callers), ["start"], id="failed, though on call"
        ),
        pytest.param(RUNNING, ONCE, ["start"], id="a oneshot is to run"),
        pytest.param(RUNNING, replace(ONCE, ran=True), [], id="a oneshot has run"),
        pytest.param(STOPPED, WEB, [], id="stopped"),
        pytest.param(STOPPED, FAILED, [], id="failed is stopped"),
        pytest.param(STOPPED, UP, ["stop"], id="to stop"),
        pytest.param(
            STOPPED, replace(WEB, active="activating", sub="auto-restart"), ["stop"], id="comes back"
        ),
        pytest.param(STOPPED, replace(UP, active="deactivating"), [], id="stops already"),
        pytest.param(STOPPED, replace(WEB, load="not-found", file=""), [], id="not installed is stopped"),
        pytest.param(Want(enabled=True), WEB, ["enable"], id="to enable"),
        pytest.param(
            Want(enabled=True), replace(WEB, file="enabled-runtime"), ["enable"], id="for this boot only"
        ),
        pytest.param(Want(enabled=True), replace(WEB, file="enabled"), [], id="enabled"),
        pytest.param(Want(enabled=True), replace(WEB, file="static"), [], id="static cannot"),
        pytest.param(Want(enabled=False), replace(WEB, file="static"), [], id="static is not enabled"),
        pytest.param(Want(enabled=False), replace(WEB, file="enabled"), ["disable"], id="to disable"),
        pytest.param(Want(masked=True), WEB, ["mask"], id="to mask"),
        pytest.param(
            Want(masked=True), replace(WEB, file="masked-runtime"), ["mask"], id="masked until a reboot"
        ),
        pytest.param(Want(masked=False), WEB, [], id="not masked"),
        pytest.param(Want(masked=True), replace(WEB, file="masked", load="masked"), [], id="masked for good"),
        pytest.param(
            Want(masked=True), replace(WEB, file="masked"), ["mask"], id="masked, and systemd does not know"
        ),
        pytest.param(
            Want(masked=False, state="running"),
            replace(WEB, load="masked"),
            ["unmask", "start"],
            id="unmasked, and systemd does not know",
        ),
        pytest.param(
            Want(state="running", masked=False, enabled=True),
            replace(WEB, file="masked", load="masked", can=frozenset()),
            ["unmask", "enable", "start"],
            id="all that a masked one needs",
        ),
        pytest.param(RESTART, UP, ["restart"], id="to restart"),
        pytest.param(RESTART, WEB, ["restart"], id="a restart starts"),
        pytest.param(Want(state="running", reload="v2"), UP, ["reload"], id="to reload"),
        pytest.param(Want(state="running", reload="v2"), WEB, ["start"], id="what starts reads its settings"),
    ],
)
def test_steps(want: Want, unit: Unit, verbs: list[str]) -> None:
    assert steps(want, seen(unit)) == [(verb, "web.service") for verb in verbs]


@pytest.mark.parametrize(
    ("want", "unit", "what", "words"),
    [
        pytest.param(RUNNING, CALLED, "note", "web waits for web.socket", id="on call"),
        pytest.param(RUNNING, replace(ONCE, ran=True), "note", "web has run", id="has run"),
        pytest.param(
            RUNNING, replace(WEB, active="activating", sub="start-pre"), "wait", "(start-pre)", id="waits"
        ),
        pytest.param(RUNNING, replace(WEB, load="not-found"), "trouble", "no such unit", id="not there"),
        pytest.param(
            RUNNING, replace(WEB, load="masked"), "trouble", "cannot start: it is masked", id="masked"
        ),
        pytest.param(
            RUNNING,
            replace(WEB, load="bad-setting", trouble="no ExecStart="),
            "trouble",
            "no ExecStart=",
            id="bad",
        ),
        pytest.param(RUNNING, replace(WEB, can=frozenset()), "trouble", "by hand", id="by dependency only"),
        pytest.param(STOPPED, replace(UP, can=frozenset()), "trouble", "systemd refuses", id="cannot stop"),
        pytest.param(Want(enabled=True), replace(WEB, file="static"), "trouble", "[Install]", id="static"),
        pytest.param(
            Want(enabled=True), replace(WEB, file="indirect"), "trouble", "other units", id="indirect"
        ),
        pytest.param(
            Want(enabled=True), replace(WEB, file="masked"), "trouble", "it is masked", id="enable masked"
        ),
        pytest.param(
            Want(state="running", reload="v2"),
            replace(UP, can=frozenset({"start"})),
            "trouble",
            "no ExecReload=",
            id="cannot reload",
        ),
    ],
)
def test_words(want: Want, unit: Unit, what: str, words: str) -> None:
    ((kind, text),) = said(want, seen(unit))
    assert kind == what
    assert words in text
    assert steps(want, seen(unit)) == []


def test_the_nearest_unit_is_named() -> None:
    near = seen(replace(WEB, load="not-found"), nearest={"web.service": "webd.service"})
    assert said(RUNNING, near) == [("trouble", "web: no such unit (did you mean webd?)")]


def test_who_would_start_it_is_stopped_first() -> None:
    up = seen(replace(UP, callers={"web.socket": "running", "web.timer": "elapsed"}))
    assert steps(STOPPED, up) == [("stop", "web.socket"), ("stop", "web.service")]


def test_what_the_document_says_of_a_caller_stands() -> None:
    assert steps(STOPPED, seen(CALLED), web_socket=RUNNING) == []
    assert said(STOPPED, seen(CALLED)) == []
    wants = {"web.service": STOPPED, "web.socket": RUNNING}
    notes = [each for each in found(wants, seen(CALLED)) if isinstance(each, Said)]
    assert [each.words for each in notes] == ["web comes back when web.socket is called"]


@pytest.mark.parametrize("want", [STOPPED, Want(enabled=False), Want(masked=True), RESTART])
def test_what_the_agent_stands_on_is_let_alone(want: Want) -> None:
    aliased = seen(replace(UP, id="dbus.service", can=frozenset()))
    assert steps(want, aliased) == []
    assert "the agent stands on it" in said(want, aliased)[0][1]
    own = seen(replace(UP, id="other.service"), vital=VITAL | {"other.service"})
    assert steps(want, own) == []


def test_a_caller_that_the_agent_stands_on_is_let_alone() -> None:
    called = seen(replace(WEB, callers={"dbus.socket": "running"}))
    assert steps(STOPPED, called) == []
    assert "comes back by dbus.socket" in said(STOPPED, called)[0][1]


def test_an_alias_of_power_is_let_alone() -> None:
    assert steps(RUNNING, seen(replace(WEB, id="systemd-poweroff.service"))) == []


def test_one_unit_by_two_names() -> None:
    other = replace(WEB, name="httpd.service")
    observed = replace(seen(WEB), units={"web.service": WEB, "httpd.service": other})
    wants = {"web.service": RUNNING, "httpd.service": STOPPED}
    assert [type(each) for each in found(wants, observed)] == [Step, Said]


def deed(token: str, state: str = "done") -> dict[str, Deed]:
    return {token: Deed(state, "boot", 1)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("want", "unit", "token"),
    [
        pytest.param(RESTART, UP, RESTARTED, id="restarted"),
        pytest.param(Want(state="running", reload="v2"), UP, "reload:web.service:v2", id="reloaded"),
        pytest.param(RUNNING, ONCE, RAN, id="ran in this boot, and systemd has forgotten"),
    ],
)
def test_once_for_each_token(want: Want, unit: Unit, token: str) -> None:
    (step,) = (each for each in found({"web.service": want}, seen(unit)) if isinstance(each, Step))
    assert step.token == token
    assert steps(want, seen(unit, deeds=deed(token))) == []
    assert steps(want, seen(unit, deeds=deed(token, "refused"))) != []
    begun = seen(unit, deeds=deed(token, "begun"))
    assert steps(want, begun) == []
    assert said(want, begun) != []


def test_a_reload_that_failed_is_said_and_not_repeated() -> None:
    failed = seen(replace(UP, reloaded="exit-code"), deeds=deed("reload:web.service:v2"))
    (each,) = found({"web.service": Want(state="running", reload="v2")}, failed)
    words = "web was reloaded for v2 and failed at it (exit-code)"
    assert each == Said("trouble", words, "NotReloaded")
    assert found({"web.service": RUNNING}, failed) == []


def test_a_token_belongs_to_the_unit_whatever_it_is_called() -> None:
    alias = replace(UP, name="httpd.service")
    by_alias = seen(alias, deeds=deed(RESTARTED))
    assert found({"httpd.service": RESTART}, by_alias) == []
    assert [type(each) for each in found({"httpd.service": RESTART}, seen(alias))] == [Step]


def test_no_two_units_and_tokens_share_a_deed() -> None:
    rows = [("a.service", "b.service:v"), ("a.service:b.service", "v"), (r"a.service\x3ab.service", "v")]
    deeds = {deed_of("restart", replace(WEB, id=id), token) for id, token in rows}
    assert len(deeds) == len(rows)


def test_after_a_restart_that_failed_it_is_started() -> None:
    assert steps(RESTART, seen(FAILED, deeds=deed(RESTARTED))) == [("start", "web.service")]


def test_whether_a_oneshot_has_run_is_not_known_where_its_start_is_not() -> None:
    begun = deed(RAN, "begun")
    assert said(RUNNING, seen(ONCE, deeds=begun)) == [
        ("unknown", "whether web was started in this boot is not known")
    ]
    assert said(RUNNING, seen(replace(ONCE, ran=True), deeds=begun)) == [("note", "web has run")]
    assert steps(RESTART, seen(ONCE, deeds=begun)) == [("restart", "web.service")]
    restarted = begun | deed(RESTARTED)
    assert said(RESTART, seen(ONCE, deeds=restarted)) == [("note", "web has run")]
    elsewhere = begun | {RESTARTED: Deed("done", "another boot", 1)}
    assert [what for what, _ in said(RESTART, seen(ONCE, deeds=elsewhere))] == ["unknown"]


def test_a_oneshot_that_failed_is_not_run_again_in_this_boot() -> None:
    failed = seen(replace(FAILED, passing=True), deeds=deed(RAN), logs={"web.service": ("disk full",)})
    assert steps(RUNNING, failed) == []
    ((_, words),) = said(RUNNING, failed)
    assert words == (
        "web is failed (exit-code, status 1): it runs once in each boot, or for a restart token; "
        "it said: disk full"
    )


def tried(count: int, ago_s: float, **more: object) -> dict[tuple[str, str], Try]:
    return {("start", "web.service"): Try(count, 1000 - ago_s, 1, **more)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tries", "starts"),
    [
        pytest.param(tried(1, 0.5), False, id="just now"),
        pytest.param(tried(1, 1.5), True, id="a second ago"),
        pytest.param(tried(4, 7), False, id="the fourth time"),
        pytest.param(tried(30, 299), False, id="never more seldom"),
        pytest.param(tried(30, 301), True, id="than every five minutes"),
        pytest.param(tried(9, 601), True, id="long ago"),
        pytest.param(tried(1, 10_000, given_up=True), False, id="given up by systemd"),
        pytest.param({("start", "web.service"): Try(9, 999, 0)}, True, id="for another document"),
    ],
)
def test_what_fails_is_tried_ever_more_slowly(tries: dict[tuple[str, str], Try], starts: bool) -> None:
    assert bool(steps(RUNNING, seen(FAILED, tries=tries))) is starts


def test_why_it_does_not_run() -> None:
    logs = {"web.service": ("cannot bind", "bye")}
    failed = seen(FAILED, tries=tried(1, 0), logs=logs)
    assert said(RUNNING, failed) == [
        ("trouble", "web is failed (exit-code, status 1); it said: cannot bind | bye")
    ]
    alone = seen(WEB, tries=tried(1, 0, why="a unit that it needs did not start"))
    assert said(RUNNING, alone) == [("trouble", "web is inactive: a unit that it needs did not start")]


def test_a_new_document_forgets_what_systemd_counted() -> None:
    (step,) = found({"web.service": RUNNING}, seen(FAILED))
    assert isinstance(step, Step)
    assert step.options == {"reset": True}
    (step,) = found({"web.service": RUNNING}, seen(FAILED, tries=tried(1, 60)))
    assert isinstance(step, Step)
    assert step.options is None
    given_up = seen(FAILED, tries=tried(1, 0, given_up=True))
    assert "given up until the document changes" in said(RUNNING, given_up)[0][1]


def test_what_was_done_and_undone_is_no_failure_to_do_it() -> None:
    stopped = {("stop", "web.service"): Try(6, 999, 1, held=True)}
    (each,) = found({"web.service": STOPPED}, seen(UP, tries=stopped))
    assert each == Said("trouble", "web is active (running): stop was done, and undone since", "Undone")
    refused = {("stop", "web.service"): Try(6, 999, 1, held=True, why="no")}
    (each,) = found({"web.service": STOPPED}, seen(UP, tries=refused))
    assert isinstance(each, Said)
    assert each.reason == "NotStopped"


RESTLESS = {"web.service": Spell(4, 9, 900, " (exit-code, status 1)")}


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(UP, id="up just now"),
        pytest.param(replace(WEB, active="activating", sub="auto-restart"), id="waits to be started again"),
        pytest.param(replace(WEB, active="activating", sub="start"), id="starts"),
    ],
)
def test_what_comes_back_over_and_over_is_trouble_in_the_same_words(unit: Unit) -> None:
    restless = seen(unit, spells=RESTLESS, logs={"web.service": ("out of cheese",)})
    (each,) = found({"web.service": RUNNING}, restless)
    words = "web ends, and systemd starts it again and again (exit-code, status 1); it said: out of cheese"
    assert each == Said("trouble", words, "Restarting")
    assert found({"web.service": STOPPED}, seen(WEB, spells=RESTLESS)) == []


def test_a_token_is_used_for_what_comes_back_over_and_over() -> None:
    assert steps(RESTART, seen(UP, spells=RESTLESS)) == [("restart", "web.service")]
