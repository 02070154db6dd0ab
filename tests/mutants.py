"""Mutants of files and texts: what is no answer in one sentence of ours is printed.

Run as ``python tests/mutants.py FOLDER FIRST COUNT`` in a process of its own, whose memory is
bounded: every entry of FOLDER/DOOR is a seed of that door, and number FIRST + i its i-th mutant.
"""

import faulthandler
import io
import random
import re
import resource
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from kdanalysis.data import Images
from kdanalysis.data.encoded import decode
from kdanalysis.data.load import load_data
from kdanalysis.data.splits import DataSplits
from kdanalysis.losses import parse_loss, parse_losses, restore_loss
from kdanalysis.store.inventory import verify
from kdanalysis.store.sources import load_logits
from kdanalysis.studies.sparse import read_sparse
from kdanalysis.training.checkpoint import load_network

LONGEST, SLOW = 400, 5.0  # letters, seconds
GROWN = {"image": 800, "images": 800}  # MiB, what pillow allows a picture; elsewhere 200
LETTERS = ":=,/+-. ()'\"[]{}0123456789eknfT\\_\n\0é"


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one change or several: flipped, cut, doubled, replaced by large numbers."""
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
            data[place : place + draw.randrange(1, 9)] = b""
        elif what == 3:
            data[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif what == 4:
            del data[place:]
        elif what == 5:
            number = draw.choice((2**31 - 1, 2**32 - 1, 2**31, 0))
            data[place : place + 4] = number.to_bytes(4, "little")
        else:
            other = draw.randrange(len(data))
            data[place : place + 16] = data[other : other + 16]
    return bytes(data)


def sealed(whole: bytes, draw: random.Random) -> bytes:
    """Return a part of a run that fits its checksum, so that what is behind it is tried too."""
    data = mutate(whole, draw)
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little") - 8 if len(data) > 16 else -1
    if end > 0 and data[end : end + 4] == b"KDA1":
        crc = zlib.crc32(data[end + 8 :], zlib.crc32(data[:end]))
        data = data[: end + 4] + crc.to_bytes(4, "little") + data[end + 8 :]
    return data


def repacked(whole: bytes, draw: random.Random) -> bytes:
    """Return an archive of torch.save whose pickle is changed and whose checksums fit."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, mutate(data, draw) if name.endswith("data.pkl") else data)
    return made.getvalue()


def respelt(whole: bytes, draw: random.Random) -> bytes:
    """Return a text with letters changed, or a piece of it put elsewhere."""
    text = whole.decode()
    for _ in range(draw.choice((1, 1, 2, 5))):
        place, length = draw.randrange(len(text) + 1), draw.randrange(4)
        piece = "".join(draw.choice(LETTERS) for _ in range(draw.randrange(4)))
        other = draw.randrange(len(text) + 1)
        piece = draw.choice((piece, piece, text[other : other + draw.randrange(12)], "9" * 30))
        text = text[:place] + piece + text[place + length :]
    return text.encode()


def of_logits(path: Path) -> None:
    """Read logits, or a run with all of its parts."""
    for _ in load_logits(path).batches(16):
        pass
    if path.is_dir():
        verify(path)


def of_losses(path: Path) -> None:
    """Read a text as a loss, as a list of losses, and as a repr; refuse it where none does."""
    text, refused = path.read_bytes().decode(), []
    for read in (parse_loss, parse_losses, restore_loss):
        try:
            read(text)
        except ValueError as error:
            refused.append(str(error))
    for said in refused:
        assert "\n" not in said, said
        assert len(said) <= LONGEST, said
    if len(refused) == 3:
        raise ValueError(f"{path}: {refused[0]}")


def of_networks(path: Path) -> None:
    """Load the network of a checkpoint for images of ten classes."""
    pixels = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    half = torch.full((3,), 0.5)
    images = Images(pixels, torch.arange(10).numpy(), half, half, False)
    load_network(path, DataSplits("ten", list("0123456789"), images, images, half, half))


DOORS: dict[str, Callable[[Path], object]] = {
    "logits": of_logits,
    "sparse": lambda path: read_sparse(next(path.glob("a.*")) if path.is_dir() else path),
    "image": lambda path: decode(path, str(path), 16),
    "images": lambda path: load_data(path, image_size=8),
    "losses": of_losses,
    "networks": of_networks,
}


def change(target: Path, seed: Path, door: str, draw: random.Random) -> Callable:
    """Return how a file of a seed is changed."""
    if door == "losses":
        return respelt
    if door == "networks" and draw.random() < 0.7:
        return repacked
    part = target.suffix == ".parquet" and door == "logits"
    return sealed if part and (seed.is_dir() or seed.name == "part.parquet") else mutate


def problems(seed: Path, door: str, first: int, count: int) -> Iterator[str]:
    """Yield what mutants of a seed lead to, where it is no answer; the seed stays as it was."""
    files = sorted(p for p in seed.rglob("*") if p.is_file()) if seed.is_dir() else [seed]
    files = [p for p in files if p.name != "ended" and "locks" not in p.parts]
    whole = {p: p.read_bytes() for p in files}
    DOORS[door](seed)  # also loads what is loaded late
    high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, first + count):
        draw = random.Random(number)
        target = draw.choice(files)
        target.write_bytes(change(target, seed, door, draw)(whole[target], draw))
        faulthandler.dump_traceback_later(60, exit=True)
        begin = time.process_time()
        try:
            DOORS[door](seed)
        except (ValueError, FileNotFoundError, FileExistsError) as error:
            text = re.sub(re.escape(str(seed)) + r"[^\s:,)]*", "", str(error))
            named = seed.name in str(error) or "step" in text or f"{seed.stem} has" in text
            if "\n" in text or len(text) > LONGEST or not named:
                yield f"{number} {target.name}: {text[: 2 * LONGEST]!r}"
        except BaseException as error:
            yield f"{number} {target.name}: {error!r:.300}"
        if (took := time.process_time() - begin) > SLOW:
            yield f"{number} {target.name} took {took:.1f} s"
        target.write_bytes(whole[target])
    faulthandler.cancel_dump_traceback_later()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - high) // 1024
    if grown > GROWN.get(door, 200):
        yield f"grew by {grown} MiB"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    for seed in sorted(Path(sys.argv[1]).glob("*/*")):
        for problem in problems(seed, seed.parent.name, int(sys.argv[2]), int(sys.argv[3])):
            print(seed.parent.name, seed.name, problem, flush=True)
