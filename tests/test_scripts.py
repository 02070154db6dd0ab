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
PROGRAM = """
import os, sys
names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
line = f"{os.environ['RANK']} {[os.environ[name] for name in names]} {sys.argv[1:]}\\n"
os.write(1, line.encode())  # at once: the processes share the place
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_the_script(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("name", ["train_one_node.sh", "train_slurm.sh"])
def test_two_processes_get_one_place_to_meet_and_the_arguments(tmp_path, name):
    for command, line in STUBS.items():
        (tmp_path / command).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / command).chmod(0o755)
    (tmp_path / "kdanalysis").mkdir()
    (tmp_path / "kdanalysis" / "__main__.py").write_text(PROGRAM)
    there = {f"SLURM_{key}": value for key, value in SLURM.items()} if "slurm" in name else {}
    done = subprocess.run(
        ["bash", ROOT / "scripts" / name, "--loss", "kd", "--out", "a folder"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, **there}
        | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "PROCESSES": "2"},
    )
    assert done.returncode == 0, done.stderr
    (first, one), (second, other) = sorted(x.split(" ", 1) for x in done.stdout.splitlines())
    assert (first, second) == ("0", "1")
    assert one == other
    assert one.startswith("['2', '2', '")
    assert one.endswith("['train', '--loss', 'kd', '--out', 'a folder']")
