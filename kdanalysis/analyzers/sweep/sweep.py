"""The sweep: terms of GDKD and of plain KD for every k and several temperatures at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.streams import check_classes, check_temperatures
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from kdanalysis.core.sweep.order import rank
from kdanalysis.core.sweep.sums import sums_over_samples

COLUMNS = (
    *("mass_top", "value_high", "value_low_top", "value_low_other", "value_kd"),
    *("norm_high", "norm_low_top", "norm_low_other", "norm_kd", "norm_total"),
    *("cosine_total_kd", "cosine_high_kd", "cosine_low_top_kd", "cosine_low_other_kd"),
    *("cosine_high_low_top", "cosine_high_low_other"),
    *("share_high", "share_low_top", "share_low_other"),
    *("kd_share_high", "kd_share_low_top", "kd_share_low_other"),
    *("mass_other", "entropy"),
)
ENTRIES = {"cpu": 32_000}  # rows x classes of a chunk; torch shares larger arrays among threads
MANY = 2**22  # on other devices


class TermSweep(Analyzer):
    """Means over samples of high, low_top, low_other and kd, by temperature and k.

    The columns of ``table``, T^2 included in values and norms:

    - ``mass_top``, ``mass_other``: teacher mass of the top k classes, and of the rest.
    - ``value_*``: terms in nats, unweighted; ``value_kd`` does not depend on k.
    - ``norm_*``: L2 norms of the per-sample gradients in the student logits, unweighted but for
      ``norm_total``, that of the weighted sum of high, low_top and low_other.
    - ``cosine_*``: between the gradients of two terms. low_top and low_other share no class, their
      cosine is 0.
    - ``share_*``: norm of a term's weighted gradient over the sum of the three weighted norms;
      ``kd_share_*``: the same inside plain KD, where the weights are 1, P_top and P_other. The
      share of low_other is the relation share of the non-top classes.
    - ``entropy``: of the teacher at T, nats; does not depend on k.
    - ``n``, ``non_finite``: samples analysed; samples with NaN or inf, counted and left out.

    A gradient of zero has no direction: it enters no cosine, and no share where all are zero. NaN
    where no sample has any, such as the cosines of low_top at k = 1, where it is identically 0.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0.
        ks: "all" for 1 to c - 1, or the k to look at.
        weights: of high, low_top and low_other, as in GDKD.
        dtype: torch.float64, or torch.float32 for a quicker and rougher sweep.
    """

    def __init__(
        self,
        num_classes: int,
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
        ks: str | Sequence[int] = "all",
        weights: Sequence[float | int] = (1.0, 1.0, 8.0),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        check_classes(num_classes)
        ladder, ks = check_temperatures(temperatures), check_ks(ks, num_classes)
        weights = check_weights(weights)
        super().__init__(num_classes, ladder, ks, weights, dtype)
        self.num_classes, self.temperatures, self.ks = num_classes, ladder, ks
        self.weights, self.precision = weights, dtype
        self.add_sum("n")
        self.add_sum("sums", len(ladder), len(PLAIN) + len(DEFINED), len(ks))
        self.add_sum("defined", len(ladder), len(DEFINED), len(ks))

    def update(
        self, student_logits: Float[Tensor, "n c"], teacher_logits: Float[Tensor, "n c"]
    ) -> None:
        """Add one batch of logits (n, c); raises ValueError as :meth:`Analyzer.keep`."""
        kept = self.keep(teacher_logits, student_logits, num_classes=self.num_classes)
        keep_freed_memory()
        if not kept.all():
            student_logits, teacher_logits = student_logits[kept], teacher_logits[kept]
        pairs = chunks(student_logits, teacher_logits)
        for sums, defined in in_parallel(self._chunk_sums, pairs, teacher_logits.device):
            self.accumulate(sums=sums, defined=defined)
        self.accumulate(n=kept.sum())

    @torch.no_grad()
    def _chunk_sums(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Sums of one chunk, T first."""
        ranked = rank(*pair, self.precision)
        ks = None
        if len(self.ks) < self.num_classes - 1:
            ks = torch.tensor(self.ks, device=ranked.teacher.device)
        each = [sums_over_samples(ranked, t, ks, self.weights) for t in self.temperatures]
        sums, defined = (torch.stack(part) for part in zip(*each, strict=True))
        return sums, defined

    def compute(self) -> dict[str, Tensor]:
        """Every column of the table, shape (temperatures, ks); the counts n and non_finite."""
        counts = torch.cat((self.n.expand_as(self.sums[:, : len(PLAIN)]), self.defined), 1)
        means = dict(zip((*PLAIN, *DEFINED), (self.sums / counts).unbind(1), strict=True))
        columns = {name: means[name] for name in COLUMNS}
        return columns | {"n": self.n.clone(), "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """One row a (temperature, k): the columns above."""
        values = self.compute()
        counts = {name: int(values.pop(name)) for name in ("n", "non_finite")}
        index = [(t, k) for t in self.temperatures for k in self.ks]
        frame = pd.DataFrame(index, columns=["temperature", "k"])
        flat = {name: value.reshape(-1).tolist() for name, value in values.items()}
        return frame.assign(**flat, **counts)


def chunks(
    student: Float[Tensor, "n c"], teacher: Float[Tensor, "n c"]
) -> list[tuple[Tensor, Tensor]]:
    """Return the rows in chunks that one step of work fits."""
    rows = max(1, ENTRIES.get(teacher.device.type, MANY) // teacher.shape[1])
    return list(zip(student.split(rows), teacher.split(rows), strict=True))


def keep_freed_memory() -> None:
    """Let glibc keep what the chunks free for the next chunk, up to twice this many bytes.

    Its threshold follows the largest block that was freed. Otherwise it returns the memory to the
    system after each chunk, and every array is made of fresh pages, at twice the time.
    """
    torch.empty(2**24, dtype=torch.uint8)


def in_parallel(
    work: Callable[[tuple], tuple], chunks: list[tuple], device: torch.device
) -> Iterator[tuple]:
    """Yield the results in order; on CPU as many chunks at a time as torch has threads.

    One chunk is too small for torch to share out among its threads. The order of the results, and
    so every rounding, does not depend on the number of threads.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1 or len(chunks) == 1:
        yield from map(work, chunks)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, chunks)


def check_ks(ks: str | Sequence[int], num_classes: int) -> tuple[int, ...]:
    """Return the k in ascending order.

    Raises:
        ValueError: there is none, one appears twice, or one is no whole number from 1 to c - 1.
    """
    if isinstance(ks, str):
        if ks != "all":
            raise ValueError(f"ks is 'all' or a sequence of numbers, got {ks!r}")
        return tuple(range(1, num_classes))
    found = list(ks)
    if not found:
        raise ValueError("need at least one k, got none")
    for k in found:
        if k != int(k) or not 0 < k < num_classes:
            raise ValueError(
                f"k must be a whole number from 1 to {num_classes - 1} where there are "
                f"{num_classes} classes, got {k}: a group would be empty"
            )
    if len(set(found)) != len(found):
        raise ValueError(f"every k is needed once, got {found}")
    return tuple(sorted(int(k) for k in found))


def check_weights(weights: Sequence[float | int]) -> tuple[float, float, float]:
    """Return the weights of high, low_top and low_other as floats.

    Raises:
        ValueError: there are not three finite numbers of at least 0, or all are 0.
    """
    values = tuple(float(w) for w in weights)
    if len(values) != 3 or not all(isfinite(w) and w >= 0 for w in values) or not any(values):
        raise ValueError(
            f"need three weights of at least 0 (high, low_top, low_other), not all 0, got {values}"
        )
    return values
