"""`verify` names what is damaged, by exit code too."""

import torch

import kdanalysis as kd


def test_a_whole_run_is_whole(run_command, run_folder):
    result = run_command("verify", run_folder)
    assert (result.exit_code, result.stdout) == (0, f"{run_folder} is whole\n")


def recording(path, batches, store=None):
    recorder = kd.Recorder(path, kd.KD(), schedule=kd.every(1), store=store or kd.Store())
    for _ in range(batches):
        sides = dict(zip(("student", "teacher"), torch.randn(2, 5, 6), strict=True))
        recorder.observe(torch.zeros(5, dtype=torch.long), **sides)
    recorder.end_step()
    return recorder


def test_a_run_that_was_not_closed_says_so_until_it_is(run_command, tmp_path):
    path = tmp_path / "run"
    recorder = recording(path, 2)
    told = "still recording, or ended without close(): rows since its last part, up to 8,192"
    assert f"but what wrote this run is {told}" in run_command("verify", path).stdout
    recorder.flush()
    assert f"{path} is whole\nbut rank 0 is {told}" in run_command("verify", path).stdout
    told = "rank 0 is still recording"
    assert told in run_command("info", path).stdout
    recorder.close()
    assert run_command("verify", path).stdout == f"{path} is whole\n"
    assert "not closed" not in run_command("info", path).stdout


def test_who_went_on_with_a_run_and_closed_it_closed_it(run_command, tmp_path):
    path = tmp_path / "run"
    recording(path, 1).close()
    (record,) = path.glob("samples/rank-0/*/record.jsonl")
    (record.parent / "ended").unlink()
    record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:-1]))
    assert "but rank 0 is still recording" in run_command("verify", path).stdout
    recording(path, 1, kd.Store(existing="resume")).close()
    assert run_command("verify", path).stdout == f"{path} is whole\n"


def test_a_flipped_bit_is_named(run_command, run_folder):
    part = sorted(run_folder.rglob("*.parquet"))[1]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    result = run_command("verify", run_folder)
    assert result.exit_code == 1
    assert result.stdout.startswith(part.relative_to(run_folder).as_posix() + ": ")
    assert "1 problem found" in result.stderr


def test_a_missing_folder_is_bad_input_and_not_a_finding(run_command, tmp_path):
    result = run_command("verify", tmp_path / "none")
    assert result.exit_code == 2
    assert "is not a run folder" in result.stderr
