"""Files compared, written and removed, decided without a guest."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import DriverError, Terminal
from reconciler.resource import Action, Deed, Past, Phase, Touch
from reconciler.resources.files import FAILED_S, Desired, Files, Paths, Terms
from reconciler.secret import Safe, Secret
from reconciler.subjects.file_states import File, Observed, Seen, digest_of

MOTD, KEY = "/etc/motd", "/etc/key"
HELLO = b"hello\n"
NUMBERS = {"root": 0, "alice": 1000}
PLAIN = {"backup": False}
HERE = Seen(state="file", digest=digest_of([HELLO]), size=6, mode=0o644, owner="root", group="root")
SECRET = f"paths.{KEY}.secret"


def hello(**more: Any) -> File:
    return File(path=MOTD, content=HELLO, digest=digest_of([HELLO]), **more)


def secret(**more: Any) -> File:
    return File(path=KEY, secret=SECRET, mode=0o600, owner=0, group=0, **more)


def seen(**files: Any) -> Observed:
    return Observed(users=NUMBERS, groups=NUMBERS, generation=3, **files)


def at(path: str, found: Seen, **more: Any) -> Observed:
    return seen(files={path: found}, **more)


def planned(desired: Desired, observed: Observed) -> list[tuple[str, str, str | None]]:
    plan = Files.plan(desired, Files.diff(desired, observed))
    assert all(action.phase is Phase.CONTENT and action.verb in Files.verbs for action in plan)
    return [(action.verb, action.target, action.token) for action in plan]


@pytest.mark.parametrize(
    ("file", "found", "plan"),
    [
        pytest.param(hello(), HERE, [], id="as desired"),
        pytest.param(hello(), Seen(), [("write", MOTD, None)], id="not there"),
        pytest.param(hello(), replace(HERE, digest="sha256:0"), [("write", MOTD, None)], id="other content"),
        pytest.param(hello(), replace(HERE, digest=""), [("write", MOTD, None)], id="far too long"),
        pytest.param(hello(mode=0o600), HERE, [("write", MOTD, None)], id="a known content is written anew"),
        pytest.param(hello(owner="alice"), HERE, [("write", MOTD, None)], id="owner"),
        pytest.param(hello(owner="root", group=0), HERE, [], id="by name and number"),
        pytest.param(
            hello(), replace(HERE, mode=0o4644), [], id="a mode that is not written is not looked at"
        ),
        pytest.param(
            hello(mode=0o644), replace(HERE, mode=0o4644), [("write", MOTD, None)], id="setuid is taken away"
        ),
        pytest.param(hello(), replace(HERE, names=2), [], id="two names, and as desired"),
        pytest.param(
            hello(mode=0o600), replace(HERE, names=2), [("write", MOTD, None)], id="a new file has one name"
        ),
        pytest.param(
            File(path=MOTD, mode=0o600), HERE, [("adjust", MOTD, None)], id="no content: changed in place"
        ),
        pytest.param(File(path=MOTD), Seen(), [("write", MOTD, None)], id="an empty one"),
        pytest.param(File(path=MOTD), HERE, [], id="any will do"),
        pytest.param(File(path=MOTD, absent=True), HERE, [("remove", MOTD, None)], id="to be removed"),
        pytest.param(File(path=MOTD, absent=True), Seen(), [], id="is absent"),
        pytest.param(
            File(path=MOTD, absent=True), Seen(obstacle="there is no folder /etc"), [], id="absent anyhow"
        ),
        pytest.param(hello(), replace(HERE, obstacle="it is immutable"), [], id="fixed, but as desired"),
    ],
)
def test_plan(file: File, found: Seen, plan: list[tuple[str, str, str | None]]) -> None:
    desired, observed = Desired((file,)), at(MOTD, found)
    assert planned(desired, observed) == plan
    if not plan:
        assert Files.verdict(desired, observed, ()).ready


@pytest.mark.parametrize(
    ("file", "found", "why"),
    [
        pytest.param(
            hello(), Seen(state="other", obstacle="it is a folder"), "it is a folder", id="in the way"
        ),
        pytest.param(
            File(path=MOTD, absent=True),
            Seen(state="other", obstacle="it is a symbolic link to /x"),
            "it is a symbolic link to /x",
            id="a link is not removed",
        ),
        pytest.param(
            hello(), Seen(obstacle="there is no folder /etc"), "there is no folder /etc", id="no folder"
        ),
        pytest.param(
            hello(mode=0o600), replace(HERE, obstacle="it is immutable"), "it is immutable", id="immutable"
        ),
        pytest.param(
            File(path=MOTD, mode=0o600),
            replace(HERE, names=2),
            "it has 2 names (hard links), and all would change",
            id="another's name",
        ),
        pytest.param(hello(owner="bob"), HERE, "there is no user bob", id="no such user"),
        pytest.param(hello(group="staff"), HERE, "there is no group staff", id="no such group"),
    ],
)
def test_what_hinders_is_said_and_hinders_no_other(file: File, found: Seen, why: str) -> None:
    desired = Desired((file, File(path="/etc/other")))
    observed = replace(at(MOTD, found), users={**NUMBERS, "bob": None}, groups={**NUMBERS, "staff": None})
    observed = replace(observed, files={**observed.files, "/etc/other": Seen()})
    assert planned(desired, observed) == [("write", "/etc/other", None)]
    observed = replace(observed, files={**observed.files, "/etc/other": HERE})
    verdict = Files.verdict(desired, observed, ())
    assert (verdict.reason, verdict.message, verdict.failed) == ("Blocked", f"{MOTD}: {why}", True)


TOKEN = f"write@3:{KEY}"
DONE = Deed("done", "b", 3)


@pytest.mark.parametrize(
    ("found", "more", "plan", "reason"),
    [
        pytest.param(Seen(), {"secrets": {KEY}}, [("write", KEY, TOKEN)], "Drifted", id="first"),
        pytest.param(HERE, {"secrets": {KEY}}, [("write", KEY, TOKEN)], "Drifted", id="a new generation"),
        pytest.param(Seen(), {}, [], "SecretMissing", id="it never came"),
        pytest.param(HERE, {}, [], "SecretMissing", id="it never came for this generation"),
        pytest.param(replace(HERE, mode=0o600), {"deeds": {KEY: DONE}}, [], "InSync", id="written"),
        pytest.param(HERE, {"deeds": {KEY: DONE}}, [("adjust", KEY, None)], "Drifted", id="mode drifted"),
        pytest.param(Seen(), {"deeds": {KEY: DONE}}, [], "SecretMissing", id="removed by hand"),
        pytest.param(HERE, {"deeds": {KEY: Deed("begun", "b", 3)}}, [], "OutcomeUnknown", id="nobody knows"),
    ],
)
def test_a_secret_is_written_once_for_each_generation(
    found: Seen, more: Mapping[str, Any], plan: list[tuple[str, str, str | None]], reason: str
) -> None:
    desired, observed = Desired((secret(),)), at(KEY, found, **more)
    assert planned(desired, observed) == plan
    verdict = Files.verdict(desired, observed, Files.diff(desired, observed))
    assert (verdict.reason, verdict.failed) == (reason, reason in ("SecretMissing", "OutcomeUnknown"))


contents = st.sampled_from([b"", HELLO, b"\xff\0"])
owners = st.none() | st.sampled_from(["root", "alice", 0, 7])
modes = st.sampled_from([0o600, 0o644, 0o755])
common = {"mode": st.none() | modes, "owner": owners, "group": owners, "backup": st.booleans()}
files = st.one_of(
    st.builds(File, path=st.just(MOTD), absent=st.just(True), backup=st.booleans()),
    st.builds(File, path=st.just(MOTD), **common),
    st.builds(File, path=st.just(MOTD), secret=st.just("s"), **common),
    contents.flatmap(
        lambda content: st.builds(
            File, path=st.just(MOTD), content=st.just(content), digest=st.just(digest_of([content])), **common
        )
    ),
)
found_files = st.just(Seen()) | st.builds(
    Seen,
    state=st.just("file"),
    digest=contents.map(lambda content: digest_of([content])),
    mode=modes,
    uid=st.sampled_from([0, 1000]),
    gid=st.sampled_from([0, 1000]),
)


@given(file=files, found=found_files, deeds=st.sampled_from([{}, {MOTD: DONE}]))
def test_a_whole_plan_leaves_nothing_to_do(file: File, found: Seen, deeds: Mapping[str, Deed]) -> None:
    desired = Desired((file,))
    observed = at(MOTD, found, deeds=deeds if file.secret else {}, secrets=frozenset({MOTD}))
    plan = Files.plan(desired, Files.diff(desired, observed))
    assert len(plan) <= 1
    for action in plan:
        observed = Files.foresee(observed, action)
    assert Files.diff(desired, observed) == ()
    verdict = Files.verdict(desired, observed, ())
    assert verdict.ready or (file.secret and deeds and found.state == "absent")


@dataclass
class FakePaths:
    """A guest's files in memory."""

    files: dict[str, tuple[bytes, Seen]] = field(default_factory=dict)
    followed: frozenset[str] = frozenset()
    broken: str = ""
    now_s: float = 100.0

    @classmethod
    def available(cls) -> bool:
        return True

    def boot_clock_s(self) -> float:
        return self.now_s

    def follow(self, paths: Iterable[str]) -> None:
        self.followed = frozenset(paths)

    def look(self, path: str, *, digest: bool) -> Seen:
        content, found = self.files.get(path, (b"", Seen()))
        return replace(found, digest=digest_of([content]) if digest and found.state == "file" else "")

    def user(self, name: str) -> int | None:
        return NUMBERS.get(name)

    def group(self, name: str) -> int | None:
        return NUMBERS.get(name)

    def write(self, path: str, content: bytes | bytearray, terms: Terms) -> None:
        if path == self.broken:
            raise DriverError(f"cannot write {path}: No space left on device")
        found = Seen(state="file", mode=0o644 if terms.mode is None else terms.mode, uid=terms.uid or 0)
        self.files[path] = (bytes(content), found)

    def adjust(self, path: str, terms: Terms) -> None:
        content, found = self.files[path]
        self.files[path] = (content, replace(found, mode=found.mode if terms.mode is None else terms.mode))

    def remove(self, path: str, *, backup: bool) -> None:
        del self.files[path]


