"""Whole commands where nothing is given: no network, no home, no place to write but ``--out``."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    ["diagnose", "logits.npz", "--out", "OUT/card"],
    ["sweep", "logits.npz", "--ks", "1,2", "--out", "OUT/sweep"],
    ["compare", "logits.npz", "--losses", "kd,dkd", "--out", "OUT/losses"],
    ["table", "run", "magnitude", "--out", "OUT/magnitude.csv"],
    ["report", "run", "--out", "OUT/report.html"],
]

# refuses sockets, and all that is opened for writing outside of two folders
REFUSE = """
import os, sys
from pathlib import Path
assert not __debug__
allowed = tuple(str(Path(p).resolve()) for p in sys.argv[1:3])

def refuse(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"asked the network: {event} {arguments[1:]}")
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        flags = arguments[2] or 0
        place = os.path.realpath(os.fsdecode(arguments[0]))
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and place != os.devnull:
            if not place.startswith(allowed):
                raise PermissionError(f"wrote to {place}")

sys.addaudithook(refuse)
"""
RUN = """
from kdanalysis.cli.main import main
sys.argv = ["kdanalysis", *sys.argv[3:]]
try:
    main()
finally:  # a loop of numba's is compiled where nothing can be cached
    import torch
    from kdanalysis.core.peaks import largest
    print("largest", *largest(torch.tensor([[1.0, 3.0, 2.0]]), 2)[0].tolist())
"""
TRY = """
import socket
write = lambda: open("/var/tmp/kdanalysis-probe", "w")
for attempt in (write, lambda: socket.create_connection(("127.0.0.1", 9))):
    try:
        attempt()
    except PermissionError as error:
        print(str(error).split()[0])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of logits and a run of them."""
    import torch

    import kdanalysis as kd

    folder = tmp_path_factory.mktemp("anywhere")
    sides = {name: torch.randn(24, 5) for name in ("student", "teacher")}
    with kd.Recorder(folder / "run", kd.GDKD(k=2), schedule=kd.every(1)) as recorder:
        recorder.observe(torch.arange(24) % 5, **sides)
    columns = {f"{name}_logits": side.numpy() for name, side in sides.items()}
    np.savez(folder / "logits.npz", **columns, target=np.arange(24) % 5)
    return folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


def alone(folder, scratch, out, code, *arguments):
    """Run code in a bare environment, optimised, with everything but two folders refused."""
    out.mkdir(exist_ok=True)
    bare = {"PATH": os.environ["PATH"], "LANG": "C", "PYTHONPATH": str(ROOT)}
    bare |= {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    bare |= {"PYTHONPYCACHEPREFIX": str(scratch)}  # what is optimised is compiled anew, and once
    return subprocess.run(
        [sys.executable, "-O", "-c", REFUSE + code, str(out), str(scratch), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=bare,
        cwd=folder,
        check=False,
    )


LONG = [pytest.param(one, marks=pytest.mark.long) for one in COMMANDS[1:]]


@pytest.mark.parametrize("command", [COMMANDS[0], *LONG], ids=lambda command: command[0])
def test_a_command_needs_no_network_no_home_and_no_place_but_its_own(
    folder, scratch, tmp_path, command
):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    given = [word.replace("OUT", str(tmp_path / "out")) for word in command]
    done = alone(folder, scratch, tmp_path / "out", RUN, *given)
    assert done.returncode == 0, done.stderr
    assert "wrote" in done.stdout
    assert done.stdout.endswith("largest 1 2\n")
    assert any((tmp_path / "out").iterdir())
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_control_what_is_refused_is_seen(folder, scratch, tmp_path):
    assert alone(folder, scratch, tmp_path / "out", TRY).stdout.split() == ["wrote", "asked"]
