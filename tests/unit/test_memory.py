"""What the service does with memory that is not in use, in a process of its own each."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from waiting import STILL_S

DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text()
OF_THE_IMAGE = dict(re.findall(r"\b(MALLOC_\w+)=(\d+)", DOCKERFILE.rpartition("FROM ")[2]))
"""The settings of the C library's allocator in the image."""

ARENAS = """
import ctypes, re, sys, threading
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p
together = threading.Barrier(12)
def take():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
print(len(re.findall("<heap nr=", open(sys.argv[1]).read())))
"""

CYCLES = """
import asyncio, gc, weakref
from stream.runtime import worker
class Knot: pass
async def main():
    worker.tune_memory()
    knot = Knot()
    knot.itself, left = knot, weakref.ref(knot)
    del knot
    worker.COLLECT_EVERY_S = 0.05
    tidying = asyncio.create_task(worker.collect_garbage_periodically())
    assert left() is not None
    while left() is not None:
        await asyncio.sleep(0.01)
    tidying.cancel()
asyncio.run(main())
"""

GIVEN_BACK = """
import ctypes
from stream.runtime import worker
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(10_000) for _ in range(5_000)]
for block in blocks:
    ctypes.memset(block, 1, 10_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
before = resident()
worker.release_free_memory()
print(before - resident())
"""

LARGE = """
import ctypes
class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.free(libc.malloc(4_000_000))
before = libc.mallinfo2().hblks
block = libc.malloc(4_000_000)
print(libc.mallinfo2().hblks - before)
"""


def _run(program: str, *arguments: str, malloc: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=STILL_S,
        env={name: value for name, value in os.environ.items() if "MALLOC_" not in name}
        | dict(malloc or {}),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_in_the_image_many_threads_share_two_arenas(tmp_path: Path) -> None:
    kept = int(_run(ARENAS, str(tmp_path / "kept"), malloc=OF_THE_IMAGE))
    assert kept <= 2 < int(_run(ARENAS, str(tmp_path / "usual")))


def test_garbage_in_cycles_is_collected_before_long() -> None:
    _run(CYCLES)


def test_free_pages_go_back_to_the_system() -> None:
    assert float(_run(GIVEN_BACK)) > 40


def test_in_the_image_a_large_block_has_pages_of_its_own_also_after_the_first() -> None:
    assert int(_run(LARGE)) == 0
    assert int(_run(LARGE, malloc=OF_THE_IMAGE)) == 1
