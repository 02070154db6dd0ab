"""Truncated teachers from files that other writers made, with values computed by hand."""

import json
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from sparse_files import IDS_PACKED, YAML, distillkit, iteration, megatron, sglang, vllm

from kdanalysis.store.sources import load_logits
from kdanalysis.store.sparse import holds_sparse, load_sparse

IDS = [[3, 1], [0, 4], [2, 5]]
LOGPROBS = np.log([[0.5, 0.25], [0.75, 0.125], [0.5, 0.125]])


def assert_same(found, ids=IDS, logprobs=LOGPROBS):
    np.testing.assert_array_equal(found["ids"], ids)
    np.testing.assert_allclose(found["logprobs"], logprobs, rtol=1e-6)


NAMES = [
    ("token_ids", "logprobs"),
    ("ids", "top_values"),
    ("target_token_ids", "target_logprobs"),
    ("top_k_indices", "logprobs"),
    ("topk_token_ids", "topk_logprobs"),
    ("topk_ids", "topk_logprobs"),
    ("topk_indices", "topk_log_probs"),
    ("teacher_topk_ids", "teacher_topk_log_probs"),
    ("teacher_topk_indices", "teacher_topk_logprobs"),
    ("teacher_ids", "teacher_logprobs"),
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("kind", ["a.npz", "a.safetensors", "a.pt", "a.parquet"])
def test_arrays_are_read_by_the_names_that_others_use(tmp_path, kind, names):
    path, arrays = tmp_path / kind, [np.array(IDS), LOGPROBS.astype(np.float32)]
    named = dict(zip(names, arrays, strict=True))
    {
        "a.npz": lambda: np.savez(path, **named),
        "a.safetensors": lambda: safetensors.numpy.save_file(named, path),
        "a.pt": lambda: torch.save({k: torch.tensor(v) for k, v in named.items()}, path),
        "a.parquet": lambda: pq.write_table(
            pa.table({name: values.tolist() for name, values in named.items()}), path
        ),
    }[kind]()
    found = load_sparse(path, vocabulary=6)
    assert_same(found)
    assert found["ids"].dtype == np.int32
    assert (found["vocabulary"], found["temperature"], found["kind"]) == (6, 1.0, "logprobs")
    assert holds_sparse(path)


def test_unusual_names_are_given_and_what_goes_with_a_row_comes_along(tmp_path):
    more = {
        "log_other": np.log([0.25, 0.125, 0.375]),
        "logsumexp_1": np.array([1.0, 2.0, 3.0]),
        "logsumexp_2.5": np.array([4.0, 5.0, 6.0]),
        "target": np.array([3, 4, 5]),
        "counts": np.array(IDS) + 1,
    }
    np.savez(tmp_path / "a.npz", tokens=IDS, lp=LOGPROBS, **more)
    found = load_sparse(tmp_path / "a.npz", keys={"ids": "tokens", "logprobs": "lp"}, temperature=2)
    assert_same(found)
    assert found["temperature"] == 2
    for name in ("log_other", "target", "counts"):
        np.testing.assert_array_equal(found[name], more[name])
    assert list(found["logsumexp"]) == [1.0, 2.5]
    np.testing.assert_array_equal(found["logsumexp"][2.5], [4, 5, 6])


@pytest.mark.parametrize("nested", [False, True])
def test_names_that_are_not_known_are_guessed_where_one_pair_of_columns_fits(tmp_path, nested):
    path, values = tmp_path / "a.parquet", LOGPROBS.tolist()
    columns = {"top": [IDS] if nested else IDS, "top_lp": [values] if nested else values}
    columns |= {"input_ids": [[1, 2, 3]] * len(columns["top"]), "text": ["a"] * len(columns["top"])}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=r"which it is: ids=top,logprobs=top_lp$"):
        load_sparse(path)
    with pytest.raises(ValueError, match=r"teacher_logits=NAME, or ids=top,logprobs=top_lp$"):
        load_logits(path)
    assert_same(load_sparse(path, keys={"ids": "top", "logprobs": "top_lp"}))
    pq.write_table(pa.table(columns | {"more_lp": columns["top_lp"]}), path)
    with pytest.raises(ValueError, match=r"which it is: ids=NAME,logprobs=NAME$"):
        load_sparse(path)
    with pytest.raises(ValueError, match=r"which it is: teacher_logits=NAME$"):
        load_logits(path)


def test_sequences_of_positions_become_rows_in_order(tmp_path):
    np.savez(tmp_path / "a.npz", ids=np.array(IDS)[None], logprobs=LOGPROBS[None])
    assert_same(load_sparse(tmp_path / "a.npz"))
    nested = {"token_ids": [IDS[:2], IDS[2:]], "top_values": [LOGPROBS[:2], LOGPROBS[2:]]}
    nested["top_values"] = [[list(row) for row in one] for one in nested["top_values"]]
    pq.write_table(pa.table(nested), tmp_path / "a.parquet", row_group_size=1)
    assert_same(load_sparse(tmp_path / "a.parquet"))