def bring_about(kind: Files, desired: Desired, past: Past) -> Observed:
    for action in kind.plan(desired, kind.diff(desired, kind.observe(desired, past))):
        kind.act(action)
    return kind.observe(desired, past)


def test_acts_through_its_driver() -> None:
    guest = FakePaths({"/etc/old": (b"", HERE), "/etc/fstab": (b"", HERE)})
    port: Paths = guest
    safe = Safe()
    safe.put({("files", SECRET): Secret(b"k3y")}, 0.0)
    kind = Files(port)
    kind.secrets = safe.of("files")
    desired = Desired(
        (
            hello(owner="alice"),
            secret(),
            File(path="/etc/old", absent=True),
            File(path="/etc/fstab", mode=0o600),
        )
    )
    bring_about(kind, desired, Past(generation=3))
    assert {path: content for path, (content, _) in guest.files.items()} == {
        MOTD: HELLO,
        KEY: b"k3y",
        "/etc/fstab": b"",
    }
    assert (guest.files[MOTD][1].uid, guest.files["/etc/fstab"][1].mode) == (1000, 0o600)
    assert guest.followed == {MOTD, KEY, "/etc/old", "/etc/fstab"}
    observed = kind.observe(desired, Past(generation=3, deeds={TOKEN: DONE}))
    assert Files.verdict(desired, observed, Files.diff(desired, observed)).message == "4 files"
    assert "digest" not in Files.show(observed)[KEY]


