"""Run several commands in the ranks of one ``torchrun``, whose start costs more than they do.

    torchrun --nproc-per-node 3 commands_in_ranks.py COMMANDS.json

COMMANDS.json is a list of lists of arguments, in which ``{rank}`` stands for the rank. Beside it,
``codes-RANK.json`` gets the exit codes. The first argument may say what befalls rank 1 when it is
about to read: ``raise`` an error of ours, or ``kill``. Pages are written without their figures.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import distributed

from kdanalysis import stream
from kdanalysis.cli.main import app
from kdanalysis.pages import page

MEET, FEED = distributed.init_process_group, stream.feed


def write_tables(written: page.Page, folder: Path) -> None:
    """Write the tables with every bit and the facts; figures would take most of the time."""
    (folder / "tables").mkdir()
    for name, table in written.tables.items():
        table.to_pickle(folder / "tables" / f"{name}.pickle")
    (folder / "facts.json").write_text(json.dumps(written.facts))


def feed_or(what: str) -> Callable[..., None]:
    """Return what feeds analyzers, but for rank 1, which fails when it is about to read."""

    def feed(*args: object) -> None:
        if os.environ["RANK"] == "1" and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ["RANK"] == "1" and what == "raise":
            raise RuntimeError("boom")
        FEED(*args)

    return feed


def run(command: list[str]) -> int:
    """Return the exit code of a command."""
    stream.feed = feed_or(command.pop(0) if command[0] in ("raise", "kill") else "")
    try:
        app([argument.replace("{rank}", os.environ["RANK"]) for argument in command])
    except SystemExit as end:
        return end.code


def main(commands: Path) -> None:
    """Run the commands; each meets under a name of its own, for addresses stay in the store."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = distributed.TCPStore(host, port, is_master=False)
    page.write_folder, codes = write_tables, []
    for number, command in enumerate(json.loads(commands.read_text())):
        store = distributed.PrefixStore(f"command-{number}", agent)
        distributed.init_process_group = partial(MEET, store=store, rank=rank, world_size=world)
        codes.append(run(command))
    (commands.parent / f"codes-{rank}.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
