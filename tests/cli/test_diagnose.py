"""`diagnose` prints the card, fills a folder, and refuses bad files in one sentence."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.losses import parse_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 6)).astype(np.float32)
TARGET = RNG.integers(0, 6, 40)


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "teacher.npz", logits=LOGITS, labels=TARGET)
    return tmp_path / "teacher.npz"


def card_of(stdout: str) -> dict[str, list[str]]:
    rows = (line.split() for line in stdout.splitlines()[3:])
    return {row[0]: row[1:] for row in rows if row}


def test_the_card_is_printed_by_temperature(run_command, file):
    result = run_command("diagnose", file, "--temperatures", "1,4")
    assert result.exit_code == 0, result.stderr
    assert "40 samples, 6 classes" in result.stdout
    card = card_of(result.stdout)
    p = torch.tensor(LOGITS).double().softmax(-1)
    assert float(card["confidence_mean"][0]) == pytest.approx(p.amax(-1).mean().item(), rel=1e-3)
    assert len(card["entropy_mean"]) == 2
    accuracy = (LOGITS.argmax(1) == TARGET).mean()
    assert float(card["accuracy"][0]) == pytest.approx(accuracy, rel=1e-3)


def test_the_folder_has_the_card_in_full(run_command, file, tmp_path, drawn):
    result = run_command("diagnose", file, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "out" / "tables" / "teacher.csv")
    assert table.columns.tolist() == ["quantity", "temperature", "value"]
    needed = {"accuracy", "confidence_mean", "entropy_mean", "ece_15", "nll", "p_other_mean"}
    assert needed | {"suppression", "confident_wrong"} <= set(table.quantity)
    assert not (tmp_path / "out" / "figures").exists()
    assert "Teacher card" in (tmp_path / "out" / "report.html").read_text()
    assert run_command("diagnose", file, "--out", tmp_path / "out").exit_code == 2
    figures = ("--figures", "png,pdf")
    again = run_command("diagnose", file, "--out", tmp_path / "out", "--overwrite", *figures)
    assert again.exit_code == 0
    assert f"wrote {tmp_path / 'out'}: report.html, tables, figures" in again.stdout
    assert (tmp_path / "out" / "figures" / "mass.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "figures" / "mass.pdf").read_bytes().startswith(b"%PDF")


def test_candidates_are_printed_with_losses_to_paste(run_command, file, tmp_path):
    printed = run_command("diagnose", file, "--out", tmp_path / "out").stdout
    assert "Candidates to try. Against KD, all at one T" in printed
    table = pd.read_csv(tmp_path / "out" / "tables" / "candidates.csv")
    assert table.candidate.tolist() == ["KD", "DKD's default", "GDKD's default", "the rule's"]
    options = re.findall(r"^--loss (\S+)$", printed, re.MULTILINE)
    assert options == table.loss.tolist()
    assert {parse_loss(option).temperature for option in options} == {4.0}


def test_a_file_without_finite_samples_gets_no_candidates(run_command, tmp_path):
    np.save(tmp_path / "nan.npy", np.full((5, 4), np.nan, dtype=np.float32))
    result = run_command("diagnose", tmp_path / "nan.npy", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "No sample is finite, so there is nothing to try." in result.stdout
    assert "--loss" not in result.stdout
    assert (tmp_path / "out" / "tables" / "candidates.csv").read_text().startswith("candidate,loss")


def test_labels_are_not_needed(run_command, tmp_path):
    np.save(tmp_path / "bare.npy", LOGITS)
    card = card_of(run_command("diagnose", tmp_path / "bare.npy").stdout)
    assert "accuracy" not in card
    assert "entropy_mean" in card


def test_samples_with_nan_are_counted_and_left_out(run_command, tmp_path):
    broken = LOGITS.copy()
    broken[3, 1], broken[7, 0] = np.nan, np.inf
    np.save(tmp_path / "broken.npy", broken)
    card = card_of(run_command("diagnose", tmp_path / "broken.npy").stdout)
    assert (card["n"], card["non_finite"]) == (["38"], ["2"])


def write(path, kind: str):
    """Write a file that cannot be diagnosed."""
    match kind:
        case "no npz":
            path.write_bytes(b"not a zip archive")
        case "missing key":
            np.savez(path, a=LOGITS, b=TARGET)
        case "one class":
            np.savez(path, logits=LOGITS[:, :1])
        case "empty":
            np.savez(path, logits=LOGITS[:0])
        case "pickle":
            np.savez(path, logits=np.array([{}], dtype=object))
        case "target outside":
            np.savez(path, logits=LOGITS, labels=TARGET + 3)
        case "target too short":
            np.savez(path, logits=LOGITS, labels=TARGET[:-1])
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "does not exist"),
        ("no npz", "bad.npz"),
        ("missing key", "has no teacher logits: it has a, b"),
        ("one class", "need at least 2"),
        ("empty", "need (samples, classes) with samples"),
        ("pickle", "bad.npz"),
        ("target outside", "need 0 to 5"),
        ("target too short", "to fit the teacher logits"),
    ],
)
def test_a_bad_file_is_one_sentence_and_leaves_nothing(run_command, tmp_path, kind, words):
    bad = write(tmp_path / "bad.npz", kind)
    result = run_command("diagnose", bad, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stdout == ""
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("kdanalysis: error: ")
    assert words in sentence
    assert [path.name for path in tmp_path.iterdir()] in ([], ["bad.npz"])


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--temperatures", "1;4", "cannot be read: need numbers above 0 between commas"),
        ("--temperatures", "0,1", "temperature must lie between 0.001 and 10000, got 0"),
        ("--temperatures", "1e9", "temperature must lie between 0.001 and 10000, got 1e+09"),
        ("--temperatures", "2,2", "temperatures must differ"),
        ("--device", "gpu", "unknown device 'gpu'"),
        ("--figures", "gif", "figures cannot be written as 'gif': need svg, png, pdf"),
        ("--figures", "svg", "--figures svg has no folder to write them to: give --out too"),
        ("--seed", "x", "--seed"),
    ],
)
def test_a_bad_option_is_one_sentence(run_command, file, option, value, words):
    result = run_command("diagnose", file, option, value)
    assert result.exit_code == 2
    (sentence,) = result.stderr.splitlines()
    assert words in sentence


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("a.npy/card", "a.npy/card cannot be made in {0}/a.npy: it is a file"),
        ("held", "held exists already: give another folder, or --overwrite to replace it"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_named(run_command, file, tmp_path, out, words):
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "report.html").touch()
    np.save(tmp_path / "a.npy", LOGITS)
    result = run_command("diagnose", file, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert words.format(tmp_path) in result.stderr
    assert "=True" not in result.stderr


def test_a_folder_that_is_no_run_is_refused(run_command, tmp_path):
    result = run_command("diagnose", tmp_path)
    assert result.exit_code == 2
    assert "is not a run folder" in result.stderr
