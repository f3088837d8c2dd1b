"""The lines of a run as a table for people and as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

_HEADINGS = ("what", "measured", "target", "", "beside it")


@dataclass(frozen=True)
class Line:
    """One figure. `measured` is None where it could not be measured; `beside` then says why."""

    name: str
    unit: str
    measured: float | None
    at_most: float
    beside: str = ""  # what to compare with, and what to know
    samples: Sequence[float] = field(default=(), repr=False)

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        return "ok" if self.measured <= self.at_most else "MISSED"


def rendered(lines: Sequence[Line]) -> str:
    """A table whose columns are as wide as what stands in them, with a LF at its end."""
    rows = [_HEADINGS, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "".join(f"{text.rstrip()}\n" for text in texts)


def keep(lines: Sequence[Line], machine: dict[str, str], path: Path) -> None:
    """Write the run with every sample to `path`, in place of the run before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {"machine": machine, "lines": [asdict(line) | {"verdict": line.verdict} for line in lines]}
    path.write_text(json.dumps(run, indent=1) + "\n")


def _cells(line: Line) -> tuple[str, ...]:
    measured = "-" if line.measured is None else f"{line.measured:.2f} {line.unit}"
    return line.name, measured, f"<= {line.at_most:g} {line.unit}", line.verdict, line.beside
