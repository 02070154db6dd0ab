"""The scripts that start a training in several processes start them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))
STUBS = {  # of a cluster of this machine alone
    "srun": 'exec "$@"',
    "scontrol": '[ "$*" = "show hostnames here" ] && echo localhost',
}
SLURM = {"JOB_NODELIST": "here", "JOB_ID": "7", "NNODES": "1", "GPUS_ON_NODE": "2"}
TRAIN = (
    *("--data", "digits", "--image-size", "8", "--limit", "64", "--batch-size", "15"),
    *("--teacher", "resnet8", "--student", "resnet8", "--loss", "kd"),
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_the_script(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("name", ["train_one_node.sh", "train_slurm.sh"])
def test_two_processes_meet_and_get_the_arguments(tmp_path, name):
    """They say it themselves: 15 images are no batch for two."""
    for command, line in STUBS.items():
        (tmp_path / command).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / command).chmod(0o755)
    there = {f"SLURM_{key}": value for key, value in SLURM.items()} if "slurm" in name else {}
    done = subprocess.run(
        ["bash", ROOT / "scripts" / name, *TRAIN, "--out", "a folder"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, **there}
        | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PROCESSES": "2"},
    )
    assert done.returncode != 0
    assert done.stderr.count("a batch size of 15 cannot be shared by 2 processes") == 1
