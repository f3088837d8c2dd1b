"""`reconciler diff`: 0 the same, 1 not, 2 anything else."""

import json
from pathlib import Path

import pytest

from tests.host.conftest import Reconciler
from tests.host.served import Served


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("hostname: web-01", (0, ""), id="same"),
        pytest.param(
            "hostname: web-02",
            (
                1,
                "- spec.hostname.static: web-01\n+ spec.hostname.static: web-02\n"
                "~ hostname: hostname: all: static=web-01 -> static=web-02\n",
            ),
            id="different",
        ),
        pytest.param("hostname: web-01\n---\npower: off", (2, ""), id="two-documents"),
        pytest.param("hostname: [1]", (2, ""), id="refused"),
    ],
)
def test_codes(
    text: str, told: tuple[int, str], guest: Served, tmp_path: Path, reconciler: Reconciler
) -> None:
    (tmp_path / "d.yaml").write_text(text)
    said = reconciler("diff", "-c", guest.channel, "-f", tmp_path / "d.yaml")
    assert (said.code, said.out) == told
    assert guest.guest.generation == 3


def test_drift_alone_is_a_difference(guest: Served, tmp_path: Path, reconciler: Reconciler) -> None:
    change = {"target": "static", "field": "name", "want": "web-01", "have": "localhost"}
    plan = {"kinds": {"hostname": {"ready": False, "changes": [change], "actions": []}}}
    guest.guest.do_plan = lambda params: plan  # type: ignore[method-assign]
    (tmp_path / "d.yaml").write_text("hostname: web-01")
    said = reconciler("diff", "-c", guest.channel, "-f", tmp_path / "d.yaml", "-o", "json")
    assert said.code == 1
    assert json.loads(said.out)["changes"] == [{"kind": "hostname", **change}]


@pytest.mark.parametrize(("code", "exit_code"), [(-32601, 0), (-32004, 0), (-32002, 2)])
def test_a_guest_that_makes_no_plans(
    code: int, exit_code: int, guest: Served, tmp_path: Path, reconciler: Reconciler
) -> None:
    guest.guest.errors["plan"] = {"code": code, "message": "no"}
    (tmp_path / "d.yaml").write_text("hostname: web-01")
    assert reconciler("diff", "-c", guest.channel, "-f", tmp_path / "d.yaml").code == exit_code


def test_the_faults_of_the_guest_have_their_places(
    guest: Served, tmp_path: Path, reconciler: Reconciler
) -> None:
    fault = {"path": "spec.hostname", "message": "is not\x1b[2J for you"}
    guest.guest.errors["plan"] = {"code": -32602, "message": "no", "data": {"faults": [fault]}}
    (tmp_path / "d.yaml").write_text("hostname: web-01")
    said = reconciler("diff", "-c", guest.channel, "-f", tmp_path / "d.yaml")
    assert (said.code, said.err) == (2, f"{tmp_path}/d.yaml:1:11: spec.hostname: is not\\x1b[2J for you\n")
