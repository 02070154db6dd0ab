"""Run several commands in the ranks of one ``torchrun``, whose start costs more than they do.

    torchrun --nproc-per-node 3 commands_in_ranks.py COMMANDS.json

COMMANDS.json is a list of lists of arguments, in which ``{rank}`` stands for the rank. Beside it,
``codes-RANK.json`` gets the exit codes, and ``tables-NUMBER`` the tables of what a command united.
The first argument may say what befalls: ``raise``, an error of ours in rank 1 when it is about to
read; ``kill``, its death there; ``full``, a disk without space for the page.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torch import distributed

from kdanalysis.cli.main import app
from kdanalysis.core.ranks import Ranks
from kdanalysis.pages.study import Study
from kdanalysis.studies import compute

MEET, FEED = distributed.init_process_group, compute.feed
WRITE, UNITE = Study.write, Ranks.unite


def unite_into(folder: Path) -> Callable[..., None]:
    """Return what unites, and leaves the tables with every bit in a folder of rank 0."""

    def unite(ranks: Ranks, analyzers: list, num_rows: int) -> None:
        UNITE(ranks, analyzers, num_rows)
        for one in [x for x in analyzers if hasattr(x, "table")] if ranks.first else []:
            folder.mkdir(exist_ok=True)
            place = len(list(folder.iterdir()))
            one.table().to_pickle(folder / f"{place:02}-{type(one).__name__}.pickle")

    return unite


def feed_or(what: str) -> Callable[..., None]:
    """Return what feeds analyzers, but for rank 1, which fails when it is about to read."""

    def feed(*args: object) -> None:
        if os.environ["RANK"] == "1" and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ["RANK"] == "1" and what == "raise":
            raise RuntimeError("boom")
        FEED(*args)

    return feed


def write_nothing(_: Study, folder: Path, figures: object = ()) -> None:
    """Be a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def run(command: list[str]) -> int:
    """Return the exit code of a command."""
    what = command.pop(0) if command[0] in ("raise", "kill", "full") else ""
    compute.feed = feed_or(what)
    Study.write = write_nothing if what == "full" else WRITE
    try:
        app([argument.replace("{rank}", os.environ["RANK"]) for argument in command])
    except SystemExit as end:
        return end.code


def in_turn(commands: list[list[str]]) -> Iterator[list[str]]:
    """Give one command after the other, each meeting in a place of its own.

    Addresses stay in the agent's store: the next command would find those of the one before.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = distributed.TCPStore(host, port, is_master=False)
    for number, command in enumerate(commands):
        store = distributed.PrefixStore(f"command-{number}", agent)
        distributed.init_process_group = partial(MEET, store=store, rank=rank, world_size=world)
        yield command


def main(commands: Path) -> None:
    """Run the commands; keep their exit codes and tables."""
    codes = []
    for command in in_turn(json.loads(commands.read_text())):
        Ranks.unite = unite_into(commands.parent / f"tables-{len(codes)}")
        codes.append(run(command))
    (commands.parent / f"codes-{os.environ['RANK']}.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
