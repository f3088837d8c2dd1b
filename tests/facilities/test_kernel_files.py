"""Small files that are there, that are not, and that cannot be read."""

from pathlib import Path

import pytest

from reconciler.errors import DriverError
from reconciler.facilities.kernel_files import content


def test_what_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"online\n")
    (tmp_path / "odd").write_bytes(b"\xff" * 20)
    assert content(f"{tmp_path}/state") == "online"
    assert content(f"{tmp_path}/odd", 3) == "\ufffd" * 3
    assert content(f"{tmp_path}/none") == content(f"{tmp_path}/state/none") == ""


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=f"cannot read {tmp_path}: Is a directory"):
        content(str(tmp_path))
