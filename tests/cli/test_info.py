"""`info` says what the run holds."""

import pytest
import torch

import kdanalysis as kd
from kdanalysis.pages.run import report
from kdanalysis.studies.facts import repeated_fact


def test_the_facts_of_a_run_are_printed(run_command, run_folder):
    result = run_command("info", run_folder)
    facts = dict(line.strip().split("  ", 1) for line in result.stdout.splitlines()[1:])
    facts = {label: value.strip() for label, value in facts.items()}
    assert result.exit_code == 0
    assert facts["loss"] == "GDKD(k=2)"
    assert facts["classes"] == "6 (a, b, c, d, ...)"
    assert facts["samples"] == "16"
    assert facts["captured steps"] == "2 (0 to 5)"
    assert facts["setting student"] == "resnet8"
    assert "skipped parts" not in facts


def test_skipped_parts_are_stated(run_command, run_folder):
    part = sorted(run_folder.rglob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-40])
    result = run_command("info", run_folder)
    assert "skipped parts" in result.stdout
    assert part.name in result.stdout


def test_a_folder_that_is_no_run_is_one_sentence(run_command, tmp_path):
    result = run_command("info", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == (
        f"kdanalysis: error: {tmp_path} is not a run folder: it has no run.json\n"
    )


@pytest.mark.parametrize("is_set", [True, False], ids=["epoch set", "epoch never set"])
@pytest.mark.parametrize(
    ("epochs", "numbered", "told"), [(4, True, True), (1, True, False), (4, False, False)]
)
def test_samples_of_several_epochs_are_said_to_be_the_same(
    tmp_path, epochs, numbered, told, is_set
):
    """And by how much intervals that take them as independent may be too narrow, root 4."""
    with kd.Recorder(tmp_path / "run", kd.KD(), schedule=kd.every(1)) as recorder:
        for epoch in range(epochs):
            recorder.epoch = epoch * is_set
            for batch in range(3):
                student, teacher = torch.randn(2, 5, 4).unbind()
                more = {"sample_id": torch.arange(5) + 5 * batch} if numbered else {}
                target = (torch.arange(5) + batch) % 4
                recorder.loss(
                    target, student=student.requires_grad_(), teacher=teacher, **more
                ).backward()
    words = repeated_fact(kd.open_run(tmp_path / "run"))
    assert (words is not None) == told
    if told:
        assert words.startswith("15 different ones, a row's on average 4 times")
        assert "up to 2 times too narrow" in words


@pytest.mark.parametrize("given", [{}, {"losses": "kd,dkd"}], ids=["students", "losses"])
def test_pages_of_several_runs_say_which_hold_samples_again(tmp_path, given):
    for name, epochs in {"one": 2, "same": 2, "once": 1}.items():
        with kd.Recorder(tmp_path / name, kd.KD(), schedule=kd.every(1)) as recorder:
            for epoch in range(epochs):
                recorder.epoch = epoch
                for batch in range(3):
                    student, teacher = torch.randn(2, 5, 4).unbind()
                    more = {"student": student.requires_grad_(), "teacher": teacher}
                    index = torch.arange(5) + 5 * batch
                    recorder.loss(index % 4, sample_id=index, **more).backward()
    runs = {name: tmp_path / name for name in ("one", "same", "once")}
    opened = {name: kd.open_run(path) for name, path in runs.items()}
    for facts in (kd.compare(runs, **given).facts, report(opened).facts):
        assert facts["repeated samples"].startswith("one, same: 15 different ones, a row's on ")
        assert "once" not in facts["repeated samples"]