def test_a_file_that_fails_costs_no_other_and_is_tried_again() -> None:
    guest = FakePaths(broken=MOTD)
    kind, desired = Files(guest), Desired((hello(), File(path="/etc/other")))
    observed = bring_about(kind, desired, Past())
    assert list(guest.files) == ["/etc/other"]
    verdict = Files.verdict(desired, observed, Files.diff(desired, observed))
    assert (verdict.reason, verdict.failed) == ("DriverError", True)
    assert "No space left" in verdict.message
    due_s = Files.due_s(desired, observed)
    assert due_s == guest.now_s + FAILED_S
    guest.broken = ""
    assert planned(desired, kind.observe(desired, Past())) == []
    guest.now_s = due_s
    observed = bring_about(kind, desired, Past())
    assert guest.files[MOTD][0] == HELLO
    assert (observed.failed, Files.due_s(desired, observed)) == ({}, None)


def test_what_is_final_for_one_file_is_not_for_the_others() -> None:
    guest = FakePaths()
    kind, desired = Files(guest), Desired((hello(owner="alice"), File(path="/etc/other")))
    plan = kind.plan(desired, kind.diff(desired, kind.observe(desired, Past())))
    guest.write = raising(Terminal("cannot write: never"), guest.write)  # type: ignore[method-assign]
    for action in plan:
        kind.act(action)
    assert list(guest.files) == ["/etc/other"]


