"""mixture: how each of several teachers lies to what they teach together."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kdanalysis.core.arguments import typed
from kdanalysis.core.divergence import divergence_terms
from kdanalysis.core.mixture import Real, check_mixture, mix
from kdanalysis.studies.sweeps import as_sides, refuse_non_finite

ENTRIES = 2**20  # rows x classes x teachers looked at together


@typed
def mixture(
    student: Tensor | np.ndarray,
    teachers: Mapping[str, Tensor | np.ndarray],
    weights: Iterable[Real] | None = None,
    of: str = "probabilities",
    temperature: Real = 4.0,
) -> pd.DataFrame:
    """Hold each teacher against the mixture of all, as a student with these logits is taught.

    One row a teacher, means over the samples; columns:

    - ``teacher``, ``weight`` as a part of 1;
    - ``agreement``: share of samples whose largest class is the mixture's;
    - ``divergence``: KL of the mixture from the teacher at T, in nats, without T^2;
    - ``cosine`` of KD's gradients T (q - p) in the student's logits, for this teacher and for the
      mixture; samples where one of them is zero are left out, NaN where all are;
    - ``norm``: L2 norm of KD's gradient for this teacher; ``norm_mixture`` for the mixture;
    - ``n`` samples.

    Args:
        student: logits (n, c), tensor or array, row by row of the same samples as the teachers'.
        teachers: likewise, by name.
        weights: as for ``mix``, in the order of the teachers.
        of: as for ``mix``.
        temperature: T of the mixture, the divergence and KD.

    Raises:
        ValueError: no teacher, shapes that differ, NaN or inf, or as ``mix``.
    """
    parts = check_mixture(len(teachers), weights, of, temperature)
    if not teachers:
        raise ValueError("need the logits of one or more teachers by name, got none")
    named = {f"teacher {name}": teacher for name, teacher in teachers.items()}
    student, *given = as_sides(student=student, **named)
    if not len(student):
        raise ValueError("the logits hold no samples, need at least one row")
    size = max(1, ENTRIES // (student.shape[1] * len(given)))
    sums: dict[str, Tensor] = {}
    for start in range(0, len(student), size):
        rows = slice(start, start + size)
        chunk = [teacher[rows].double() for teacher in given]
        refuse_non_finite(start, student=student[rows], **dict(zip(named, chunk, strict=True)))
        whole = mix(chunk, parts, of, temperature)
        found = _sums(student[rows].double(), torch.stack(chunk), whole, temperature)
        sums = {name: value + sums.get(name, 0) for name, value in found.items()}
    n = len(student)
    means = {name: (sums[name] / n).tolist() for name in ("agreement", "divergence", "norm")}
    frame = pd.DataFrame({"teacher": list(teachers), "weight": parts, **means})
    frame.insert(4, "cosine", (sums["cosine"] / sums["directed"]).tolist())
    return frame.assign(norm_mixture=float(sums["norm_mixture"]) / n, n=n)


def _sums(student: Tensor, teachers: Tensor, whole: Tensor, t: Real) -> dict[str, Tensor]:
    """Add up what the table takes the means of: student (n, c), teachers (m, n, c)."""
    q, log_p, log_w = ((x / t).log_softmax(-1) for x in (student, teachers, whole))
    one, all_of_them = t * (q.exp() - log_p.exp()), t * (q.exp() - log_w.exp())
    norm, norm_whole = one.norm(dim=-1), all_of_them.norm(dim=-1)
    directed = (norm > 0) & (norm_whole > 0)
    cosine = cosine_similarity(one, all_of_them.expand_as(one), dim=-1, eps=0.0)
    return {
        "agreement": (teachers.argmax(-1) == whole.argmax(-1)).double().sum(-1),
        "divergence": divergence_terms(log_w.expand_as(log_p), log_p).sum((-1, -2)),
        "cosine": cosine.where(directed, 0.0).sum(-1),
        "directed": directed.sum(-1),
        "norm": norm.sum(-1),
        "norm_mixture": norm_whole.sum(),
    }
