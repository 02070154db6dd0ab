"""read_sparse: what users open, and the one sentence that every file gets which cannot be true."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from sparse_files import YAML, distillkit, iteration, megatron, sglang, vllm

import kdanalysis as kd

LONGEST = 400  # letters of a sentence


def arrays(path, **named):
    np.savez(path / "a.npz", **named)
    return path / "a.npz"


def answer(path, value):
    return written(path, json.dumps(value))


def written(path, text):
    (path / "a.json").write_text(text)
    return path / "a.json"


def lists(path, **columns):
    pq.write_table(pa.table(columns), path / "a.parquet")
    return path / "a.parquet"


def cut(path, share=0.6):
    """The same file without its end."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def renamed(path, name):
    return path.rename(path.with_name(name))


def tar_of(path, name, data):
    return megatron(path / "a.tar", {name: data})


GOOD = {"ids": [[3, 1], [0, 4]], "logprobs": np.log([[0.5, 0.25], [0.75, 0.125]])}
PAIR = ([3, 1], [-0.7, -1.4])
HOSTILE = {
    "a token twice": (
        lambda p: arrays(p, **GOOD | {"ids": [[3, 1], [4, 4]]}),
        "row 1 holds the id 4 twice",
    ),
    "beyond the vocabulary": (
        lambda p: arrays(p, **GOOD | {"ids": [[3, 6], [0, 4]]}),
        "row 0 holds the id 6: need 0 to 5",
    ),
    "an id of 64 bits": (
        lambda p: arrays(p, **GOOD | {"ids": [[3, 2**40], [0, 4]]}),
        "has the token 1099511627776, which no vocabulary has",
    ),
    "more than 1 in sum": (
        lambda p: arrays(p, **GOOD | {"logprobs": np.log([[0.75, 0.5], [0.5, 0.5]])}),
        r"probabilities of row 0 add up to 1\.25",
    ),
    "logits": (
        lambda p: arrays(p, **GOOD | {"logprobs": np.array([[12.5, 3.0], [9.0, 8.0]])}),
        "are they logits",
    ),
    "NaN": (
        lambda p: arrays(p, **GOOD | {"logprobs": np.array([[-1, -2], [-1, np.nan]])}),
        "row 1 holds the log-probability nan",
    ),
    "nothing but sentinels": (
        lambda p: arrays(p, **GOOD | {"logprobs": np.array([[-1, -2], [-1e3, -1e4]])}),
        "row 1 holds no token",
    ),
    "no ids": (
        lambda p: arrays(p, tokens=GOOD["ids"], logprobs=GOOD["logprobs"]),
        "has no tokens: it has logprobs, tokens, need one of token_ids, ids, target_token_ids",
    ),
    "neither": (
        lambda p: arrays(p, tokens=GOOD["ids"], values=GOOD["logprobs"]),
        "which it is: ids=tokens,logprobs=values",
    ),
    "no values": (
        lambda p: arrays(p, ids=GOOD["ids"]),
        "has no log-probabilities: it has ids, need one of logprobs, target_logprobs, top_values",
    ),
    "whole log-probabilities": (
        lambda p: arrays(p, **GOOD | {"logprobs": [[-1, -2], [-1, -2]]}),
        r"\(logprobs\) is int64, need floats",
    ),
    "floats for ids": (
        lambda p: arrays(p, **GOOD | {"ids": [[3.0, 1.0], [0.0, 4.0]]}),
        r"\(ids\) is float64, need whole numbers",
    ),
    "unequal shapes": (
        lambda p: arrays(p, **GOOD | {"ids": [[3], [0]]}),
        r"ids of shape \(2, 1\) and logprobs of shape \(2, 2\)",
    ),
    "a tail that does not add up": (
        lambda p: arrays(p, **GOOD, log_other=np.log([0.25, 0.5])),
        "probabilities of row 1 add up to 1.375 with log_other",
    ),
    "one tail for two rows": (
        lambda p: arrays(p, **GOOD, log_other=np.log([0.25])),
        r"\(log_other\) has shape \(1,\), need one number for each of the 2 rows",
    ),
    "a cut archive": (lambda p: cut(arrays(p, **GOOD)), "is not an .npz archive"),
    "ragged rows": (
        lambda p: lists(p, ids=[[1, 2], [3]], logprobs=[[-1.0, -2.0], [-1.0, -2.0]]),
        "has 1 ids and 2 logprobs in row 1",
    ),
    "ragged sequences": (
        lambda p: lists(p, ids=[[[1], [2]]], logprobs=[[[-1.0]]]),
        "has 2 positions of ids and 1 of logprobs",
    ),
    "one row of far too many": (
        lambda p: lists(
            p,
            ids=[[1]] * 4000 + [list(range(4000))],
            logprobs=[[-1.0]] * 4000 + [[-20.0] * 4000],
        ),
        "has 4,000 tokens in row 4,000 and 1 in the middle one",
    ),
    "texts": (
        lambda p: lists(p, ids=[["a"]], logprobs=[[-1.0]]),
        r"\(ids\) is list<.*string>, need lists of ints",
    ),
    "a null inside": (
        lambda p: lists(p, ids=[[1, None]], logprobs=[[-1.0, -2.0]]),
        r"\(ids\) has a null among its numbers",
    ),
    "a cut Parquet file": (
        lambda p: cut(lists(p, ids=[[1]], logprobs=[[-1.0]])),
        "is not a whole Parquet file",
    ),
    "JSON that ends early": (
        lambda p: cut(answer(p, vllm(PAIR))),
        "is no JSON, or was cut off",
    ),
    "a token twice in an object": (
        lambda p: written(p, '[null, {"3": {"logprob": -1.0}, "3": {"logprob": -2.0}}]'),
        "has '3' twice in one object",
    ),
    "JSON of something else": (
        lambda p: answer(p, {"choices": [{"text": "x"}]}),
        "its fields are choices, text, need prompt_logprobs, input_top_logprobs or",
    ),
    "nulls alone": (
        lambda p: answer(p, {"prompt_logprobs": [None, None]}),
        "has prompt_logprobs without a position that holds tokens",
    ),
    "an entry without its number": (
        lambda p: answer(p, {"prompt_logprobs": [None, {"3": {"rank": 1}}]}),
        r"\(prompt_logprobs\) cannot be read in row 0: need",
    ),
    "a text as a number": (
        lambda p: answer(p, {"input_top_logprobs": [None, [["-1", 3, "x"]]]}),
        r"\(input_top_logprobs\) cannot be read in row 0: need \[\[LOGPROB",
    ),
    "two servers": (
        lambda p: answer(p, {"prompt_logprobs": vllm(PAIR), "input_top_logprobs": sglang(PAIR)}),
        "has both prompt_logprobs and input_top_logprobs",
    ),
    "no settings": (
        lambda p: distillkit(p, ""),
        r"there is no .*compression_config.yaml: .* or as config of kd.read_sparse",
    ),
    "settings of another file": (
        lambda p: distillkit(p, YAML.replace("exact_k: 2", "exact_k: 1")),
        r"\(compressed_logprobs\) has 24 bytes a token and .* says 22",
    ),
    "settings of another vocabulary": (
        lambda p: distillkit(p, YAML.replace("d: 151936", "d: 32000")),
        r"\(bytepacked_indices\) has 14 bytes a token and .* says 12",
    ),
    "settings without a name": (
        lambda p: distillkit(p, YAML.replace("exact_k: 2", "exact: 2")),
        "has no exact_k: it has d, k, exact",
    ),
    "settings that cannot be": (
        lambda p: distillkit(p, YAML.replace("num_elements: 2", "num_elements: 20")),
        "describes no packing: need 0 <= exact_k <= k <= d",
    ),
    "settings that run code": (
        lambda p: distillkit(p, "d: !!python/object:os.system\n"),
        "cannot be read: need lines of the form name: value",
    ),
    "an iteration cut off": (
        lambda p: tar_of(p, "1.pt.zst", iteration(([[1]], [[-1.0]]))[:300]),
        r"\(1.pt.zst\) (is damaged|is not a file of torch.save)",
    ),
    "a cut tar": (
        lambda p: cut(tar_of(p, "1.pt.zst", iteration(([[1]], [[-1.0]]))), 0.05),
        "is no tar archive, or truncated",
    ),
    "a tar of something else": (
        lambda p: tar_of(p, "a.txt", b"x"),
        "has no iteration: it has _meta.json, a.txt, need members named ITERATION.pt.zst",
    ),
    "a kind that nobody writes": (
        lambda p: renamed(arrays(p, **GOOD), "a.csv"),
        "is of a kind we do not read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_cannot_be_true_gets_one_sentence(tmp_path, case):
    make, message = HOSTILE[case]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        kd.read_sparse(path, vocabulary=6 if path.suffix == ".npz" else None)
    said = str(caught.value)
    assert path.name in said
    assert len(said.replace(str(tmp_path), "")) <= LONGEST
    assert "\n" not in said


def test_control_what_is_well_formed_is_read(tmp_path):
    teacher = kd.read_sparse(arrays(tmp_path, **GOOD), vocabulary=6)
    assert isinstance(teacher, kd.SparseTeacher)
    torch.testing.assert_close(teacher.tail().exp(), torch.tensor([0.25, 0.125]).double())
    for make in (
        lambda p: lists(p, ids=[[1, 2], [3]], logprobs=[[-1.0, -2.0], [-1.0]]),
        lambda p: answer(p, vllm(PAIR)),
        distillkit_without_residuals,
        lambda p: tar_of(p, "1.pt.zst", iteration(([[1]], [[-1.0]]))),
    ):
        assert len(kd.read_sparse(make(tmp_path))) >= 1


def distillkit_without_residuals(path):
    settings = "d: 8\nk: 1\nexact_k: 1\nresidual_bins: []\ndelta_encoding: false\n"
    return distillkit(path, settings, list(np.float32(-1.0).tobytes()), [[5]], 3)


def test_fillers_are_counted(tmp_path):
    values = np.array([[-1, -1e4], [-1, -1e3]])
    teacher = kd.read_sparse(arrays(tmp_path, ids=[[1, 0], [2, 0]], logprobs=values))
    assert teacher.found["sentinel"] == 2
    assert teacher.ids.tolist() == [[1, -1], [2, -1]]


def test_fillers_may_share_an_id(tmp_path):
    values = {"ids": [[0, 0, 0]], "logprobs": np.array([[-1, -np.inf, -np.inf]])}
    assert kd.read_sparse(arrays(tmp_path, **values)).ids.tolist() == [[0, -1, -1]]


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("kdanalysis.store.formats.megatron._SMALL", 1 << 12)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(bytes(1 << 20))
    path = tar_of(tmp_path, "1.pt.zst", sink.getvalue().to_pybytes())
    with pytest.raises(ValueError, match=r"unpacks to more than .* bytes: it is forged"):
        kd.read_sparse(path)


def test_safetensors_of_half_precision_keep_their_rounding_in_bounds(tmp_path):
    p = np.array([[0.9, 0.0625, 0.0374]])
    named = {"ids": np.array([[1, 2, 3]]), "logprobs": np.log(p).astype(np.float16)}
    safetensors.numpy.save_file(named, tmp_path / "a.safetensors")
    teacher = kd.read_sparse(tmp_path / "a.safetensors", vocabulary=5)
    np.testing.assert_allclose(teacher.inside().exp(), p, rtol=2e-3)