def raising(error: Exception, then: Callable[..., None]) -> Callable[..., None]:
    """A call that fails once."""
    left = [error]

    def call(*args: Any) -> None:
        if left:
            raise left.pop()
        then(*args)

    return call


def test_a_secret_that_could_not_be_written_says_why_and_not_only_that_it_is_gone() -> None:
    guest = FakePaths(broken=KEY)
    kind, desired = Files(guest), Desired((secret(),))
    safe = Safe()
    safe.put({("files", SECRET): Secret(b"k3y")}, 0.0)
    kind.secrets = safe.of("files")
    with pytest.raises(DriverError, match="No space left") as caught:
        bring_about(kind, desired, Past(generation=3))
    refused = Deed("refused", "b", 3, str(caught.value))
    observed = kind.observe(desired, Past(generation=3, deeds={TOKEN: refused}))
    verdict = Files.verdict(desired, observed, Files.diff(desired, observed))
    assert verdict.reason == "SecretMissing"
    assert "No space left on device: apply the document again" in verdict.message


def test_an_owner_who_has_just_gone_gets_nothing() -> None:
    action = Action("write", MOTD, Phase.CONTENT, value={**PLAIN, "owner": "bob"})
    guest = FakePaths()
    kind, desired = Files(guest), Desired((hello(),))
    kind.act(action)
    assert guest.files == {}
    assert kind.observe(desired, Past()).failed == {MOTD: "cannot give a file to bob: there is no such user"}


def test_a_preview_leaves_no_trace_and_counts_on_the_secrets() -> None:
    guest = FakePaths()
    kind, desired = Files(guest), Desired((secret(),))
    observed = kind.observe(desired, Past(generation=3, preview=True))
    assert planned(desired, observed) == [("write", KEY, TOKEN)]
    assert guest.followed == frozenset()


def test_what_is_not_managed_is_neither_looked_at_nor_shown() -> None:
    observed = Files(FakePaths({MOTD: (HELLO, HERE)})).observe(Desired(), Past())
    assert replace(observed, boot_clock_s=0.0) == Observed()
    assert Files.show(observed) == {}
    assert Files.diff(Desired(), observed) == ()


def test_says_what_is_wrong_and_what_changed() -> None:
    desired = Desired((hello(mode=0o600), File(path="/etc/a", absent=True)))
    observed = seen(files={MOTD: replace(HERE, digest="sha256:0"), "/etc/a": HERE})
    verdict = Files.verdict(desired, observed, Files.diff(desired, observed))
    assert (verdict.reason, verdict.message) == ("Drifted", f"{MOTD}: content, mode; /etc/a: state")
    many = Desired(tuple(File(path=f"/etc/{name}", absent=True) for name in "abcdefg"))
    observed = seen(files={file.path: HERE for file in many.files})
    assert Files.verdict(many, observed, Files.diff(many, observed)).message.endswith("; and 2 more")
    after = seen(files={MOTD: replace(HERE, mode=0o600)})
    assert [notice.message for notice in Files.notices(at(MOTD, HERE), after)] == [MOTD]
    assert Files.notices(at(MOTD, HERE), at(MOTD, HERE)) == ()


def test_reaches_for_its_paths() -> None:
    assert Files.touches(Desired((hello(owner="alice"),))) == (Touch("path", MOTD),)
    backed_up = Files.touches(Desired((hello(backup=True),)))
    assert backed_up == (Touch("path", MOTD), Touch("path", f"{MOTD}~"))


def test_a_digest_needs_no_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert digest_of([b"hel", b"lo\n"]) == known
