"""The sweep (figures 10, 11): terms of GDKD and of plain KD for every k and many temperatures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.chunks import chunks, in_parallel
from kdanalysis.analyzers.evidence import Interval, difference_of_shares, share_of, weakest
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.sweep.checks import check_ks, check_weights
from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.streams import check_classes
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from kdanalysis.core.sweep.stacked import stacked
from kdanalysis.core.sweep.sums import sums_over_samples
from kdanalysis.core.wording import numeral, percent
from kdanalysis.draw.tables import require

COLUMNS = (
    *("mass_top", "value_high", "value_low_top", "value_low_other", "value_kd"),
    *("norm_high", "norm_low_top", "norm_low_other", "norm_kd", "norm_total"),
    *("cosine_total_kd", "cosine_high_kd", "cosine_low_top_kd", "cosine_low_other_kd"),
    *("cosine_high_low_top", "cosine_high_low_other"),
    *("share_high", "share_low_top", "share_low_other"),
    *("kd_share_high", "kd_share_low_top", "kd_share_low_other"),
    *("mass_other", "entropy"),
)
TERMS = ("high", "low_top", "low_other", "kd")
SHARES = ("share_low_top", "share_low_other")
USUAL = {"temperature": 4.0, "k": 5}  # the papers' settings
KEPT = 3.0  # a scale that changes by less than this factor is kept


class EveryK(Analyzer):
    """An analyzer of the terms of GDKD for every k and temperature; asked for by itself.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0.
        ks: "all" for 1 to c - 1, or the k to look at; memory grows with their number.
        weights: of high, low_top and low_other, as in GDKD.
        settings: what else tells it from another of its class, by name.
    """

    of_runs = False
    needs = ("student_logits", "teacher_logits")

    def __init__(
        self,
        num_classes: int,
        temperatures: Sequence[float | int],
        ks: str | Sequence[int],
        weights: Sequence[float | int],
        **settings: Any,
    ) -> None:
        given = {"num_classes": check_classes(num_classes), "temperatures": temperatures}
        chosen = {"ks": check_ks(ks, num_classes), "weights": check_weights(weights)}
        super().__init__(**given, **chosen, **settings)


class TermSweep(EveryK):
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
    - ``rms_*``, ``cosine_batch_total_kd``, ``share_batch_*``: the same of all samples' gradients
      laid end to end (see ``core.sweep.stacked``); the others are means of the samples' own.
    - ``n``, ``non_finite``: samples analysed; samples with NaN or inf, counted and left out.

    A gradient of zero has no direction: it enters no cosine, and no share where all are zero. NaN
    where no sample has any, such as the cosines of low_top at k = 1, where it is identically 0.

    Args:
        dtype: to compute in on other devices than the CPU, whose loops compute in float64: that, or
            torch.float32, quicker and rougher.
    """

    noun, title = "sweep", "Every k, every temperature"

    def __init__(
        self,
        num_classes: int,
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
        ks: str | Sequence[int] = "all",
        weights: Sequence[float | int] = (1.0, 1.0, 8.0),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(num_classes, temperatures, ks, weights, precision=dtype)
        shape = len(self.temperatures), len(self.ks)
        self.add_sum("n")
        self.add_sum("sums", shape[0], len(PLAIN) + len(DEFINED), shape[1])
        self.add_sum("defined", shape[0], len(DEFINED), shape[1])

    def add(self, student: Logits, teacher: Logits) -> None:
        """Add the finite samples of a batch."""
        keep_freed_memory()
        pairs = chunks(student, teacher)
        for sums, defined in in_parallel(self._chunk_sums, pairs, teacher.device):
            self.accumulate(sums=sums, defined=defined)
        self.accumulate(n=torch.tensor(len(student)))

    @torch.no_grad()
    def _chunk_sums(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Sums of one chunk, T first."""
        settings = self.temperatures, self.ks, self.weights, self.precision
        return sums_over_samples(*pair, *settings)

    def measures(self) -> dict[str, Tensor]:
        """Every column of the table, shape (temperatures, ks); the count n."""
        means = self.means()
        columns = {name: means[name] for name in COLUMNS} | stacked(means, self.weights)
        return columns | {"n": self.n.clone()}

    def means(self) -> dict[str, Tensor]:
        """Means over samples of all that is summed, by name."""
        counts = torch.cat((self.n.expand_as(self.sums[:, : len(PLAIN)]), self.defined), 1)
        return dict(zip((*PLAIN, *DEFINED), (self.sums / counts).unbind(1), strict=True))

    def table(self) -> pd.DataFrame:
        """One row a (temperature, k): the columns above."""
        return self.grid(temperature=self.temperatures, k=self.ks)


def rows_at(
    table: pd.DataFrame, column: str, wanted: float | int | None = None
) -> tuple[pd.DataFrame, float | int]:
    """Rows of one temperature, or of one k, and which: unless wanted the usual or middle one.

    Raises:
        ValueError: the table lacks it.
    """
    there = sorted(table[column].unique().tolist())
    usual = USUAL[column] if USUAL[column] in there else there[len(there) // 2]
    chosen = usual if wanted is None else wanted
    if chosen not in there:
        raise ValueError(f"the table has no {column} {wanted}, it has {there}")
    return table[table[column] == chosen], chosen


def check_table(table: pd.DataFrame) -> None:
    """Raise a ValueError unless the table holds what is read and drawn."""
    require(
        table, "temperature", "k", *SHARES, *(f"norm_{term}" for term in TERMS), number="norm_kd"
    )


@TermSweep.reads()
def sweep_reading(table: pd.DataFrame) -> Reading:
    """Where k balances the relation terms, and whether T^2 keeps the gradient's scale.

    With 95 % intervals over samples, at most too wide: a share's as if every sample had all or
    nothing, a factor's as if the temperatures had their own samples.

    The number says where both relation terms speak best, by T.
    """
    check_table(table)
    rows, temperature = rows_at(table, "temperature")
    claims = [_claim_of_k(rows.sort_values("k"), temperature)]
    parts = []
    for t, of_t in table.groupby("temperature"):
        best = balanced(of_t)
        parts.append(
            f"T = {t:g}: k = {best.k:.0f} (low_top {percent(best.share_low_top, 0)}, "
            f"low_other {percent(best.share_low_other, 0)})"
        )
    norm = table.groupby("temperature").norm_kd.first()
    if len(norm) > 1 and norm.iloc[0] > 0 and norm.iloc[-1] > 0:
        kept = norm.iloc[-1] / norm.iloc[0]
        bare = kept * (norm.index[0] / norm.index[-1]) ** 2
        parts.append(f"norm of kd over T: factor {numeral(kept)}, without T² {numeral(bare)}")
        change = Interval(float(np.log(kept)), _half_of_change(table))
        grown = abs(change.value)
        steady = weakest(
            (
                Interval(float(np.log(KEPT)) - grown, change.half),
                Interval(float(abs(np.log(bare))) - grown, 2 * change.half),
            ),
            table.get("n", pd.Series(np.inf)).min(),
        )
        claims.append(
            f"That T² keeps the gradient's scale {steady.claim}: from T = {norm.index[0]:g} to "
            f"{norm.index[-1]:g} the norm of kd changes by a factor of {change.ratio()}, without "
            f"T² by {numeral(bare)}."
        )
    return Reading(" ".join(claims), "; ".join(parts))


def inner(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of k where no term is 0 by construction, as low_top at k = 1, low_other at c - 1."""
    return rows[(rows.norm_low_top > 0) & (rows.norm_low_other > 0)]


def _claim_of_k(rows: pd.DataFrame, temperature: float) -> str:
    """Both relation terms speak where the smaller of their shares is largest."""
    rows = inner(rows)
    if len(rows) < 2:
        at = f"at k = {rows.k.iloc[0]:.0f} alone" if len(rows) else "at no k"
        return f"Both relation terms have a gradient {at}: how k changes them cannot be seen."
    best, smaller = balanced(rows), rows[list(SHARES)].min(axis=1)
    n = rows.n if "n" in rows else pd.Series(0, rows.index)
    most = float(smaller.max())
    apart = [difference_of_shares(most, n.max(), one, n.max()).low > 0 for one in smaller]
    near = rows.k[~np.array(apart)]
    others = f"from k = {near.min():.0f} to {near.max():.0f} it is not seen to be smaller"
    if len(near) < 2:
        others = "at every other k it is seen to be smaller"
    return (
        f"At T = {temperature:g} the smaller of the weighted shares of low_top and low_other is "
        f"largest at k = {best.k:.0f}, {share_of(most, n.max())}; {others}."
    )


def _half_of_change(table: pd.DataFrame) -> float:
    """Half the interval of the logarithm of the norm of kd at the last T over that at the first.

    As of independent samples: norms that rise together over them would make it narrower. NaN of a
    single sample.
    """
    names = ["norm_kd", "rms_kd", "n"]
    if any(name not in table for name in names):
        return float("nan")
    ends = table.groupby("temperature")[names].first().iloc[[0, -1]]
    spread = (ends.rms_kd**2 / ends.norm_kd**2 - 1).clip(lower=0) / (ends.n - 1).where(ends.n > 1)
    return float(wide(ends.n.min()) * np.sqrt(spread.sum(skipna=False)))


def balanced(rows: pd.DataFrame) -> pd.Series:
    """The row whose smaller share of the two relation terms is largest."""
    smaller = rows[list(SHARES)].min(axis=1)
    if smaller.isna().all():
        raise ValueError("the table has no shares: every gradient is zero")
    return rows.loc[smaller.idxmax()]
