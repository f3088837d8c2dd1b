"""The example script does what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.fake_guest import FakeGuest
from tests.host.served import served

ROOT = Path(__file__).parents[2]


def test_two_guests_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("hostname: web-01")
    with served(FakeGuest("a"), tmp_path / "a"), served(FakeGuest("b"), tmp_path / "b"):
        ran = subprocess.run(
            [
                *(sys.executable, ROOT / "examples/orchestrator.py", tmp_path / "d.yaml"),
                *(f"unix:{tmp_path}/{name}" for name in "ab"),
                "tcp:nowhere",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
    nowhere, a, b = sorted(ran.stdout.splitlines())
    assert a == f"unix:{tmp_path}/a: 'a': Converged, generation 1"
    assert b == f"unix:{tmp_path}/b: 'b': Converged, generation 1"
    assert ran.returncode == 1
    assert nowhere.startswith("tcp:nowhere: cannot use channel")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param([], 1, "orchestrator.py examples/hostname.yaml unix:", id="usage"),
        pytest.param(
            ["missing.yaml", "unix:/a"], 2, "cannot take a document from missing.yaml", id="no file"
        ),
        pytest.param(["README.md", "unix:/a"], 2, "cannot take a document from README.md", id="no document"),
    ],
)
def test_what_it_needs_is_said(words: list[str], code: int, said: str) -> None:
    argv = [sys.executable, str(ROOT / "examples/orchestrator.py"), *words]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert ran.returncode == code
    assert said in ran.stderr
