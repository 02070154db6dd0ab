"""A run gives back what was written, once, in order, however it was written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdanalysis.store import part
from kdanalysis.store.footer import Page
from kdanalysis.store.info import RunInfo, read_info, write_info
from kdanalysis.store.merge import Stream, merge
from kdanalysis.store.run import StoredRun
from kdanalysis.store.straight import Straight
from kdanalysis.store.writer import PartWriter

COLUMNS = ("step", "epoch", "sample_id", "target", "teacher_logits", "student_logits")


def layers(run):
    return run.batches(run.columns_of("layers"), kind="layers")


def read(path, columns=COLUMNS, batch_size=50):
    batches = list(StoredRun(path).batches(columns, batch_size))
    return {name: np.concatenate([b[name] for b in batches]) for name in columns}


@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000])
def test_batches_hold_the_rows_that_were_written(stored, batch, batch_size):
    run = StoredRun(stored(range(12)))
    batches = list(run.batches(COLUMNS, batch_size))
    sizes = [len(b["step"]) for b in batches]
    assert sizes == [batch_size] * (192 // batch_size) + [192 % batch_size] * bool(192 % batch_size)
    for name in COLUMNS:
        expected = np.concatenate([batch(step)[name] for step in range(12)])
        found = np.concatenate([b[name] for b in batches])
        assert found.tobytes() == expected.astype(found.dtype).tobytes()
        assert all(b[name].flags.writeable for b in batches)  # torch.from_numpy wants that


@pytest.mark.parametrize(
    "option", [{"compression": "ZSTD"}, {"use_dictionary": ["teacher_logits"]}], ids=str
)
def test_cells_that_do_not_lie_one_after_the_other_are_decoded(stored, monkeypatch, option):
    expected, writer = read(stored(range(12), name="plain")), part.pq.ParquetWriter
    packed = lambda *given, **options: writer(*given, **options | option)  # noqa: E731
    monkeypatch.setattr(part.pq, "ParquetWriter", packed)
    found = read(stored(range(12), name="packed"))
    assert all(found[name].tobytes() == expected[name].tobytes() for name in COLUMNS)


@pytest.mark.parametrize(
    ("pages", "said"),
    [([Page(0, 8, 2)], "fewer cells than it has rows"), ([Page(0, 96, 24)], "ends before")],
)
def test_cells_that_are_not_there_are_an_error(tmp_path, pages, said):
    (tmp_path / "x").write_bytes(bytes(range(10)))
    with (tmp_path / "x").open("rb", buffering=0) as file:
        cells = Straight(file, pages, 4)
        cells.skip(1)
        assert cells.take(1).tolist() == [4, 5, 6, 7]
        with pytest.raises(OSError, match=said):
            cells.take(1)


def test_counts_steps_and_columns(stored):
    run = StoredRun(stored(range(0, 12, 2)))
    assert (run.num_rows, run.duplicates, run.skipped) == (96, 0, [])
    assert run.steps().tolist() == [0, 2, 4, 6, 8, 10]
    assert run.columns == (*COLUMNS, "rank")
    assert len(run.parts) == 2


def test_a_part_is_committed_once_64_mib_are_in_memory(tmp_path):
    side, classes = np.zeros((8, 2**17), np.float16), 2**17  # both sides of a batch: 4 MiB
    with PartWriter(tmp_path / "run", 0, RunInfo(classes)) as writer:
        for step in range(16):
            assert writer.pending() == 8 * step
            place = {"step": np.full(8, step), "epoch": np.zeros(8, np.int32)}
            logits = {"teacher_logits": side, "student_logits": side}
            writer.write(place | {"sample_id": np.arange(8)} | logits)
        assert writer.pending() == 0
    assert StoredRun(tmp_path / "run").num_rows == 128


def test_a_column_that_is_not_there_is_refused(stored):
    with pytest.raises(ValueError, match="no column residual in every part: it has step, epoch"):
        next(StoredRun(stored()).batches(["residual"]))


def test_copies_from_a_padded_sampler_are_read_once(stored, batch, tmp_path):
    root = stored(range(4))
    with PartWriter(root, 1, RunInfo(6)) as writer:
        for step in range(4):
            columns = batch(step)
            columns["sample_id"][4:] += 10_000  # four rows are copies of rank 0's
            writer.write(columns)
    run = StoredRun(root)
    assert (run.num_rows, run.duplicates) == (4 * 28, 16)
    rows = read(root, ("step", "sample_id", "rank"))
    assert len(set(zip(rows["step"], rows["sample_id"], strict=True))) == 4 * 28
    assert (np.diff(rows["step"]) >= 0).all()


def test_a_resumed_run_reads_as_if_it_had_not_been_interrupted(stored):
    whole = read(stored(range(12), name="whole"))
    root = stored(range(8), name="torn")
    stored(range(5, 12), name="torn", existing="resume")
    torn = read(root)
    assert StoredRun(root).duplicates == 3 * 16
    for name in COLUMNS:
        assert torn[name].tobytes() == whole[name].tobytes()


def test_of_two_rows_of_a_step_the_newest_start_wins(stored, batch):
    root = stored(range(4))
    columns = batch(3)
    columns["student_logits"] = columns["student_logits"] + np.float16(1)
    with PartWriter(root, 0, RunInfo(6), existing="resume") as writer:
        writer.write(columns)
    rows = read(root)
    assert rows["student_logits"][48:].tobytes() == columns["student_logits"].tobytes()
    assert rows["student_logits"][:48].tobytes() != columns["student_logits"].tobytes()


rows_of_a_stream = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=25)


@given(st.lists(rows_of_a_stream, min_size=1, max_size=4), st.integers(1, 9))
def test_merging_agrees_with_a_dictionary(streams, block):
    def source(index, rows):
        rows = sorted(rows, key=lambda row: row[0])
        table = {
            "step": np.array([r[0] for r in rows]),
            "id": np.array([r[1] for r in rows]),
            "origin": np.array([100 * index + i for i in range(len(rows))]),
        }
        cuts = range(0, len(rows), block)
        blocks = [{k: v[c : c + block] for k, v in table.items()} for c in cuts]
        return rows, Stream(rows[0][0], lambda: iter(blocks))

    sources = [source(i, rows) for i, rows in enumerate(streams) if rows]
    expected = {}
    for index, (rows, _) in enumerate(sources):
        for i, row in enumerate(rows):
            expected.setdefault(row, (index, i))

    found, removed = {}, 0
    steps = []
    for out, count in merge([stream for _, stream in sources], lambda b: b["id"]):
        removed += count
        for step, key, origin in zip(*out.values(), strict=True):
            assert (step, key) not in found
            found[step, key] = origin
            steps.append(step)
    assert steps == sorted(steps)
    assert found.keys() == expected.keys()
    assert removed == sum(len(rows) for rows, _ in sources) - len(expected)
    kept = [i for i, rows in enumerate(streams) if rows]
    assert {k: divmod(v, 100) for k, v in found.items()} == {
        k: (kept[index], i) for k, (index, i) in expected.items()
    }


def test_batches_of_other_columns_or_dtypes_make_a_new_part(tmp_path, batch):
    with PartWriter(tmp_path / "run", 0, RunInfo(6), "same") as writer:
        writer.write(batch(0))
        writer.write(batch(1, dtype="float32"))
        writer.write({k: v for k, v in batch(2).items() if k != "target"})
    run = StoredRun(tmp_path / "run")
    assert len(run.parts) == 3
    assert "target" not in run.columns
    (rows,) = run.batches(["student_logits"], 48)
    assert rows["student_logits"].dtype == run.dtype("student_logits") == np.float32
    assert (
        rows["student_logits"][16:32].tobytes()
        == batch(1, dtype="float32")["student_logits"].tobytes()
    )


def test_layers_are_read_once_a_step_and_rank(tmp_path):
    def rows(step, dot):
        names = {"layer": ["a", "b"], "term_a": ["high"] * 2, "term_b": ["low"] * 2}
        return {"step": [step] * 2, "epoch": [0] * 2, **names, "dot": [dot, -dot]}

    root = tmp_path / "run"
    for rank, existing, steps in ((0, "error", (0, 1)), (1, "error", (0,)), (0, "resume", (1, 2))):
        with PartWriter(root, rank, RunInfo(6), existing=existing) as writer:
            for step in steps:
                dot = 10.0 * step + rank + 100 * (existing == "resume")
                writer.write(rows(step, dot), kind="layers")
    (table,) = layers(StoredRun(root))
    assert table["step"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert table["layer"].tolist() == ["a", "b"] * 4
    found = zip(table["step"], table["rank"], table["dot"], strict=True)
    assert set(found) == {
        *[(0, 0, 0.0), (0, 1, 1.0), (0, 1, -1.0)],
        *[(1, 0, 110.0), (1, 0, -110.0), (2, 0, 120.0), (2, 0, -120.0)],
    }


def test_layers_bring_their_noise_where_every_part_has_it(tmp_path):
    row = {"step": [0], "epoch": [0], "layer": ["fc"], "term_a": ["ce"], "term_b": ["kd"]}
    row |= {"dot": [0.5]}
    with PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer:
        writer.write(row | {"covariance": [np.nan], "count": [64]}, kind="layers")
        writer.write(row | {"step": [1], "covariance": [0.25], "count": [32]}, kind="layers")
    run = StoredRun(tmp_path / "run")
    assert run.columns_of("layers") == (*row, "covariance", "count", "rank")
    (table,) = layers(run)
    np.testing.assert_array_equal(table["covariance"], [np.nan, 0.25])
    assert table["count"].tolist() == [64, 32]

    with PartWriter(tmp_path / "run", 0, RunInfo(6), existing="resume") as writer:
        writer.write(row | {"step": [2]}, kind="layers")
    run = StoredRun(tmp_path / "run")
    assert run.columns_of("layers") == (*row, "rank")
    assert [table["step"].tolist() for table in layers(run)] == [[0, 1, 2]]


def test_a_run_without_layers_has_no_columns_of_them(tmp_path):
    PartWriter(tmp_path / "run", 0, RunInfo(6)).close()
    assert StoredRun(tmp_path / "run").columns_of("layers") == ()
    assert list(layers(StoredRun(tmp_path / "run"))) == []


def test_run_json_comes_back_equal(tmp_path):
    info = RunInfo(
        2, ["a", "b"], "GDKD(k=5)", ("high", "low"), {"high": 1.0}, 4.0, {"lr": [0.1]}, seed=3
    )
    write_info(tmp_path, info)
    assert read_info(tmp_path) == info


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), object()])
def test_settings_that_are_no_json_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="plain JSON values without NaN or inf"):
        write_info(tmp_path, RunInfo(2, settings={"x": bad}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "run.json of a run"),
        ("[]", "no schema_version"),
        ('{"schema_version": 99, "num_classes": 3}', "needs a newer kdanalysis"),
        ('{"schema_version": 1}', "no num_classes"),
        ('{"schema_version": 1, "num_classes": 3, "temperature": NaN}', "NaN is no JSON"),
    ],
)
def test_a_damaged_run_json_is_named(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        StoredRun(tmp_path)


def test_a_folder_without_run_json_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a run folder: it has no run\.json"):
        StoredRun(tmp_path)
