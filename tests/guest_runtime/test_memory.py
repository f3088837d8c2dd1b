"""What keeps the agent small, as the kernel sees it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("before", "enabled"), [("", "1"), ("memory.stay_small(); ", "0")])
def test_the_kernel_is_told_to_give_no_huge_pages(before: str, enabled: str) -> None:
    # Whatever this process has inherited or done itself is undone first.
    code = "import ctypes; from guest_runtime import memory; ctypes.CDLL(None).prctl(41, 0, 0, 0, 0); "
    code += f"{before}print(open('/proc/self/status').read())"
    status = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"THP_enabled:\t{enabled}\n" in status


@pytest.mark.root
def test_a_dump_is_never_made() -> None:
    code = "import ctypes; from guest_runtime import memory; memory.stay_private(); "
    code += "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "0\n"


def test_memory_that_is_free_goes_back() -> None:
    code = "from guest_runtime import memory\n"
    code += "def rss(): return int(open('/proc/self/statm').read().split()[1])\n"
    code += "kept = [bytes(3000) for _ in range(10000)]; full = rss()\n"
    code += "del kept[:-1]; memory.give_back(); print(full - rss())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) > 5000  # pages: most of the 30 MB
