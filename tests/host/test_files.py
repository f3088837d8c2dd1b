"""Which files are read, in which order, and what is said of those that can't be."""

import io
import os
from pathlib import Path

import pytest

from reconciler.errors import InvalidSpec
from reconciler.host import files
from reconciler.host.files import load


def _tree(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_folder_in_order_of_names_without_hidden_ones(tmp_path: Path) -> None:
    good = "hostname: x"
    _tree(tmp_path, b_yaml=good, a__z_yml=good, a__b_json='{"hostname": "x"}', readme_md="no")
    (tmp_path / ".hidden.yaml").write_text("also: not read")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("nor: this")
    sources = [Path(d.source).relative_to(tmp_path).as_posix() for d in load([str(tmp_path)])]
    assert sources == ["a/b.json", "a/z.yml", "b.yaml"]


def test_a_named_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    _tree(tmp_path, document="hostname: x")
    assert len(load([str(tmp_path / "document")])) == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hostname: a\n---\nhostname: b\n")))
    assert [(d.source, d.line) for d in load(["-"])] == [("-", 1), ("-", 3)]


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InvalidSpec, match="standard input is closed"):
        load(["-"])


def test_the_faults_of_all_files_at_once(tmp_path: Path) -> None:
    _tree(tmp_path, a_yaml="power: of", b_yaml="hostname: x", c_yaml="frob: 1")
    with pytest.raises(InvalidSpec) as refused:
        load([str(tmp_path), str(tmp_path / "none.yaml")])
    assert [Path(fault.source).name for fault in refused.value.faults] == ["a.yaml", "c.yaml", "none.yaml"]
    assert str(refused.value).splitlines()[0].startswith(f"{tmp_path}/a.yaml:1:8: spec.power: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no document there", id="empty"),
        pytest.param(b"x" * 2000, "longer than 1000 bytes", id="long"),
    ],
)
def test_what_is_not_read(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 1000)
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(InvalidSpec, match=message):
        load([str(tmp_path)])


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILES_MAX", 2)
    _tree(tmp_path, a_yaml="hostname: x", b_yaml="hostname: x", c_yaml="hostname: x")
    with pytest.raises(InvalidSpec, match="more than 2 files"):
        load([str(tmp_path)])


def test_a_circle_of_folders_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("again", "and_again"):
        os.symlink(tmp_path, tmp_path / "a" / name)
    with pytest.raises(InvalidSpec) as refused:
        load([str(tmp_path)])
    assert [fault.message for fault in refused.value.faults] == ["leads back to a folder that it is in"] * 2


def test_folders_have_a_depth(tmp_path: Path) -> None:
    tmp_path.joinpath(*["a"] * 20).mkdir(parents=True)
    with pytest.raises(InvalidSpec, match="folders deep"):
        load([str(tmp_path)])


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(InvalidSpec, match=r"a\.yaml: is no file"):
        load([str(tmp_path)])
