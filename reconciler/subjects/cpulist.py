"""Lists of processors as the kernel writes them: `0-2,5`; see cpulist in its admin guide."""

import re
from collections.abc import Iterable, Iterator

CPUS_MAX = 8192  # NR_CPUS of the largest kernels


def members(listed: str) -> Iterator[int]:
    """`0-2,5` as 0, 1, 2, 5; what is no such list ends it. At most `CPUS_MAX` numbers."""
    left = CPUS_MAX
    for part in listed.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        if not match:
            return
        for cpu in range(int(match[1]), int(match[2] or match[1]) + 1):
            if not left:
                return
            left -= 1
            yield cpu


def listed(cpus: Iterable[int]) -> str:
    """0, 1, 2, 5 as `0-2,5`; empty for none."""
    ranges: list[tuple[int, int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1] = (ranges[-1][0], cpu)
        else:
            ranges.append((cpu, cpu))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