def test_rows_of_unequal_length_are_filled_up_and_fillers_are_absent(tmp_path):
    ids, values = [[3, 1, 2], [0], [0, 0, 5]], [[-1.0, -2.0, -3.0], [-0.5], [-1e4, -1e3, -0.25]]
    pq.write_table(pa.table({"ids": ids, "logprobs": values}), tmp_path / "a.parquet")
    found = load_sparse(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found["ids"], [[3, 1, 2], [0, -1, -1], [-1, -1, 5]])
    assert found["fillers"] == 2
    there = found["ids"] >= 0
    np.testing.assert_array_equal(found["logprobs"][there], [-1, -2, -3, -0.5, -0.25])


ROWS = list(zip(IDS, LOGPROBS.tolist(), strict=True))
WRAPPED = {
    "vllm bare": vllm(*ROWS),
    "vllm completion": {"choices": [{"text": "", "prompt_logprobs": vllm(*ROWS)}]},
    "vllm requests": [
        {"prompt_logprobs": vllm(*ROWS[:1])}, {"prompt_logprobs": vllm(*ROWS[1:])},
    ],
    "sglang bare": sglang(*ROWS),
    "sglang answer": {"meta_info": {"input_top_logprobs": sglang(*ROWS), "id": "1"}},
}  # fmt: skip


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_answers_of_servers_are_read_without_their_first_position(tmp_path, wrapped):
    (tmp_path / "a.json").write_text(json.dumps(WRAPPED[wrapped]))
    found = load_sparse(tmp_path / "a.json", vocabulary=6)
    assert_same(found)
    assert found["temperature"] == 1


