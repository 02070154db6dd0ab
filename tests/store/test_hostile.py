"""Hostile names stay inside, and hostile files run nothing and allocate nothing."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from kdanalysis.store.files import run_folder
from kdanalysis.store.info import RunInfo
from kdanalysis.store.sources import load_logits
from kdanalysis.store.writer import PartWriter

NAMES = [
    *["", ".", "..", "../x", "../../etc/x", "/etc/x", "//x", "a/b", "a/../../b", "./x", "x/"],
    *["a\\b", "C:\\x", "x\0", "\0", "a\nb", " ", " x", "x ", "~", "~root", "$HOME", "`id`"],
    *["x" * 81, "x" * 300, "é", "run;rm -rf", "run|x", "<b>", "a*", "?", "con:", "\u202ex", "a'b"],
]
GOOD = ["a", "run-1", "gdkd_k5.T4", "x" * 80, "0"]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_run_name_is_refused(tmp_path, name):
    root = tmp_path / "runs"
    root.mkdir()
    with pytest.raises(ValueError, match="is no run name"):
        run_folder(root, name)
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


@pytest.mark.parametrize("name", GOOD)
def test_a_plain_run_name_is_taken(tmp_path, name):
    assert run_folder(tmp_path, name) == run_folder(tmp_path / name) == tmp_path / name


@pytest.mark.skipif(sys.platform == "win32", reason="links")
@pytest.mark.parametrize("link", ["run", "run/samples", "run/samples/rank-0", "run/layers"])
def test_a_link_that_leaves_the_root_is_not_followed(tmp_path, batch, link):
    outside, root = tmp_path / "outside", tmp_path / "runs" / "run"
    (outside / "rank-0").mkdir(parents=True)
    (outside / "rank-0" / "precious").write_text("x")
    (tmp_path / "runs" / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "runs" / link).symlink_to(outside, target_is_directory=True)
    for existing in ("error", "overwrite", "resume"):
        with pytest.raises((ValueError, FileExistsError)):
            PartWriter(root, 0, RunInfo(6), existing=existing).write(batch(0))
    assert sorted(p.name for p in outside.rglob("*")) == ["precious", "rank-0"]


class Evil:
    """Unpickling this writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def evil_files(folder, mark):
    torch.save({"teacher_logits": torch.zeros(3, 2), "x": Evil(mark)}, folder / "a.pt")
    torch.save(Evil(mark), folder / "b.pth")
    (folder / "c.pt").write_bytes(pickle.dumps(Evil(mark)))
    objects = np.array([[Evil(mark), 1]], dtype=object)
    np.save(folder / "d.npy", objects, allow_pickle=True)
    np.savez(folder / "e.npz", allow_pickle=True, teacher_logits=objects)
    (folder / "f.npy").write_bytes(pickle.dumps(Evil(mark)))
    (folder / "g.npz").write_bytes(pickle.dumps(Evil(mark)))
    (folder / "h.safetensors").write_bytes(pickle.dumps(Evil(mark)))
    (folder / "i.parquet").write_bytes(pickle.dumps(Evil(mark)))
    torch.save(
        {"teacher_logits": Evil(mark)}, folder / "j.pt", _use_new_zipfile_serialization=False
    )
    return sorted(folder.iterdir())


LOAD = """
import sys
from kdanalysis.store.sources import load_logits
for path in sys.argv[1:]:
    try:
        list(load_logits(path).batches(2))
    except ValueError as error:
        assert "\\n" not in str(error), error
        print("refused", path)
"""


def test_evil_files_run_no_code(tmp_path):
    mark = tmp_path / "pwned"
    (tmp_path / "files").mkdir()
    for path in evil_files(tmp_path / "files", mark):
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            list(load_logits(path).batches(2))
    assert not mark.exists()


def test_evil_files_run_no_code_where_the_environment_asks_torch_to(tmp_path):
    folder, mark = tmp_path / "files", tmp_path / "pwned"
    folder.mkdir()
    files = evil_files(folder, mark)
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    out = subprocess.run(
        [sys.executable, "-c", LOAD, *files],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert out.stdout.count("refused") == len(files) == 10
    assert not mark.exists()
    with (folder / "c.pt").open("rb") as file:  # the control: unpickled, it does write
        pickle.load(file)
    assert mark.exists()


def forged_npy(shape):
    header = (
        str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(118) + b"\n"
    )
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64


def forged_files(folder):
    """Files of under 2 KB that claim terabytes."""
    huge = (10**9, 1000)
    (folder / "a.npy").write_bytes(forged_npy(huge))
    (folder / "b.npy").write_bytes(b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + b" " * 50)
    (folder / "b2.npy").write_bytes(forged_npy((-1, -16)))
    with zipfile.ZipFile(folder / "c.npz", "w") as archive:
        archive.writestr("teacher_logits.npy", forged_npy(huge))
    with zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("teacher_logits.npy", forged_npy(huge))
    data = (folder / "d.npz").read_bytes()
    size = struct.pack("<I", len(forged_npy(huge)))
    (folder / "e.npz").write_bytes(data.replace(size, struct.pack("<I", 4_000_000_000)))
    tensor = {"dtype": "F32", "shape": huge, "data_offsets": (0, 4 * 10**12)}
    entry = json.dumps({"teacher_logits": tensor}).encode()
    (folder / "f.safetensors").write_bytes(struct.pack("<Q", len(entry)) + entry + b"\0" * 64)
    (folder / "g.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + entry)
    torch.save({"teacher_logits": torch.zeros(1).expand(10**9, 1000)}, folder / "h.pt")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("name", ["a.npy", "c.npz", "d.npz", "h.pt"])
def test_a_false_size_is_named(tmp_path, name):
    forged_files(tmp_path)
    with pytest.raises(ValueError, match="claims 4000000000000 bytes"):
        load_logits(tmp_path / name)


@pytest.mark.parametrize("name", ["f.safetensors", "g.safetensors"])
def test_a_false_header_is_refused(tmp_path, name):
    forged_files(tmp_path)
    with pytest.raises(ValueError, match="is truncated, forged or no safetensors file"):
        load_logits(tmp_path / name)


def test_a_member_that_claims_more_than_deflate_can_pack_is_named(tmp_path):
    forged_files(tmp_path)
    with pytest.raises(ValueError, match=r"claims 4000000000 bytes from \d+: it is trunc"):
        load_logits(tmp_path / "e.npz")


MEASURE = (
    """
import resource, sys
import torch
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
"""
    + LOAD
)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_sizes_are_checked_before_anything_is_allocated(tmp_path):
    files = forged_files(tmp_path)
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, *files],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert out.stdout.count("refused") == len(files) == 9


@pytest.mark.parametrize("suffix", [".pkl", ".json", ".txt", "", ".npz.exe"])
def test_other_kinds_of_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"logits{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"of a kind we do not read: need a run folder or one of"):
        load_logits(path)
