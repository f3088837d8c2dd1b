"""`reconciler validate`: what it prints, and where."""

import json
from pathlib import Path

from tests.host.conftest import Reconciler


def test_a_valid_folder(tmp_path: Path, reconciler: Reconciler) -> None:
    (tmp_path / "a.yaml").write_text("hostname: web-01\n---\npower: running\n")
    said = reconciler("validate", tmp_path)
    assert said.code == 0
    assert said.out.splitlines() == [
        f"{tmp_path}/a.yaml:1: valid: without a name: hostname",
        f"{tmp_path}/a.yaml:3: valid: without a name: power",
    ]
    assert said.err == ""


def test_every_fault_has_its_place(tmp_path: Path, reconciler: Reconciler) -> None:
    (tmp_path / "a.yaml").write_text("power: of\nhostname: [1]\n")
    said = reconciler("validate", tmp_path / "a.yaml")
    assert said.code == 2
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith(f"{tmp_path}/a.yaml:1:8: spec.power: ")
    assert second.startswith(f"{tmp_path}/a.yaml:2:11: spec.hostname")


def test_the_normal_form(tmp_path: Path, reconciler: Reconciler) -> None:
    (tmp_path / "a.yaml").write_text("hostname: web-01\n")
    (shown,) = json.loads(reconciler("validate", tmp_path, "-o", "json").out)
    assert shown["spec"] == {"hostname": {"static": "web-01"}}


def test_the_same_guest_in_two_files_is_for_apply_to_refuse(tmp_path: Path, reconciler: Reconciler) -> None:
    head = "apiVersion: guest-reconciler/v1\nkind: GuestState\nmetadata: {name: a}\nspec: "
    for kind in ("hostname", "power"):
        (tmp_path / f"{kind}.yaml").write_text(head + f"{{{kind}: running}}")
    assert reconciler("validate", tmp_path, "-o", "name").out == "a\na\n"
