"""Freeze, thaw and trim, decided without a filesystem in sight."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents import read
from reconciler.errors import DriverError, InvalidSpec, Unsupported
from reconciler.resource import Action, Json, Phase, Touch
from reconciler.resources.filesystems import (
    Desired,
    Filesystems,
    Freeze,
    Observed,
    PastFreeze,
    Seen,
    Trim,
)
from reconciler.subjects.mounts import Mount

ROOT = Mount(1, "/", "ext4", "8:1", disks=("sda",), size=1000, used=537)
EFI = Mount(2, "/boot/efi", "vfat", "8:2", why_not="vfat cannot freeze")
HOME = Mount(3, "/home", "xfs", "8:3")
LOOP = Mount(4, "/mnt/image", "ext4", "7:0", backed_by=("8:3",))
MOUNTS = (ROOT, EFI, HOME, LOOP)

HELD = Freeze(
    epoch=4, generation=7, until_s=160.0, devices=("7:0", "8:3", "8:1"), mounts=("/mnt/image", "/home", "/")
)
NOTHING = Observed(Seen(100.0, MOUNTS, epoch=3), generation=7)
FROZEN = replace(NOTHING, seen=replace(NOTHING.seen, epoch=4, freeze=HELD), frozen_before=True)
SPENT = replace(NOTHING, frozen_before=True)
FREEZE = Desired(state="frozen")
TRIM = Trim(token="t1", minimum=4096)

THAW = Action("thaw", "filesystems", Phase.RELEASE)


def freeze(lease_s: float = 60.0, mounts: Sequence[str] = (), generation: int = 7, epoch: int = 4) -> Action:
    terms = {
        "generation": generation,
        "lease_s": lease_s,
        "epoch": epoch,
        "until_s": 100.0 + lease_s,
        "mounts": list(mounts),
    }
    return Action("freeze", "filesystems", Phase.HOLD, f"freeze@{generation}", terms)


def trim() -> Action:
    return Action(
        "trim", "filesystems", token="trim@t1", value={"minimum": 4096, "mounts": [], "token": "t1"}
    )


def held(**changes: Json) -> Observed:
    return replace(FROZEN, seen=replace(FROZEN.seen, freeze=replace(HELD, **changes)))


@pytest.mark.parametrize(
    ("desired", "observed", "actions"),
    [
        pytest.param(Desired(), NOTHING, [], id="not managed"),
        pytest.param(Desired(), FROZEN, [THAW], id="not managed any more"),
        pytest.param(Desired(state="thawed"), NOTHING, [], id="thawed and so desired"),
        pytest.param(Desired(state="thawed"), FROZEN, [THAW], id="thaw"),
        pytest.param(FREEZE, NOTHING, [freeze()], id="freeze"),
        pytest.param(FREEZE, FROZEN, [], id="already held"),
        pytest.param(FREEZE, SPENT, [], id="spent: no second freeze for one generation"),
        pytest.param(FREEZE, held(until_s=100.0), [THAW], id="the lease ended and nobody thawed"),
        pytest.param(FREEZE, held(guarded=False), [THAW], id="the guardian died"),
        pytest.param(
            FREEZE,
            replace(FROZEN, generation=8, frozen_before=False),
            [THAW, freeze(generation=8, epoch=5)],
            id="another generation has a freeze of its own",
        ),
        pytest.param(
            Desired(state="frozen", lease_s=3600, mounts=("/home",)),
            NOTHING,
            [freeze(600.0, ["/home"])],
            id="the policy cuts the lease",
        ),
        pytest.param(Desired(trim=TRIM), NOTHING, [trim()], id="trim"),
        pytest.param(Desired(trim=TRIM), replace(NOTHING, trimmed="done"), [], id="trimmed once"),
        pytest.param(
            Desired(state="frozen", trim=TRIM), NOTHING, [trim(), freeze()], id="trim before freeze"
        ),
    ],
)
def test_plan(desired: Desired, observed: Observed, actions: list[Action]) -> None:
    assert list(Filesystems.plan(desired, Filesystems.diff(desired, observed))) == actions


@pytest.mark.parametrize(
    ("desired", "observed", "ready", "reason", "message"),
    [
        pytest.param(FREEZE, FROZEN, True, "InSync", "3 of 3 frozen", id="frozen"),
        pytest.param(
            Desired(state="frozen", lease_s=700.0),
            FROZEN,
            True,
            "InSync",
            "3 of 3 frozen; the guest's policy cut the lease to 600 s",
            id="with less of a lease than was asked for",
        ),
        pytest.param(FREEZE, held(note="x"), True, "InSync", "3 of 3 frozen; x", id="a guardian with a lack"),
        pytest.param(FREEZE, NOTHING, False, "Drifted", "state is to be frozen", id="not frozen yet"),
        pytest.param(
            FREEZE,
            SPENT,
            False,
            "LeaseEnded",
            "the freeze of this document is spent",
            id="spent, and none knows how",
        ),
        pytest.param(
            FREEZE,
            replace(SPENT, seen=replace(SPENT.seen, last=PastFreeze(4, 7, "Broken", "/home was thawed"))),
            False,
            "LeaseEnded",
            "freeze 4 is over (Broken): /home was thawed",
            id="spent, and how",
        ),
        pytest.param(
            FREEZE,
            held(devices=("8:3", "8:1")),
            False,
            "MountedSince",
            "mounted after the freeze: /mnt/image",
            id="a disk that came later",
        ),
        pytest.param(
            Desired(state="frozen", mounts=("/home",)),
            held(devices=("8:3",)),
            True,
            "InSync",
            "1 of 1 frozen",
            id="others do not matter where some are named",
        ),
        pytest.param(Desired(state="thawed"), NOTHING, True, "InSync", "", id="thawed"),
        pytest.param(
            Desired(trim=TRIM),
            replace(
                NOTHING,
                trimmed="done",
                seen=replace(
                    NOTHING.seen,
                    trimmed={"token": "t1", "trimmed": {"/": 5, "/home": 7}, "refused": {"/x": "no"}},
                ),
            ),
            True,
            "InSync",
            "trimmed 12 bytes; /x: no",
            id="trimmed",
        ),
        pytest.param(
            Desired(trim=TRIM),
            replace(NOTHING, trimmed="begun"),
            False,
            "OutcomeUnknown",
            "a trim was begun, and may not have been done",
            id="begun, and then there was a crash",
        ),
    ],
)
def test_verdict(desired: Desired, observed: Observed, ready: bool, reason: str, message: str) -> None:
    verdict = Filesystems.verdict(desired, observed, Filesystems.diff(desired, observed))
    assert (verdict.ready, verdict.reason, verdict.message) == (ready, reason, message)
    assert verdict.failed is (reason == "OutcomeUnknown")


frozen_states = st.sampled_from([None, HELD, replace(HELD, generation=6), replace(HELD, guarded=False)])
observations = st.builds(
    Observed,
    st.builds(
        Seen,
        boot_clock_s=st.floats(0, 300),
        mounts=st.lists(st.sampled_from(MOUNTS), unique=True).map(lambda found: (ROOT, *found)),
        epoch=st.integers(0, 9),
        freeze=frozen_states,
    ),
    generation=st.just(7),
    frozen_before=st.booleans(),
    trim_token=st.just("t1"),
    trimmed=st.sampled_from(["", "begun", "done"]),
)
wishes = st.builds(
    Desired,
    state=st.sampled_from([None, "frozen", "thawed"]),
    lease_s=st.floats(1, 1000),
    mounts=st.sampled_from([(), ("/",)]),
    trim=st.sampled_from([None, TRIM]),
)


@given(wishes, observations)
def test_a_plan_converges(desired: Desired, observed: Observed) -> None:
    after = observed
    for action in Filesystems.plan(desired, Filesystems.diff(desired, observed)):
        assert action.verb in Filesystems.verbs  # or a policy could not name it
        after = Filesystems.foresee(after, action)
    assert Filesystems.diff(desired, after) == ()
    if desired.state != "frozen":
        assert not Filesystems.holding(after)


def test_a_freeze_that_is_rehearsed_shows_an_epoch_and_ends() -> None:
    during = Filesystems.show(Filesystems.foresee(NOTHING, freeze()))
    assert during["freeze"] == {
        "epoch": 4,
        "generation": 7,
        "until": 160.0,
        "mounts": ["/mnt/image", "/home", "/"],
    }
    later = replace(NOTHING, seen=replace(NOTHING.seen, boot_clock_s=160.0))
    after = Filesystems.show(Filesystems.foresee(later, freeze()))
    assert "freeze" not in after
    assert after["lastFreeze"] == {"epoch": 4, "generation": 7, "ended": "LeaseEnded"}


def test_a_rehearsed_freeze_spends_its_own_generation_only() -> None:
    later = Filesystems.foresee(replace(NOTHING, generation=8), freeze(generation=7))
    assert not later.frozen_before
    assert Filesystems.foresee(NOTHING, freeze()).frozen_before


def test_a_rehearsed_freeze_is_renewed() -> None:
    during = Filesystems.foresee(NOTHING, freeze(10.0))
    later = replace(NOTHING, seen=replace(NOTHING.seen, boot_clock_s=109.0))
    renewal = Filesystems.foreseen_renewal(
        replace(during, seen=replace(during.seen, boot_clock_s=109.0)), 7, 900.0
    )
    renewed = Filesystems.foresee(later, renewal).seen.freeze
    assert during.seen.freeze is not None
    assert renewed == replace(during.seen.freeze, until_s=709.0)
    with pytest.raises(DriverError, match="no freeze of generation 6 holds"):
        Filesystems.foreseen_renewal(during, 6, 10.0)


def test_a_rehearsed_freeze_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(Unsupported, match="/nope"):
        Filesystems.foresee(NOTHING, freeze(mounts=["/nope"]))


def test_a_rehearsed_freeze_is_over_when_its_disk_is_gone() -> None:
    after = Filesystems.foresee_all(NOTHING, [freeze(mounts=["/nope"]), trim()])
    assert after.seen.freeze is None
    assert after.seen.trimmed["token"] == "t1"


def test_a_rehearsed_trim_spends_its_own_token_only() -> None:
    asked = replace(NOTHING, trim_token="t1")
    assert Filesystems.foresee(asked, trim()).trimmed == "done"
    assert Filesystems.foresee(replace(NOTHING, trim_token="t2"), trim()).trimmed == ""


def test_what_is_shown_of_a_mount() -> None:
    shown = Filesystems.show(FROZEN)["mounts"]
    assert shown[0] == {
        "path": "/",
        "type": "ext4",
        "device": "8:1",
        "frozen": True,
        "canFreeze": True,
        "size": 1000,
        "usedPercent": 50,
        "disks": ["sda"],
    }
    assert [(mount["path"], mount["frozen"]) for mount in shown[1:]] == [
        ("/home", True),
        ("/mnt/image", True),
        ("/boot/efi", False),
    ]


def test_it_looks_again_when_the_guardian_should_have_thawed() -> None:
    assert Filesystems.due_s(FREEZE, FROZEN) == 160.25
    assert Filesystems.due_s(FREEZE, NOTHING) is None


def test_notices_tell_of_a_freeze_and_its_end() -> None:
    over = replace(SPENT, seen=replace(SPENT.seen, last=PastFreeze(4, 7, "LeaseEnded")))
    assert [notice.reason for notice in Filesystems.notices(NOTHING, FROZEN)] == ["Frozen"]
    assert [notice.reason for notice in Filesystems.notices(FROZEN, over)] == ["LeaseEnded"]
    assert Filesystems.notices(over, over) == ()


def test_what_it_reaches_for() -> None:
    desired = Desired(state="frozen", mounts=("/a",), trim=Trim(token="t", mounts=("/b",)))
    assert Filesystems.touches(desired) == (Touch("path", "/a"), Touch("path", "/b"))


@pytest.mark.parametrize(
    ("text", "desired"),
    [
        pytest.param("filesystems: frozen", FREEZE, id="short"),
        pytest.param("filesystems: thawed", Desired(state="thawed"), id="short, thawed"),
        pytest.param(
            "filesystems: {state: frozen, lease: 1m30s, mounts: [/data/, /home]}",
            Desired(state="frozen", lease_s=90, mounts=("/data", "/home")),
            id="long",
        ),
        pytest.param(
            "filesystems: {trim: {token: 42, minimum: 1MiB, mounts: [/data]}}",
            Desired(trim=Trim(token="42", minimum=1 << 20, mounts=("/data",))),
            id="trim alone",
        ),
    ],
)
def test_both_forms(text: str, desired: Desired) -> None:
    assert Filesystems.parse(read(text)[0].normal["filesystems"]) == desired


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("filesystems: frozn", 'did you mean "frozen"', id="word"),
        pytest.param("filesystems: {state: frozen, lease: 1ms}", "at least 1s", id="lease too short"),
        pytest.param("filesystems: {mounts: [data]}", "mounts", id="not a path"),
        pytest.param("filesystems: {trim: {minimum: 1}}", "token", id="trim without token"),
    ],
)
def test_refusals(text: str, why: str) -> None:
    with pytest.raises(InvalidSpec, match=why):
        read(text)
