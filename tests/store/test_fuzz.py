"""Damaged files of every kind: an answer in one sentence of ours, in seconds and bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
from stored_files import C, N, save

KINDS = ["a.npy", "a.npz", "packed.npz", "fortran.npz", "a.pt", "a.safetensors", "lists.parquet"]
KINDS += ["fixed.parquet", "part.parquet", "run"]

# mutates seeds in a process of its own, whose memory is bounded; prints what was no answer
FUZZ = """
import faulthandler, random, resource, shutil, sys, time
from pathlib import Path
import torch
from kdanalysis.store.inventory import verify
from kdanalysis.store.part import serialise
from kdanalysis.store.sources import load_logits

folder, kind, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def mutate(data, draw):
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        if not data:
            break
        place, what = draw.randrange(len(data)), draw.randrange(7)
        if what == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif what == 1:
            data[place] = draw.choice((0, 1, 127, 128, 255))
        elif what == 2:
            data[place:place + draw.randrange(1, 9)] = b""
        elif what == 3:
            data[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif what == 4:
            del data[place:]
        elif what == 5:
            number = draw.choice((2**31 - 1, 2**32 - 1, 2**31, 0))
            data[place:place + 4] = number.to_bytes(4, "little")
        else:
            other = draw.randrange(len(data))
            data[place:place + 16] = data[other:other + 16]
    return bytes(data)

def answer(path):
    try:
        for _ in load_logits(path).batches(16):
            pass
        if path.is_dir():
            verify(path)
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        text = str(error)
        assert "\\n" not in text and len(text.replace(str(path), "")) <= 400, text
        assert path.name in text or "step" in text, text

def sealed(path, whole, draw):
    \"\"\"A part that fits its checksum, so that what is behind it is tried too.\"\"\"
    import zlib
    from kdanalysis.store import part
    data = mutate(whole, draw)
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little") - 8 if len(data) > 16 else -1
    if end > 0 and data[end:end + 4] == b"KDA1":
        crc = zlib.crc32(data[end + 8:], zlib.crc32(data[:end]))
        data = data[:end + 4] + crc.to_bytes(4, "little") + data[end + 8:]
    path.write_bytes(data)

seed = folder / kind
files = sorted(p for p in seed.rglob("*") if p.is_file()) if seed.is_dir() else [seed]
files = [p for p in files if p.name != "ended" and "locks" not in p.parts]
whole = {p: p.read_bytes() for p in files}
answer(seed)  # also loads what is loaded late
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
slow = 0.0
for number in range(first, first + count):
    draw = random.Random(number)
    target = draw.choice(files)
    if target.suffix == ".parquet" and (kind == "run" or kind == "part.parquet"):
        sealed(target, whole[target], draw)
    else:
        target.write_bytes(mutate(whole[target], draw))
    faulthandler.dump_traceback_later(30, exit=True)
    begin = time.process_time()
    try:
        answer(seed)
    except BaseException as error:
        print(kind, number, target.name, repr(error)[:300])
    slow = max(slow, time.process_time() - begin)
    target.write_bytes(whole[target])
faulthandler.cancel_dump_traceback_later()
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - high) // 1024
if grown > 200:
    print(kind, "grew by", grown, "MiB")
if slow > 5:
    print(kind, "took", slow, "s")
"""


def make(folder, kind):
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, N, C)).astype(np.float32)
    arrays = {"teacher_logits": teacher, "student_logits": student}
    arrays["target"] = rng.integers(0, C, N)
    if kind == "a.npy":
        np.save(folder / kind, teacher)
    elif kind == "part.parquet":
        part = next(save(folder, arrays, "run").rglob("*.parquet"))
        part.rename(folder / kind)
    else:
        save(folder, arrays, kind)


def fuzz(folder, kind, first, count):
    make(folder, kind)
    given = [str(folder), kind, str(first), str(count)]
    done = subprocess.run([sys.executable, "-c", FUZZ, *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.parametrize("kind", KINDS)
def test_forty_mutants_get_an_answer(tmp_path, kind):
    fuzz(tmp_path, kind, 0, 40)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_mutants_get_an_answer(tmp_path, kind):
    fuzz(tmp_path, kind, 1000, 10_000)
