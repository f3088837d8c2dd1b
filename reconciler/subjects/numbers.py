"""Lists of numbers as the kernel writes them: `0-2,5`; see cpulist in its admin guide."""

import re
from collections.abc import Iterable, Iterator

NUMBERS_MAX = 8192  # NR_CPUS of the largest kernels


def members(listed: str) -> Iterator[int]:
    """`0-2,5` as 0, 1, 2, 5; what is no such list ends it. At most `NUMBERS_MAX` numbers."""
    left = NUMBERS_MAX
    for part in listed.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        if not match:
            return
        for number in range(int(match[1]), int(match[2] or match[1]) + 1):
            if not left:
                return
            left -= 1
            yield number


def listed(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 as `0-2,5`; empty for none."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
