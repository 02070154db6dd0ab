"""What does not fit is said or refused beforehand, with the way out."""

from pathlib import Path

import pytest
import torch
from toy import Training, batches

import kdanalysis as kd
from kdanalysis.core import limits
from kdanalysis.data import load_data
from kdanalysis.store.export import export
from kdanalysis.training import Experiment, refuse_full_disk
from kdanalysis.training.settings import Settings


@pytest.mark.parametrize(
    ("size", "text"), [(1500, "2 kB"), (3.4e6, "3.4 MB"), (5.6e12, "5,600.0 GB")]
)
def test_bytes_are_written_in_a_unit_that_fits(size, text):
    assert limits.written(size) == text


def test_a_path_that_is_not_there_yet_lies_on_the_disk_of_its_parent(tmp_path):
    free = limits.free_bytes(tmp_path / "a" / "b")
    assert free > 0
    assert abs(free - limits.free_bytes(tmp_path)) < 1e9


def record(path, **store):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": kd.every(1), "store": kd.Store(**store)}
    with kd.Recorder(path, kd.KD(), **sides, **options) as recorder:
        for x, y, index in batches(3):
            training.forward(x)
            training.update(recorder.loss(y, sample_id=index))


def test_a_nearly_full_disk_is_warned_of_once_with_bytes_and_the_way_out(tmp_path, monkeypatch):
    # 10 rows of 2 x 6 numbers of 4 bytes; step, id and target 8 each, epoch and residual 4
    size = 10 * (2 * 6 * 4 + 3 * 8 + 2 * 4)
    monkeypatch.setattr("kdanalysis.capture.outlet.free_bytes", lambda path: 37 * size + 1)
    words = 'room for about 37 captured batches .* takes 1 kB, .*max_rows=., or store=kd.Store."fl'
    with pytest.warns(RuntimeWarning, match=words) as caught:
        record(tmp_path / "run", dtype="float32")
    assert len(caught) == 1
    assert kd.open_run(tmp_path / "run").num_rows == 30


def test_control_a_disk_with_room_is_not_spoken_of(tmp_path, monkeypatch):
    size = 10 * (2 * 6 * 2 + 3 * 8 + 2 * 4)
    monkeypatch.setattr("kdanalysis.capture.outlet.free_bytes", lambda path: 1000 * size)
    record(tmp_path / "run")


