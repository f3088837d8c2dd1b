"""A guest on a socket, and the command line to ask it with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.host import cli
from tests.host.fake_guest import FakeGuest
from tests.host.served import Served, served


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECONCILER_CHANNEL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Served]:
    """Has the document of generation 3, a host name; its socket is `g`."""
    fake = FakeGuest()
    fake.adopt(3, {"hostname": {"static": "web-01"}})
    with served(fake, tmp_path / "g") as it:
        yield it


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Reconciler = Callable[..., Said]


@pytest.fixture
def reconciler(capsys: pytest.CaptureFixture[str]) -> Reconciler:
    """Runs the command line in this process."""

    def run(*words: object) -> Said:
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run
