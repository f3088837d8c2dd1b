"""Secrets are read as a document is sent, from beside it."""

import os
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from reconciler.documents import Document
from reconciler.documents import kinds as registry
from reconciler.errors import InvalidSpec
from reconciler.host.client import connect
from reconciler.host.secrets import read_secrets
from reconciler.secret import SECRET_BYTES_MAX, SECRETS_BYTES_MAX, SECRETS_MAX, secret_field
from tests.documents.kinds import declare
from tests.host.fake_guest import FakeGuest
from tests.host.wire import Wire, run

DOOR = declare(
    "door",
    {
        "credential": secret_field("The one."),
        "others": {"type": "list", "schema": secret_field("Another.")},
    },
)


@pytest.fixture(autouse=True)
def one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.documents.secrets.every_kind", lambda: {"door": DOOR})
    assert registry.forms(DOOR)


def document(folder: Path, *names: str) -> Document:
    others = [{"fromFile": name} for name in names[1:]]
    normal = {"door": {"credential": {"fromFile": names[0]}, "others": others}}
    return Document(normal, source=str(folder / "web.yaml"), positions={"spec.door.credential": (4, 9)})


def test_a_relative_path_begins_at_the_document(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/door").write_bytes(b"open\xffsesame\n")
    (tmp_path / "near").write_text("away")
    sealed = read_secrets(document(tmp_path, "secrets/door", str(tmp_path / "near")))
    assert {path: b64decode(data) for path, data in sealed["door"].items()} == {
        "credential": b"open\xffsesame\n",
        "others.0": b"away",
    }


@pytest.mark.parametrize("name", ["../mine/key", "{}/mine/key", "link", "folder/key"])
def test_what_lies_elsewhere_is_not_sent_unless_its_folder_is_named(tmp_path: Path, name: str) -> None:
    site, mine = tmp_path / "site", tmp_path / "mine"
    site.mkdir()
    mine.mkdir()
    (mine / "key").write_text("mine")
    (site / "link").symlink_to(mine / "key")
    (site / "folder").symlink_to(mine)
    theirs = document(site, name.format(tmp_path))
    with pytest.raises(InvalidSpec, match=r"web.yaml:4:9: .*cannot read .*: .* --secrets-from"):
        read_secrets(theirs)
    with pytest.raises(InvalidSpec, match="--secrets-from"):
        read_secrets(theirs, str(tmp_path / "min"))
    assert read_secrets(theirs, str(site), str(mine))["door"]["credential"] == b64encode(b"mine").decode()


def test_a_folder_that_is_swapped_for_a_link_as_a_file_is_opened_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, mine = tmp_path / "site", tmp_path / "mine"
    for folder in (site / "secrets", mine):
        folder.mkdir(parents=True)
        (folder / "key").write_text(folder.name)
    opens = os.open

    def swapped(path: str, flags: int) -> int:
        if path.endswith("key"):
            (site / "secrets").rename(site / "away")
            (site / "secrets").symlink_to(mine)
        return opens(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", swapped)
        with pytest.raises(InvalidSpec, match="cannot read secrets/key: it was moved"):
            read_secrets(document(site, "secrets/key"))


def test_from_standard_input_it_begins_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "door").write_text("open")
    monkeypatch.chdir(tmp_path)
    assert read_secrets(Document({"door": {"credential": {"fromFile": "door"}}}))["door"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(None, "cannot read secret: No such file", id="absent"),
        pytest.param("x" * (SECRET_BYTES_MAX + 1), "longer than", id="too long"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    with pytest.raises(InvalidSpec, match=rf"web.yaml:4:9: spec.door.credential: .*{why}"):
        read_secrets(document(tmp_path, "secret"))


def test_there_are_so_many_at_most(tmp_path: Path) -> None:
    (tmp_path / "door").write_text("open")
    with pytest.raises(InvalidSpec, match="more than"):
        read_secrets(document(tmp_path, *["door"] * (SECRETS_MAX + 1)))


def test_they_fit_into_one_message_together(tmp_path: Path) -> None:
    (tmp_path / "door").write_bytes(bytes(SECRET_BYTES_MAX))
    enough = SECRETS_BYTES_MAX // SECRET_BYTES_MAX
    assert read_secrets(document(tmp_path, *["door"] * enough))
    with pytest.raises(InvalidSpec, match=r"longer than .* together"):
        read_secrets(document(tmp_path, *["door"] * (enough + 1)))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_gives_its_content_once_or_never_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    match kind:
        case "pipe":
            os.mkfifo(tmp_path / "door")
        case "folder":
            (tmp_path / "door").mkdir()
        case _:
            (tmp_path / "door").symlink_to("/dev/null")
    with pytest.raises(InvalidSpec, match=r"cannot read door: (it is no regular file|Is a directory)"):
        read_secrets(document(tmp_path, "door"), "/dev")


def test_a_document_goes_in_pieces_where_its_secrets_leave_no_room_in_the_message() -> None:
    sealed = {"door": {"credential": b64encode(bytes(SECRET_BYTES_MAX)).decode()}}

    async def work() -> None:
        guest = FakeGuest()
        guest.limits["messageBytes"] = 160 << 10
        async with connect(Wire(guest).open) as client:
            await client.apply({"door": {"text": "x" * (64 << 10)}}, secrets=lambda: sealed)
        [params] = [params for method, params in guest.calls if method == "apply"]
        assert ("transfer" in params, params["secrets"]) == (True, sealed)

    run(work())


def test_they_are_read_and_sent_only_with_the_document() -> None:
    read = []

    def secrets() -> dict[str, dict[str, str]]:
        read.append(1)
        return {"door": {"credential": "b3Blbg=="}}

    async def work() -> None:
        guest = FakeGuest()
        async with connect(Wire(guest).open) as client:
            await client.apply({"door": {}}, secrets=secrets)
            await client.apply({"door": {}}, secrets=secrets)
            assert len(read) == 1
            again = await client.apply({"door": {}}, secrets=secrets, again=True)
        sent = [params for method, params in guest.calls if method == "apply"]
        assert [params["secrets"] for params in sent] == [{"door": {"credential": "b3Blbg=="}}] * 2
        assert (again.generation, again.new) == (2, True)

    run(work())