def test_a_training_whose_logits_have_no_room_is_refused_beforehand(tmp_path, monkeypatch):
    data = load_data("digits", limit=64)
    settings = Settings(epochs=3, batch_size=16, record_every=2, record_rows=4)
    experiment = Experiment(data, "resnet8", "resnet8", ("kd", "dkd"), settings)
    steps = 3 * -(-len(data.train) // 16)
    size = 2 * 4 * -(-steps // 2) * 4 * 10  # losses, bytes of two sides, steps, rows, classes
    monkeypatch.setattr(limits, "free_bytes", lambda path: size)
    refuse_full_disk(experiment, tmp_path / "out")
    monkeypatch.setattr(limits, "free_bytes", lambda path: size - 1)
    with pytest.raises(ValueError, match=r"would write about .* are free: .* --record-every"):
        refuse_full_disk(experiment, tmp_path / "out")
    assert list(Path(tmp_path).iterdir()) == []


def said(caplog):
    return [one.getMessage() for one in caplog.records if one.name == "kdanalysis"]


def test_what_a_capture_writes_is_said_once_beside_what_is_free(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "kdanalysis")
    size = 10 * (2 * 6 * 2 + 3 * 8 + 2 * 4)
    monkeypatch.setattr("kdanalysis.capture.outlet.free_bytes", lambda path: 1e9)
    record(tmp_path / "few")
    assert said(caplog) == []
    monkeypatch.setattr("kdanalysis.capture.outlet.MUCH", 1000 * size)
    record(tmp_path / "run")
    assert said(caplog) == [f"a captured batch takes 1 kB in {tmp_path / 'run'}, 1.0 GB are free"]


def test_what_is_much_is_said_beforehand_and_what_is_little_not(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "kdanalysis")
    monkeypatch.setattr(limits, "free_bytes", lambda path: 3e9)
    for size in (99_999_999, 100_000_000):
        limits.announce_disk(tmp_path, size, "the capture", "no way")
        limits.announce_memory(size, "the table", "no way")
    written = f"about 100.0 MB to {tmp_path.name}, where 3.0 GB are free"
    memory = "the table will take about 100.0 MB of memory"
    assert said(caplog) == [f"the capture will write {written}", memory]


def exporting(fmt):
    def write(folder):
        record(folder / "run")
        out = folder / f"out.{ {'list': 'parquet'}.get(fmt, fmt) }"
        return lambda: export(folder / "run", out, fmt)

    return write


def sparsifying(folder):
    return lambda: kd.sparsify(rows(30, 50), folder / "out.parquet", 5)


WRITTEN = {  # 30 rows; bytes
    "export": (exporting("npz"), 30 * (2 * 6 * 2 + 3 * 8 + 2 * 4)),
    "export as lists": (exporting("list"), 30 * (2 * 6 * 4 + 3 * 8 + 2 * 4)),
    "sparsify": (sparsifying, 30 * (5 * (4 + 8) + 2 * 8)),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_a_file_says_what_it_takes_and_is_not_begun_where_there_is_no_room(
    what, tmp_path, monkeypatch, caplog
):
    (make, size), free = WRITTEN[what], limits.free_bytes
    write = make(tmp_path)
    monkeypatch.setattr(limits, "free_bytes", lambda path: size - 1)
    with pytest.raises(ValueError, match=r"30 rows would write about .* to out\..*: (give|take) a"):
        write()
    assert [one.stem for one in tmp_path.iterdir() if one.name != "run"] == []
    monkeypatch.setattr(limits, "free_bytes", free)
    monkeypatch.setattr(limits, "MUCH", size)
    caplog.set_level("INFO", "kdanalysis")
    out = write()
    assert f"30 rows will write about {limits.written(size)} to {out.name}" in said(caplog)[-1]
    assert size <= out.stat().st_size < 3 * size + 6000


def rows(count, classes=4):
    logits = torch.randn(2, count, classes, generator=torch.Generator().manual_seed(0))
    return {"teacher_logits": logits[0], "student_logits": logits[1]}


STUDIES = {
    "diagnose": (kd.diagnose, 4096),
    "sweep": (kd.sweep_study, 16_384),
    "truncation": (lambda given: kd.truncation_study(given, (1,)), 16_384),
    "compare": (lambda given: kd.compare({"arrays": given}, losses="kd,dkd:partition=top1"), 4096),
    "table": (lambda given: kd.open(given).table("mass"), 4096),
}


@pytest.mark.parametrize("study", STUDIES)
def test_rows_and_memory_of_a_big_source_are_said_before_it_is_read(study, monkeypatch, caplog):
    read, size = STUDIES[study]
    caplog.set_level("INFO", "kdanalysis")
    read(rows(40))
    assert said(caplog) == []
    monkeypatch.setattr("kdanalysis.studies.compute.MANY", 41 * 4)
    read(rows(41))
    first = f"arrays: 41 rows of 4 classes, read {size:,} at a time, will take about "
    assert all(one.startswith(first) for one in said(caplog))
    assert said(caplog)


def test_of_a_run_of_kept_classes_those_are_counted(tmp_path, monkeypatch, caplog):
    student, teacher = torch.randn(2, 30, 400)
    with kd.Recorder(tmp_path / "run", kd.KD(1.0), keep=kd.TopK(4), schedule=kd.every(1)) as top:
        top.observe(torch.zeros(30, dtype=torch.long), student=student, teacher=teacher)
    caplog.set_level("INFO", "kdanalysis")
    monkeypatch.setattr("kdanalysis.studies.compute.MANY", 30 * 5)
    kd.open(tmp_path / "run").table("agreement")
    assert any("run: 30 rows of 5 kept classes" in one for one in said(caplog))


def test_a_batch_that_exceeds_the_memory_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 16 * 41 * 4)
    with pytest.raises(ValueError, match=r"41 rows .* this machine has 3 kB: cut the classes with"):
        kd.open(rows(41)).table("agreement")


@pytest.mark.parametrize("name", ["profile", "modality", "discrepancy"])
def test_a_table_of_pairs_says_what_it_takes_and_takes_no_less(name, monkeypatch, caplog):
    caplog.set_level("INFO", "kdanalysis")
    monkeypatch.setattr(limits, "MUCH", 0)
    given = rows(400, 60) | {"target": torch.arange(400) % 60}
    table = kd.open(given).table(name)
    pairs = {"profile": 260, "discrepancy": 260, "modality": 60}[name] * 60**2
    (line,) = [one for one in said(caplog) if name in one]
    assert line == (
        f"table {name!r} of arrays with 60 \u00d7 60 pairs of classes will take about "
        f"{limits.written(pairs)} of memory"
    )
    assert table.memory_usage(index=False).sum() < pairs


def test_numbers_that_exceed_the_memory_are_refused_before_they_are_allocated(monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 1e6)
    with pytest.raises(ValueError, match=r"spread at 999 k and 4 .* of memory, .*: name fewer ks"):
        kd.analyzers["spread"](1000)
    kd.analyzers["spread"](1000, (1,), (1,))
    student, teacher = torch.randn(2, 100, 100)
    with pytest.raises(ValueError, match=r"100 samples at 99 k would take .*: give a batch"):
        kd.sweep_samples(student, teacher)
    assert len(kd.sweep_samples(student, teacher, ks=(1, 2))) > 10
