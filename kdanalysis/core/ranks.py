"""Ranks: the processes of one command under ``torchrun``, each with a share of the rows.

A command that may run beyond one machine joins. What it calls asks for the ``share`` of this rank
and has the sums of all ranks united; in one process the share is everything, and nothing is left
to unite. No Python call joins, so that a process group of the user's own is never touched.

Nobody waits for a rank that has given up: before every sum the ranks agree that all of them got
that far, and a rank with an error brings its error to the next agreement, which ends them all. In
training they meet in the collectives of DDP instead, where nothing can be said: there the first
rank with an error says it itself and ends, and its end is that of the others.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

Problem = tuple[str, int]  # a sentence and an exit code
GONE = "another rank ended without a word: see what it printed"


class Ended(Exception):
    """The ranks end because of a problem of one of them; ``args`` are the Problem."""


class Told(NamedTuple):
    """What a rank says in an agreement: its problem, and what must be alike in all ranks."""

    problem: Problem | None
    common: object


class Ranks:
    """Who this process is among the ranks of its command: rank 0 of 1 until it joins."""

    def __init__(self) -> None:
        self.rank, self.world, self._joined, self._connected = 0, 1, False, False
        self._trains, self._voice, self._launched = False, None, False

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    @property
    def speaks(self) -> bool:
        """Whether this is the rank that says what ends all of them."""
        return self.first if self._voice is None else self._voice

    def join(self) -> None:
        """Become one of several ranks where RANK and WORLD_SIZE are in the environment.

        From now on every error has to be told. SIGTERM, which torchrun sends when another rank has
        died, ends the rank that writes like an exception, so that nothing half-written stays.
        """
        if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
            return
        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._joined = self._launched = True
        if self.first:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    def connect(self) -> None:
        """Meet the other ranks: CPU tensors will travel by gloo, CUDA tensors by nccl.

        Without OMP_NUM_THREADS, which torchrun sets to 1, the ranks of a machine share its cores.

        Raises:
            ValueError: the others cannot be reached.
        """
        if not self._joined or self._connected:
            return
        import torch
        from torch import distributed

        if "OMP_NUM_THREADS" not in os.environ:
            neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // neighbours))
        try:
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            )
        except (ValueError, RuntimeError) as error:
            self._joined = False
            who = f"rank {self.rank} of {self.world}"
            self.rank, self.world = 0, 1
            raise ValueError(f"{who} cannot reach the others: {error}") from error
        self._connected = True

    def share(self, num_rows: int) -> range:
        """Return the consecutive rows of this rank; shares differ by one row at most."""
        start, stop = (num_rows * rank // self.world for rank in (self.rank, self.rank + 1))
        return range(start, stop)

    def unite(self, analyzers: Iterable[Any], num_rows: int) -> None:
        """Replace the sums of the analyzers by those of all ranks, in one float64 reduction.

        Args:
            analyzers: the same ones in every rank; one that has seen no row counts as zeros.
            num_rows: rows of all shares together, which every rank must have found alike.

        Raises:
            Ended: some rank has a problem, or the ranks do not see the same data.
            RuntimeError: some rank is gone.
        """
        if not self._joined:
            return
        import torch
        from torch import distributed

        analyzers = list(analyzers)
        states = [state for one in analyzers for state in one.states.values()]
        flat = torch.cat([state.reshape(-1) for state in states])
        self.agree(f"{num_rows} rows and {len(flat)} sums on {flat.device.type}")
        self._collectively(distributed.all_reduce, flat)
        for state, total in zip(states, flat.split([s.numel() for s in states]), strict=True):
            state.copy_(total.view_as(state))

    @contextmanager
    def training(self) -> Iterator[None]:
        """Meet in the collectives of DDP inside; after an error the other ranks end as well.

        Raises:
            RuntimeError: some rank is gone.
        """
        self.agree()
        self._trains = self._connected
        try:
            yield
        except RuntimeError as error:
            if self._trains and _lost_a_rank(error):
                raise RuntimeError(GONE) from error
            raise
        self.agree()
        self._trains = False

    def gather(self, rows: Any, count: int) -> Any:
        """Return all rows, of which rank r has r, r + world, ..., as many as every other rank.

        Args:
            rows: a tensor.
            count: of all rows; what the shares have beyond it are copies.
        """
        if not self._connected:
            return rows
        import torch
        from torch import distributed

        shares = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(shares, rows)
        return torch.stack(shares, 1).flatten(0, 1)[:count]

    def agree(self, common: str = "") -> None:
        """Wait until every rank is here.

        Raises:
            Ended: some rank has a problem, or the ranks differ in ``common``.
            RuntimeError: some rank is gone.
        """
        if problem := first_problem(self._exchange(Told(None, common))):
            raise Ended(*problem)

    def tell(self, problem: Problem) -> Problem:
        """Bring this rank's problem to the others; return the one that ends them all.

        In training it is not brought: the first rank speaks, the others are silent.
        """
        if self._trains:
            self._voice = self._speaks_first()
            self._joined = self._connected = False
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes while this rank is ending
            return problem
        try:
            return first_problem(self._exchange(Told(problem, ""))) or problem
        except (RuntimeError, ValueError):
            return problem

    def part(self) -> None:
        """Let the others go when all are here; this rank is then alone with what is left to do."""
        if not self._connected:
            return
        from torch import distributed

        self._exchange(Told(None, ""))
        distributed.destroy_process_group()
        self.world, self._joined, self._connected = 1, False, False

    def leave(self) -> None:
        """Part when all are done: torchrun ends the others as soon as one fails."""
        with suppress(RuntimeError):
            self.part()
        if self._launched:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left is to exit with our code

    def _speaks_first(self) -> bool:
        from torch.distributed.distributed_c10d import _get_default_store

        try:
            return _get_default_store().add("who speaks", 1) == 1
        except RuntimeError:  # rank 0 kept the store
            return False

    def _exchange(self, told: Told) -> list[Told]:
        self.connect()
        if not self._connected:
            return [told]
        from kdanalysis.core.messages import gather_objects

        return self._collectively(gather_objects, told)

    def _collectively(self, operation: Callable, *args: object) -> Any:
        """Run a collective; where a rank is gone, no further one is tried."""
        try:
            return operation(*args)
        except RuntimeError as error:
            self._joined = self._connected = False
            raise RuntimeError(GONE) from error


def _lost_a_rank(error: RuntimeError) -> bool:
    """Whether a collective failed, as it does when another rank has ended."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def first_problem(told: list[Told]) -> Problem | None:
    """Return the problem of the lowest rank that has one, or in what the ranks differ."""
    if problems := [one.problem for one in told if one.problem is not None]:
        return problems[0]
    for rank, one in enumerate(told):
        if one.common != told[0].common:
            return (
                f"the ranks do not see the same data: rank 0 has {told[0].common}, rank {rank} "
                f"has {one.common}; every machine needs the same file",
                2,
            )
    return None


RANKS = Ranks()
