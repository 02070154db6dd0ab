"""Files of truncated teachers as servers and trainers write them, made by other means than ours."""

import io
import struct
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import torch

YAML = """\
d: 151936
k: 6
exact_k: 2
exact_dtype: float16
polynomial_terms:
- 0
- 1
- sqrt
term_dtype: float32
residual_bins:
- scale_dtype: float16
  element_bits: 3
  num_elements: 2
- scale_dtype: float32
  element_bits: 1
  num_elements: 1
delta_encoding: false
error_diffusion: false
normalize_t: false
"""
IDS_PACKED = [[151935, 7, 70000, 0, 65536, 131071], [1, 2, 3, 4, 5, 6]]


def vllm(*rows):
    """What a vLLM server says of a prompt; nothing of its first token."""
    return [
        None,
        *(
            {str(i): {"logprob": float(v), "rank": r, "decoded_token": "x"}
             for r, (i, v) in enumerate(zip(ids, values, strict=True), 1)}
            for ids, values in rows
        ),
    ]  # fmt: skip


def sglang(*rows):
    return [
        None, *([[float(v), i, None] for i, v in zip(*row, strict=True)] for row in rows)
    ]  # fmt: skip


def bits(numbers, width):
    """Whole bytes of numbers, written as a string of 0 and 1."""
    text = "".join(format(number, f"0{width}b") for number in numbers)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def packed_token():
    token = struct.pack("<2e", -0.25, -2.0) + struct.pack("<3f", -3.0, -0.5, 0.25)
    token += struct.pack("<e", 0.5) + bytes(bits([6, 1], 3))
    return list(token + struct.pack("<f", 0.125) + bytes(bits([1], 1)))


def distillkit(path, settings=YAML, token=None, ids=IDS_PACKED, width=18):
    nested = pa.list_(pa.list_(pa.uint8()))
    columns = {
        "input_ids": [[1, 2]],
        "compressed_logprobs": pa.array([[token or packed_token()] * len(ids)], nested),
        "bytepacked_indices": pa.array([[bits(row, width) for row in ids]], nested),
    }
    pq.write_table(pa.table(columns), path / "a.parquet")
    if settings:
        (path / "compression_config.yaml").write_text(settings)
    return path / "a.parquet"


def zstd(data):
    """Packed by another library's writer of the format."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def megatron(path, iterations, meta=b"{}"):
    """A tar of iterations, each a dict of lists of tensors."""
    with tarfile.open(path, "w") as tar:
        for name, data in {"_meta.json": meta, **iterations}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def iteration(*microbatches):
    """Positions x sequences x K, ids cut into 16 bits and one more."""
    stored = {"values": [], "indices_low": [], "bit_17": []}
    for ids, values in microbatches:
        stored["values"].append(torch.tensor(values, dtype=torch.float16)[:, None])
        stored["indices_low"].append((torch.tensor(ids) % 65536).to(torch.uint16)[:, None])
        stored["bit_17"].append((torch.tensor(ids) // 65536 % 2).bool()[:, None])
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    return zstd(buffer.getvalue())
