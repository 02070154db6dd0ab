"""`verify` names what is damaged, by exit code too."""


def test_a_whole_run_is_whole(run_command, run_folder):
    result = run_command("verify", run_folder)
    assert (result.exit_code, result.stdout) == (0, f"{run_folder} is whole\n")


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
