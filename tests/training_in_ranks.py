"""Run ``kdanalysis train`` in the ranks of a ``torchrun``, with networks of no batch statistics.

    torchrun --nproc-per-node 2 training_in_ranks.py WHAT --data digits ... --out OUT
    torchrun --nproc-per-node 2 training_in_ranks.py COMMANDS.json

Beside OUT, ``RANK.pt`` gets the last network's weights in a rank, those of its connectors as well.
COMMANDS.json, a list of lists of arguments, saves the starts of further torchruns: beside it,
``codes-RANK.json`` gets the exit codes, of all in their order. The first argument
may be WHAT befalls, or ``page``: then a page, without its pictures, is written.

WHAT befalls after the student's first epoch: ``raise``, bad input in rank 1; ``full``, a disk
without space for rank 0's checkpoint; ``kill``, the death of rank 1; ``nothing``.
"""

import errno
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import torch
from commands_in_ranks import in_turn
from torch import distributed, nn

from kdanalysis.cli import experiment
from kdanalysis.cli.main import app
from kdanalysis.networks.zoo.build import BUILDERS
from kdanalysis.networks.zoo.network import Network
from kdanalysis.pages.study import Study
from kdanalysis.training import fit

TRAIN_EPOCH, SAVE, RUN = fit.Fit._train_epoch, fit.save_checkpoint, fit.Fit.run
WRITE_PAGE = experiment.write_page


class Plain(Network):
    """Two convolutions and a head, so that a batch is no more than its images."""

    block_names = ("block1",)

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU())
        self.block1 = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.fc = nn.Linear(16, num_classes)

    @property
    def head(self):
        return self.fc

    def stem(self, images):
        return self.first(images)


def train_epoch_or(what: str, trained: fit.Fit, *arguments: object) -> None:
    """Train an epoch; in rank 1 something may befall the second one of a student."""
    TRAIN_EPOCH(trained, *arguments)
    if os.environ["RANK"] == "1" and trained.epoch == 1 and trained.path.name == "kd.pt":
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise ValueError("image 7 is damaged")


def save_or(what: str, path: Path, *arguments: object, **state: object) -> None:
    """Write a checkpoint; a student's may find a full disk."""
    if what == "full" and path.name == "kd.pt":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    SAVE(path, *arguments, **state)


def run_and_keep(folder: Path, trained: fit.Fit, *arguments: object) -> None:
    """Train, and keep what this rank has."""
    RUN(trained, *arguments)
    torch.save(trained._whole.state_dict(), folder / f"{os.environ['RANK']}.pt")


def main(what: str, arguments: list[str]) -> None:
    BUILDERS["resnet8"] = Plain
    fit.Fit._train_epoch = lambda *given: train_epoch_or(what, *given)
    beside = Path(arguments[arguments.index("--out") + 1]).parent
    fit.Fit.run = lambda *given: run_and_keep(beside, *given)
    fit.save_checkpoint = partial(save_or, what)
    experiment.write_page = WRITE_PAGE if what == "page" else lambda *_: None
    Study.html = lambda study: study.title
    app(["train", *arguments])


def code_of(command: list[str]) -> int:
    """Return the exit code of a training."""
    what = command.pop(0) if command[0] in ("raise", "full", "page") else "nothing"
    try:
        main(what, command)
    except SystemExit as end:
        if distributed.is_initialized():  # what failed left its ranks, in a process that would end
            distributed.destroy_process_group()
        return end.code


if __name__ == "__main__":
    if len(sys.argv) == 2:
        place = Path(sys.argv[1])
        codes = [code_of(command) for command in in_turn(json.loads(place.read_text()))]
        place.with_name(f"codes-{os.environ['RANK']}.json").write_text(json.dumps(codes))
    else:
        main(sys.argv[1], sys.argv[2:])
