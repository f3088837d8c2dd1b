"""A pipe whose reader goes, and outputs that are no pipes."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from reconciler.host.reading import while_read

PATIENCE_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as output:
        yield reader, output


async def _for_ever() -> int:
    await asyncio.Event().wait()
    return 0


async def _seven() -> int:
    await asyncio.sleep(0)
    return 7


async def _fails() -> int:
    raise KeyError("why")


def test_it_ends_when_the_reader_goes_although_nothing_is_written(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", pipe[1])

    async def scene() -> None:
        asyncio.get_running_loop().call_later(0.01, os.close, pipe[0])
        async with asyncio.timeout(PATIENCE_S):
            await while_read(_for_ever())

    with pytest.raises(BrokenPipeError):
        asyncio.run(scene())


def test_what_is_done_before_counts(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", pipe[1])
    assert asyncio.run(while_read(_seven())) == 7
    with pytest.raises(KeyError):
        asyncio.run(while_read(_fails()))
    os.close(pipe[0])


def test_a_file_is_always_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as output:
        monkeypatch.setattr("sys.stdout", output)
        assert asyncio.run(while_read(_seven())) == 7
