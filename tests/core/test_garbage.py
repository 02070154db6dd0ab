"""Memory that is freed stays for what is made next, as far as it is to."""

import platform
import subprocess
import sys

import pytest

FREED = """
import ctypes
from pathlib import Path
from kdanalysis.core.garbage import keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
keep_freed_memory()
before = resident()
for count in (3, 10):
    blocks = [libc.malloc(20 << 20) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, 20 << 20)
    made = resident() - before
    for block in blocks:
        libc.free(block)
    print(made, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps it")
def test_what_is_freed_is_kept_up_to_64_mib():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    found = [float(number) for number in done.stdout.split()]
    assert found == pytest.approx([60, 60, 200, 0], abs=4)
