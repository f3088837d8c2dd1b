"""`reconciler apply`: one document to one guest, many to many; waiting; dry runs."""

from base64 import b64encode
from pathlib import Path

import pytest

from reconciler.host.commands import apply
from tests.host.conftest import Reconciler
from tests.host.fake_guest import FakeGuest
from tests.host.served import Served, served

LONG = """\
apiVersion: guest-reconciler/v1
kind: GuestState
metadata: {{name: {name}}}
spec: {{hostname: {name}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.yaml"
    path.write_text("hostname: web-02\n")
    return path


def test_apply_then_again(guest: Served, file: Path, reconciler: Reconciler) -> None:
    assert reconciler("apply", "-c", guest.channel, "-f", file).out == "web-01 applied: generation 4\n"
    assert reconciler("apply", "-c", guest.channel, "-f", file).out == "web-01 unchanged: generation 4\n"
    assert guest.guest.spec == {"hostname": {"static": "web-02"}}


def test_apply_again_makes_a_new_generation_and_sends_secrets_anew(
    guest: Served, tmp_path: Path, reconciler: Reconciler
) -> None:
    (tmp_path / "alice").write_text("kept-under-the-mat\n")
    file = tmp_path / "desk.yaml"
    file.write_text("user: {name: alice, state: logged-in, credential: {fromFile: alice}}\n")
    said = [reconciler("apply", "-c", guest.channel, "-f", file, *more) for more in ((), (), ("--again",))]
    assert [each.out.split(": ")[0] for each in said] == [
        "web-01 applied",
        "web-01 unchanged",
        "web-01 applied",
    ]
    sent = [params for method, params in guest.guest.calls if method == "apply"]
    sealed = {"user": {"credential": b64encode(b"kept-under-the-mat\n").decode()}}
    assert [(params["generation"], params["secrets"]) for params in sent] == [(4, sealed), (5, sealed)]
    assert "kept" not in str(guest.guest.spec)


def test_a_secret_that_cannot_be_read_is_told_with_its_place(
    guest: Served, tmp_path: Path, reconciler: Reconciler
) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text("user:\n  name: alice\n  state: logged-in\n  credential: {fromFile: nowhere}\n")
    said = reconciler("apply", "-c", guest.channel, "-f", file)
    assert (said.code, guest.guest.generation) == (2, 3)
    assert said.err == f"{file}:4:15: spec.user.credential: cannot read nowhere: No such file or directory\n"


def test_json(guest: Served, file: Path, reconciler: Reconciler) -> None:
    said = reconciler("apply", "-c", guest.channel, "-f", file, "-o", "json")
    assert '"generation": 4' in said.out
    assert '"accepted": "new"' in said.out


def test_wait_until_it_is_so(guest: Served, file: Path, reconciler: Reconciler) -> None:
    assert reconciler("apply", "-c", guest.channel, "-f", file, "--wait").code == 0


def test_wait_for_a_guest_that_loses_its_document(guest: Served, file: Path, reconciler: Reconciler) -> None:
    def lose(method: str) -> None:
        if method == "subscribe":
            guest.guest.on_call = lambda _: None
            guest.guest.lose(3, {"hostname": {"static": "web-01"}})

    guest.guest.on_call = lose
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--wait")
    assert (said.code, said.out) == (0, "web-01 applied: generation 4\n")
    assert guest.guest.spec == {"hostname": {"static": "web-02"}}


def test_what_is_lost_of_a_document_applied_again_is_applied_again(
    guest: Served, file: Path, reconciler: Reconciler
) -> None:
    same = {"hostname": {"static": "web-02"}}

    def lose(method: str) -> None:
        if method == "subscribe":
            guest.guest.on_call = lambda _: None
            guest.guest.lose(3, same)

    guest.guest.adopt(3, same)
    guest.guest.on_call = lose
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--again", "--wait")
    assert (said.code, said.out) == (0, "web-01 applied: generation 4\n")
    assert guest.guest.generation == 4


def test_wait_in_vain(guest: Served, file: Path, reconciler: Reconciler) -> None:
    guest.guest.reasons["hostname"] = "Drifted"
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--wait=2")
    assert said.code == 5
    assert "hostname  False  Drifted" in said.err


def test_wait_for_what_never_comes(guest: Served, file: Path, reconciler: Reconciler) -> None:
    guest.guest.reasons["hostname"] = "Unsupported"
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--wait=60")
    assert said.code == 3
    assert "will not get there: hostname: Unsupported" in said.err


def test_who_went_home_is_no_failure_of_a_later_document(
    guest: Served, file: Path, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.guest.reasons["hostname"] = "LoggedOut"
    of_guest = guest.guest.status
    monkeypatch.setattr(guest.guest, "status", lambda: of_guest() | {"phase": "Converged"})
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--wait=60")
    assert said.code == 0
    assert "will not get there" not in said.err


def test_dry_run_without_a_guest(file: Path, reconciler: Reconciler) -> None:
    said = reconciler("apply", "-f", file, "--dry-run=client")
    assert (said.code, said.out) == (0, "hostname:\n  static: web-02\n")


def test_dry_run_in_the_guest(guest: Served, file: Path, reconciler: Reconciler) -> None:
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--dry-run=guest")
    assert said.out == (
        "~ hostname: hostname: all: static=web-01 -> static=web-02\nchange: hostname: set hostname\n"
    )
    assert guest.guest.generation == 3


def test_dry_run_of_what_the_guest_will_not_do(
    guest: Served, file: Path, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"ready": False, "reason": "Forbidden", "message": "cannot manage hostname"}
    plan |= {"changes": [], "actions": []}
    monkeypatch.setattr(guest.guest, "do_plan", lambda params: {"digest": "", "kinds": {"hostname": plan}})
    said = reconciler("apply", "-c", guest.channel, "-f", file, "--dry-run")
    assert (said.code, said.out) == (0, "")
    assert said.err == "hostname: Forbidden: cannot manage hostname\n"


def test_what_the_guest_refuses_has_its_place_in_the_text(
    guest: Served, file: Path, reconciler: Reconciler
) -> None:
    fault = {"path": "spec.hostname", "message": "is not for you"}
    guest.guest.errors["apply"] = {"code": -32602, "message": "no", "data": {"faults": [fault]}}
    said = reconciler("apply", "-c", guest.channel, "-f", file)
    assert said.code == 2
    assert said.err == f"{file}:1:11: spec.hostname: is not for you\n"


def test_the_document_is_for_another_guest(guest: Served, tmp_path: Path, reconciler: Reconciler) -> None:
    (tmp_path / "db.yaml").write_text(LONG.format(name="db-01"))
    said = reconciler("apply", "-c", guest.channel, "-f", tmp_path / "db.yaml")
    assert said.code == 2
    assert "the guest on this channel is web-01, not db-01" in said.err
    assert guest.guest.generation == 3


def test_two_names_that_differ(guest: Served, tmp_path: Path, reconciler: Reconciler) -> None:
    (tmp_path / "db.yaml").write_text(LONG.format(name="db-01"))
    said = reconciler("apply", "-c", guest.channel, "-g", "web-01", "-f", tmp_path / "db.yaml")
    assert said.code == 2
    assert "the document is for db-01, and the guest named is web-01" in said.err


def test_a_folder_for_many_guests(tmp_path: Path, reconciler: Reconciler) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name in ("a", "b"):
        (site / f"{name}.yaml").write_text(LONG.format(name=name))
    one, two = FakeGuest("x"), FakeGuest("y")
    with served(one, tmp_path / "a"), served(two, tmp_path / "b"):
        said = reconciler("apply", "-c", f"unix:{tmp_path}/{{guest}}", "-f", site)
    assert (said.code, said.out) == (0, "a applied: generation 1\nb applied: generation 1\n")
    assert one.spec == {"hostname": {"static": "a"}}
    assert two.spec == {"hostname": {"static": "b"}}


def test_one_guest_out_of_reach_does_not_stop_the_others(tmp_path: Path, reconciler: Reconciler) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("---\n".join(LONG.format(name=name) for name in ("a", "b")))
    with served(FakeGuest("b"), tmp_path / "b"):
        words = ("-c", f"unix:{tmp_path}/{{guest}}", "-f", site, "--connect-timeout", "2")
        said = reconciler("apply", *words)
    assert (said.code, said.out) == (4, "b applied: generation 1\n")
    assert f"cannot apply {site}: cannot reach the guest" in said.err


def test_many_documents_for_one_channel(guest: Served, tmp_path: Path, reconciler: Reconciler) -> None:
    (tmp_path / "two.yaml").write_text("hostname: a\n---\nhostname: b\n")
    said = reconciler("apply", "-c", guest.channel, "-f", tmp_path / "two.yaml")
    assert said.code == 2
    assert "2 documents to one guest" in said.err


def test_a_guest_that_is_to_be_off_is_done_when_it_is_gone(
    guest: Served, tmp_path: Path, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "GONE_S", 0.3)
    (tmp_path / "off.yaml").write_text("power: off")
    guest.guest.reasons["power"] = "ShuttingDown"

    def leave(method: str) -> None:
        if method == "subscribe":
            guest.leave()

    guest.guest.on_call = leave
    assert reconciler("apply", "-c", guest.channel, "-f", tmp_path / "off.yaml", "--wait=60").code == 0
