"""A stand-in becomes the module when it is used; and the daemon uses none of them."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bench.guest import Guest
from guest_runtime.deferred import defer

NAME = "seldom_used"
# Together some 10 MiB. See "Size and names" in CONTRIBUTING.md.
UNUSED = frozenset({"argparse", "asyncio", "cerberus", "copy", "inspect", "logging", "pathlib", "pkgutil"})
UNUSED |= {"psutil", "subprocess", "weakref", "yaml"}


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / f"{NAME}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    defer(NAME)
    yield import_module(NAME)
    del sys.modules[NAME]


def test_to_import_it_does_not_load_it(stand_in: Any) -> None:
    assert "value" not in vars(stand_in)
    assert import_module(NAME) is stand_in


def test_to_use_it_loads_it(stand_in: Any) -> None:
    assert stand_in.value == 1
    loaded = sys.modules[NAME]
    assert vars(loaded)["value"] == 1
    vars(loaded)["value"] = 2
    assert stand_in.value == 2


def test_what_it_does_not_have_is_missing(stand_in: Any) -> None:
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = stand_in.absent


def test_a_module_that_is_there_stays() -> None:
    before = sys.modules["os"]
    defer("os")
    assert sys.modules["os"] is before


def test_the_daemon_imports_nothing_that_it_can_do_without(tmp_path: Path) -> None:
    """Where `inspect` is among them, some dataclass has no docstring: then dataclasses write one."""
    with Guest(tmp_path / "guest", interpreter_options=("-X", "importtime")) as guest:
        host = guest.host()
        host.greet()
        host.apply(1, {"hostname": "deferred", "report": ["os", "memory"]}, "hostname")
        host.close()
    lines = (tmp_path / "guest" / "log").read_text().splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "guest_runtime.daemon" in imported
    assert imported & UNUSED == set()
