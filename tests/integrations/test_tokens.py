"""Tokens are numbered apart, whatever the numbers of their rows are kept in."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import kdanalysis as kd
from kdanalysis.capture.samples import check_batch
from kdanalysis.integrations.tokens import IGNORED, select_tokens
from kdanalysis.store.run import StoredRun


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shift", [False, True])
def test_every_token_has_an_id_of_its_own(dtype, shift):
    logits, labels = torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.long)
    labels[0, 2] = IGNORED
    rows = torch.tensor([0, 4096, 2**31 - 1], dtype=dtype)
    tokens = select_tokens(logits, logits, labels, rows, shift)
    expected = [row * 2**20 + place for row in rows.tolist() for place in range(shift, 4)]
    expected.remove(2)
    assert tokens.sample_id.tolist() == expected


def language_model(seed, width):
    torch.manual_seed(seed)
    shape = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 24}
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=90, **shape, **drops, **ends))


@pytest.mark.parametrize("keep", [(), kd.TopK(8)], ids=["logits", "TopK"])
def test_a_plain_loop_records_labelled_tokens_and_no_generation(tmp_path, keep):
    student, teacher = language_model(0, 8), language_model(1, 16)
    labels = torch.randint(1, 90, (2, 6), generator=torch.Generator().manual_seed(0))
    labels[0, :3] = IGNORED
    ids, loss = labels.clamp(min=0), kd.Sum(kd.CrossEntropy(), kd.KD(2.0))
    with kd.Recorder(tmp_path / "run", loss, keep=keep, schedule=kd.every(1)) as recorder:
        for _ in range(2):
            with torch.no_grad():
                known = teacher(ids).logits
                student.generate(ids[:, :2], max_new_tokens=4, do_sample=False)
            logits = student(ids).logits
            rows = kd.tokens(logits, known, labels, torch.tensor([5, 7]))
            sides = {"student": rows.student, "teacher": rows.teacher}
            value = recorder.loss(rows.target, rows.sample_id, **sides)
            value.backward()
    target = labels[:, 1:][labels[:, 1:] != IGNORED]
    mine, theirs = (x[:, :-1][labels[:, 1:] != IGNORED] for x in (logits, known))
    torch.testing.assert_close(value, sum(loss(mine, theirs, target).values()).mean())
    found = next(StoredRun(tmp_path / "run").batches())
    places = [5 * 2**20 + p for p in (3, 4, 5)] + [7 * 2**20 + p for p in range(1, 6)]
    assert found["sample_id"].tolist() == places * 2
    assert found["target"].tolist() == target.tolist() * 2
    assert found["residual"].max() < 1e-5


def test_without_numbers_of_the_texts_their_rows_serve():
    logits, labels = torch.randn(2, 3, 5), torch.ones(2, 3, dtype=torch.long)
    assert kd.tokens(logits, logits, labels, shift=False).sample_id.tolist() == [
        *range(3),
        *range(2**20, 2**20 + 3),
    ]


def test_a_plain_recorder_that_meets_tokens_points_to_what_picks_them(tmp_path):
    student, says = language_model(0, 8), r"\(2, 6, 90\).*kd\.tokens\(.*integration of your trainer"
    ids = torch.ones(2, 6, dtype=torch.long)
    recorder = kd.Recorder(tmp_path / "hook", kd.KD(), student=student)
    with pytest.raises(ValueError, match=says):
        student(ids)
    recorder.close()
    logits = torch.zeros(2, 6, 90)
    with pytest.raises(ValueError, match=says):
        check_batch(logits, logits, ids, None)


def test_labels_without_positions_are_shifted_only_where_that_is_meant():
    logits, labels = torch.randn(4, 5), torch.ones(4, dtype=torch.long)
    with pytest.raises(
        ValueError, match=r"labels \(4,\) have no positions to shift: .*shift=False"
    ):
        kd.tokens(logits, logits, labels)
    assert len(kd.tokens(logits, logits, labels, shift=False).target) == 4
    assert len(kd.tokens(logits[None], logits[None], labels[None]).target) == 3
    with pytest.raises(ValueError, match="labels must be a torch Tensor of whole numbers"):
        kd.tokens(logits[None], logits[None], labels[None].float())


def test_sides_of_unequal_vocabularies_are_told_what_to_cut():
    student, labels = torch.randn(2, 4, 30), torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"where the teacher's is padded.*logits\[\.\.\., :30\]"):
        kd.tokens(student, torch.randn(2, 4, 32), labels)
    with pytest.raises(ValueError, match=r"a trainer.*: teacher\.resize_token_embeddings\(30\)$"):
        kd.tokens(student, torch.randn(2, 4, 32), labels)
    with pytest.raises(ValueError, match=r"where the student's is padded.*logits\[\.\.\., :28\]"):
        kd.tokens(student, torch.randn(2, 4, 28), labels)


def test_a_model_that_is_cut_as_is_told_gives_the_logits_that_are_cut():
    torch.manual_seed(0)
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, **shape)).eval()
    ids = torch.randint(30, (2, 4))
    with torch.no_grad():
        padded = model(ids).logits
        model.resize_token_embeddings(30)
        torch.testing.assert_close(model(ids).logits, padded[..., :30])