def test_a_line_an_answer_and_the_token_of_the_prompt_beside_the_largest(tmp_path):
    lines = [
        {"prompt_logprobs": vllm(ROWS[0])},
        {"prompt_logprobs": vllm(([5, 2, 0], [-1, -2, -9]))},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    found = load_sparse(tmp_path / "a.jsonl")
    np.testing.assert_array_equal(found["ids"], [[3, 1, -1], [5, 2, 0]])
    np.testing.assert_allclose(found["logprobs"][1], [-1, -2, -9])


def test_what_vllm_says_is_of_temperature_1(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(WRAPPED["vllm bare"]))
    with pytest.raises(ValueError, match="made at T = 1, and temperature=2 is given"):
        load_sparse(tmp_path / "a.json", temperature=2)


def test_tokens_that_sglang_generated_are_of_the_temperature_that_is_given(tmp_path):
    prompt = {"input_top_logprobs": [None], "output_top_logprobs": sglang(*ROWS)[1:]}
    (tmp_path / "a.json").write_text(json.dumps([{"meta_info": prompt}]))
    with pytest.raises(ValueError, match=r"temperature that sampled .* that temperature=$"):
        load_sparse(tmp_path / "a.json")
    found = load_sparse(tmp_path / "a.json", temperature=0.6)
    assert_same(found)
    assert found["temperature"] == 0.6
    prompt["input_top_logprobs"] = sglang(ROWS[2])
    (tmp_path / "a.json").write_text(json.dumps(prompt))
    assert_same(load_sparse(tmp_path / "a.json"), IDS[2:], LOGPROBS[2:])


# Residuals of 3 bits are 0 to 7 less 4, times the scale; of 1 bit -1 or 1.
VALUES = [-0.25, -2.0, *(-3.0 - 0.5 * t + 0.25 * np.sqrt(t) for t in range(4))]
EXPECTED = np.add(VALUES, [0, 0, 0.5 * (6 - 4), 0.5 * (1 - 4), 0.125, 0])


def test_packed_log_probabilities_are_unpacked(tmp_path):
    found = load_sparse(distillkit(tmp_path))
    np.testing.assert_array_equal(found["ids"], IDS_PACKED)
    np.testing.assert_allclose(found["logprobs"], [EXPECTED, EXPECTED], rtol=1e-12)
    assert found["vocabulary"] == 151936
    assert holds_sparse(tmp_path / "a.parquet")


def test_a_parquet_file_without_rows_is_whole_and_has_none(tmp_path):
    lists = {
        "ids": pa.array([], pa.list_(pa.int32())),
        "logprobs": pa.array([], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(lists), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet has no rows"):
        load_sparse(tmp_path / "a.parquet")


def test_the_folder_that_distillkit_writes_is_read_part_by_part(tmp_path):
    for part in (10, 2, 0):
        whole = distillkit(tmp_path, ids=[[part, 9, 8, 7, 6, 5]])
        whole.rename(tmp_path / f"data_{part}.parquet")
    found = load_sparse(tmp_path)
    assert found["ids"][:, 0].tolist() == [0, 2, 10]
    np.testing.assert_allclose(found["logprobs"], [EXPECTED] * 3, rtol=1e-12)
    assert (found["vocabulary"], found["temperature"]) == (151936, 1.0)
    assert holds_sparse(tmp_path)
    with pytest.raises(ValueError, match="keys cannot name"):
        load_sparse(tmp_path, keys={"ids": "a"})
    (tmp_path / "none").mkdir()
    pq.write_table(pa.table({"logits": [1.0]}), tmp_path / "none" / "data_0.parquet")
    assert not holds_sparse(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is a folder without a data_N\.parquet"):
        load_sparse(tmp_path / "none")


def test_differences_are_added_up_and_t_may_end_at_1(tmp_path):
    settings = YAML.replace("delta_encoding: false", "delta_encoding: true")
    found = load_sparse(distillkit(tmp_path, settings))
    np.testing.assert_allclose(found["logprobs"][0], np.cumsum(EXPECTED), rtol=1e-12)
    found = load_sparse(
        distillkit(tmp_path, YAML.replace("normalize_t: false", "normalize_t: true"))
    )
    t = np.arange(4) / 3
    values = np.array([-0.25, -2.0, *(-3.0 - 0.5 * t + 0.25 * np.sqrt(t))])
    more = EXPECTED - VALUES
    np.testing.assert_allclose(found["logprobs"][0], values + more, rtol=1e-12)


def test_the_settings_may_be_elsewhere_and_short(tmp_path):
    (tmp_path / "packed").mkdir()
    path = distillkit(tmp_path / "packed", "", list(struct.pack("<2f", -0.5, -1.5)), [[9, 3]], 5)
    text = "d: 32\nk: 2 # all of them\nexact_k: 2\npolynomial_terms: null\nresidual_bins: []\n"
    (tmp_path / "own.yaml").write_text(text + 'delta_encoding: false\nexact_dtype: "float32"\n')
    found = load_sparse(path, config=tmp_path / "own.yaml")
    np.testing.assert_array_equal(found["ids"], [[9, 3]])
    np.testing.assert_array_equal(found["logprobs"], [[-0.5, -1.5]])


def test_iterations_of_megatron_follow_their_numbers(tmp_path):
    first = [[70000, 65535], [4, -1]], [[-0.5, -1.5], [-0.25, -1e4]]
    second, third = ([[7, 8]], [[-0.75, -2.0]]), ([[9]], [[-3.0]])
    members = {"10.pt.zst": iteration(third), "9.pt.zst": iteration(first, second)}
    found = load_sparse(megatron(tmp_path / "cp0_dp0__10.tar", members), vocabulary=131072)
    np.testing.assert_array_equal(found["ids"], [[70000, 65535], [4, -1], [7, 8], [9, -1]])
    assert found["fillers"] == 1
    there = found["ids"] >= 0
    np.testing.assert_array_equal(found["logprobs"][there], [-0.5, -1.5, -0.25, -0.75, -2.0, -3.0])


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ({"choices": [{"logprobs": {"content": [{"top_logprobs": []}]}}]}, "and ids are needed$"),
        (
            {"logprobs": {"top_logprobs": [None, {"token_id:7": -0.5}]}},
            "^(?!.*_id:7).*ids of top",
        ),
        ({"top_logprobs": [{"token": "token_id:7", "logprob": -0.5}]}, "the ids of top_logprobs"),
        ({"top_logprobs": [{"id": 7, "token": "a", "logprob": -0.5}]}, "the ids of top_logprobs"),
        (
            {"logprobs": {"top_logprobs": [None, {"id": -0.5}]}},
            "text, and ids are needed$",
        ),
        ({"token_ids": [4, 1], "logprobs": [-0.5, -1.5]}, r"are read from Parquet, as pandas\."),
        ({"text": "x"}, "need prompt_logprobs, input_top_logprobs or output_top_logprobs$"),
    ],
)
def test_other_json_is_told_what_it_lacks(tmp_path, value, advice):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(value) + "\n" + json.dumps(value))
    with pytest.raises(ValueError, match=advice):
        load_sparse(path)


def test_rows_of_json_lines_are_read_as_the_parquet_that_is_advised(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"token_ids": [4, 1], "logprobs": [-0.5, -1.5]}\n' * 2)
    pd.read_json(path, lines=True).to_parquet(tmp_path / "rows.parquet")
    found = load_sparse(tmp_path / "rows.parquet")
    assert found["ids"].tolist() == [[4, 1]] * 2
    assert found["logprobs"].tolist() == [[-0.5, -1.5]] * 2
