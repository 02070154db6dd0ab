"""Every kind of page, its tables and its pictures are what they were, to the byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.long  # minutes; and the hashes are those of one kind of processor
def test_pages_tables_and_pictures_are_what_they_were(tmp_path):
    kept = json.loads((HERE / "goldens.json").read_text())
    call = [sys.executable, HERE / "goldens.py", tmp_path]  # last bits depend on where arrays lie
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [name for name in {*kept, *found} if kept.get(name) != found.get(name)] == []
