"""`info` says what the run holds."""


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
