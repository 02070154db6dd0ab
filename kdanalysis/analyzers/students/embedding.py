"""Embedding (figure 14): how far the classes stand apart in the features before the head."""

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.separation import fisher_ratio, in_proportion, nearest, separation, voted
from kdanalysis.core.streams import finite_rows

Rows = Float[Tensor, "n d"]
K, DRAWN = 10, 500
PERPLEXITY = 30.0  # of fewer than 91 rows drawn a third of them
NUMBERS = ("n", "knn", "silhouette", "fisher", "chance", "kept")
HOW = ("k", "width", "drawn", "perplexity", "seed", "labelled")


class Embedding(Analyzer):
    """Separation of the classes in pooled features, and t-SNE of some of them.

    Numbers are of the features, with Euclidean distances, never of the picture:

    - ``knn``: share of rows whose k nearest other rows (leave-one-out) vote for their class, of
      equal votes for the one of the smallest number; ``chance`` is the most frequent class's share.
    - ``silhouette``: mean of (b - a) / max(a, b), in [-1, 1] (``separation``).
    - ``fisher``: trace of the scatter between classes over that within (``fisher_ratio``).

    ``kept`` is of the picture: the share of a drawn row's k nearest drawn ones in feature space
    that are among its k nearest on the plane.

    The features of the rows looked at are the state, each row a sum of one. So parts merge, and
    memory grows with ``rows`` alone. A row with NaN or inf on any side is left out of all.

    Args:
        features: how many every side has, by its name: "teacher", "student".
        counts: labelled rows by class, of which these are some or all.
        rows: how many are looked at.
        k: neighbours that vote.
        drawn: most rows of the picture, every class in proportion.
        seed: of the rows drawn and of t-SNE.

    Raises:
        ValueError: labels of fewer than two classes, or no more rows than k.
    """

    noun, title, beside = "embedding", "Embedding of the features", False
    kind = "features"
    made_for = ("features", "counts", "rows")

    def __init__(
        self,
        features: Mapping[str, int],
        counts: Sequence[int],
        rows: int,
        k: int = K,
        drawn: int = DRAWN,
        seed: int = 0,
    ) -> None:
        counts, there = tuple(counts), sum(count > 0 for count in counts)
        if there < 2 or rows <= k:
            raise ValueError(
                f"features of {rows} rows with labels of {there} of {len(counts)} classes: silhou"
                f"ette, Fisher ratio and k-NN accuracy need two classes and more rows than k = {k}"
            )
        given = {"k": k, "drawn": max(drawn, k + 1), "seed": seed}
        super().__init__(features=dict(features), counts=counts, rows=rows, **given)
        self.needs = (*(f"{side}_features" for side in features), "target", "row", "place")
        for side, width in features.items():
            self.add_sum(f"{side}_features", rows, width)
        for name in ("target", "row", "there"):
            self.add_sum(name, rows)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Embedding | None":
        """Return the analyzer of the sides that have features; None where none has."""
        return super().for_setting(setting) if setting.features else None

    def keep(self, *features: Float[Tensor, "n _"], target: Labels) -> Bool[Tensor, " n"]:
        """Count the rows with NaN or inf, and return which ones to look at.

        Raises:
            ValueError: the features are not as many as was said.
        """
        for (side, width), found in zip(self.features.items(), reversed(features), strict=True):
            if found.shape != (len(target), width):
                raise ValueError(
                    f"{side}_features have shape {tuple(found.shape)}, need ({len(target)}, "
                    f"{width}): as many rows as there are labels, as many features as in all rows"
                )
        kept = torch.stack([finite_rows(one) for one in features]).all(0)
        self.accumulate(non_finite=(~kept).sum())
        return kept

    def add(self, *columns: Tensor) -> None:
        """Put the finite rows of a batch into their places."""
        *features, target, row, place = columns
        names = [name for name in self.state_names if name != "non_finite"]
        values = *features, target, row, torch.ones_like(target)
        for name, value in zip(names, values, strict=True):
            state = getattr(self, name)
            state.index_add_(0, place.to(state.device), value.to(state))

    def table(self) -> pd.DataFrame:
        """Columns side, part, class, row, x, y, n, knn, silhouette, fisher, chance, kept, ...

        ``part`` is "all", over all rows looked at; "class", by true class; or "sample", of a row of
        the picture: its number in the file, its place on the plane (no unit), whether its
        neighbours vote for its class (``knn`` 1 or 0) and its silhouette. What does not apply is
        <NA>. The last are k, width (features), drawn (rows of the picture), perplexity, seed,
        labelled (rows in the file) and non_finite.
        """
        there = self.there > 0
        target, row = (getattr(self, name)[there].long() for name in ("target", "row"))
        parts = [
            self._of_side(side, getattr(self, f"{side}_features")[there], target, row)
            for side in self.features
        ]
        columns = ["side", "part", "class", "row", "x", "y", *NUMBERS, *HOW]
        frame = pd.concat(parts, ignore_index=True).reindex(columns=columns)
        whole = dict.fromkeys(("class", "row", "n", "k", "width", "drawn", "labelled"), "Int64")
        return frame.astype(whole).assign(seed=self.seed, non_finite=int(self.non_finite))

    def _of_side(self, side: str, features: Rows, target: Labels, row: Labels) -> pd.DataFrame:
        """Return the rows of one side; of too few rows the counts alone."""
        how = {"k": self.k, "width": self.features[side], "labelled": sum(self.counts)}
        whole = {"side": side, "part": "all", "n": len(target), **how}
        if len(target) <= self.k or target.unique().numel() < 2:
            return pd.DataFrame([whole | dict.fromkeys(NUMBERS[1:], nan) | {"drawn": 0}])
        near, silhouette = separation(features, target, self.k)
        right = (voted(near, target) == target).double()
        found = {"class": target, "row": row, "knn": right, "silhouette": silhouette}
        by_row = pd.DataFrame({name: values.cpu().numpy() for name, values in found.items()})
        by_class = by_row.groupby("class")[["knn", "silhouette"]].mean()
        by_class["n"] = by_row["class"].value_counts()
        drawn = in_proportion(target, self.drawn, self.seed)
        (x, y), perplexity, kept = self._picture(features.cpu()[drawn])
        points = by_row.iloc[drawn.numpy()].assign(x=x, y=y)
        whole |= {
            "knn": by_row.knn.mean(),
            "silhouette": by_row.silhouette.mean(),
            "fisher": fisher_ratio(features, target),
            "chance": float(by_class.n.max() / len(target)),
            "kept": kept,
            "drawn": len(drawn),
            "perplexity": perplexity,
        }
        return pd.concat(
            [
                pd.DataFrame([whole]),
                by_class.reset_index().assign(side=side, part="class"),
                points.assign(side=side, part="sample"),
            ],
            ignore_index=True,
        )

    def _picture(self, features: Rows) -> tuple[np.ndarray, float, float]:
        """Return x and y on the plane, the perplexity, and how much of neighbourhoods is left."""
        from kdanalysis.core.tsne import tsne  # numba takes a while to load

        perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
        places = tsne(features, perplexity, self.seed)
        before, after = nearest(features, self.k), nearest(places, self.k)
        same = (before.unsqueeze(-1) == after.unsqueeze(-2)).any(-1)
        return places.T.numpy(), perplexity, float(same.double().mean())
