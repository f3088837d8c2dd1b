"""The ioctls on a real filesystem."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.guarding import kernel
from tests.loop_mounts import loop_mount, private_mounts, run


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with private_mounts():
        mounted = loop_mount(tmp_path / "image", tmp_path / "disk", "ext4", 32)
        fd = kernel.open_mount(str(mounted))
        yield fd
        kernel.thaw(fd)
        os.close(fd)
        run("umount", "--lazy", str(mounted))


@pytest.mark.root
def test_freeze_and_thaw_say_what_was_so_already(fd: int) -> None:
    assert kernel.freeze(fd) == 0
    assert kernel.freeze(fd) == kernel.FROZEN_ALREADY
    assert kernel.thaw(fd) == 0
    assert kernel.thaw(fd) == kernel.THAWED_ALREADY


@pytest.mark.root
def test_trim_counts_bytes(fd: int) -> None:
    assert 1 << 20 < kernel.trim(fd, 0) < 32 << 20


@pytest.mark.root
def test_a_descriptor_knows_its_mount(fd: int, tmp_path: Path) -> None:
    (line,) = [
        text for text in Path("/proc/self/mountinfo").read_text().splitlines() if f"{tmp_path}/disk" in text
    ]
    assert kernel.mount_id(fd) == int(line.split()[0])


def test_what_cannot_freeze_says_so() -> None:
    fd = kernel.open_mount("/proc")
    try:
        # Without rights the kernel does not even look whether it could.
        assert kernel.words(kernel.freeze(fd)) in (
            "this filesystem cannot",
            "not permitted (it needs CAP_SYS_ADMIN)",
        )
    finally:
        os.close(fd)


def test_a_file_is_no_mount() -> None:
    with pytest.raises(NotADirectoryError):
        kernel.open_mount("/proc/self/status")
