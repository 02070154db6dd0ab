"""Truncation of a teacher who is sparse already: what nobody stored, as the student has it.

Beyond the stored tokens a sparse teacher has a mass P_U and no more. It is completed with the
student's shape, p = P_U q / Q_U, which is the teacher that the convention "bucket" of all stored
tokens stands for. Against that one everything is exact. The true gradient of full KD differs by
P_U (q|U - p|U) over T, at most 2 P_U in L1, and in L2 at most P_U |q|U| + root(P_U p_K), since no
unknown token is above the least likely stored one.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.chunks import chunks, in_parallel
from kdanalysis.analyzers.truncation.part import ROWS, Looked, Truncation
from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import finite_rows
from kdanalysis.core.truncation.algebra import Rows, joined, on_processor
from kdanalysis.core.truncation.completed import Unknown, rows_completed
from kdanalysis.core.truncation.statistics import Statistics, of_rows

MORE = 4 * ROWS  # where logits are looked at in place: what is known of a row is small beside them


def add_sparse(
    parts: Iterable[Truncation], student: Float[Tensor, "n c"], teacher: SparseTeacher
) -> Int[Tensor, " m"] | None:
    """Add the rows of a sparse teacher to analyzers of the same K and temperatures.

    And return the student's most probable class of some rows, from the first on; None if one of
    these is left out.

    Raises:
        ValueError: a row has fewer tokens than the largest K, or the mass of the other tokens is
            not known at a temperature.
    """
    keep_freed_memory()
    parts = list(parts)
    ks, temperatures = parts[0].ks, parts[0].temperatures
    check_sparse(teacher, ks)
    at_each = [teacher.at(temperature) for temperature in temperatures]
    for one in at_each:
        one.tail()  # or the sentence that says why there is none
    in_place = student.device.type == "cpu" and student.dtype in (torch.float32, torch.float64)
    step, best = MORE if in_place else ROWS, None
    for start in range(0, len(student), step):
        rows = slice(start, start + step)
        side, known = on_processor(student[rows])[0], [one[rows].to("cpu") for one in at_each]
        looked = look_at_each(side, known, ks)
        if not all(one.rows.entropy.isfinite().all() for one in looked):  # as of a NaN or inf
            kept = finite_rows(side)
            for part in parts:
                part.accumulate(non_finite=(~kept).sum())
            looked = look_at_each(side[kept], [one[kept] for one in known], ks)
        elif start == 0:
            best = looked[0].rows.known.best
        for part, one in product(parts, looked):
            part.add_rows(one)
    return best


def check_sparse(teacher: SparseTeacher, ks: Sequence[int]) -> None:
    """Refuse draws, and K that the teacher does not have."""
    if teacher.kind == "sampled":
        raise ValueError(
            f"{teacher} holds draws: what is lost needs log-probabilities, with the mass of the "
            f"tokens that are left out"
        )
    found = teacher.present.sum(-1)
    if (short := found < ks[-1]).any():
        row = int(short.nonzero()[0])
        raise ValueError(
            f"row {row} of the teacher has {int(found[row])} tokens: a K of {ks[-1]} needs as many "
            f"in every row"
        )


def look_at_each(
    student: Float[Tensor, "n c"], teachers: Iterable[SparseTeacher], ks: Sequence[int]
) -> list[Looked]:
    """Lay out some rows at every teacher's temperature; the entropy of NaN or inf is not finite."""
    return [look(student, one, ks, place) for place, one in enumerate(teachers)]


def look(
    student: Float[Tensor, "n c"], teacher: SparseTeacher, ks: Sequence[int], place: int
) -> Looked:
    """Lay out some rows at the teacher's temperature, its tail completed."""
    temperature = teacher.temperature
    inside, tail = teacher.inside(), teacher.tail()
    ordered = inside.sort(dim=-1, descending=True, stable=True)
    ids = teacher.ids.long().gather(-1, ordered.indices)
    entries = -(-len(student) // torch.get_num_threads()) * student.shape[1]
    parts = chunks(student, ids, ordered.values, tail, entries=entries)
    work = partial(_completed, ks=ks, temperature=temperature)
    laid, left, lost = zip(*in_parallel(work, parts, student.device), strict=True)
    rows, unknown, found = joined(laid), joined(left), joined(lost)
    mass = tail.exp()
    last = teacher.present.sum(-1, keepdim=True) - 1
    least = ordered.values.gather(-1, last).squeeze(-1).exp()
    shape = (unknown.square.sqrt() / unknown.mass).where(unknown.mass > 0, 0.0)
    l2 = mass * shape + (mass * torch.minimum(least, mass)).sqrt()
    bounds = temperature * torch.stack((l2, 2 * mass, torch.full_like(mass, torch.nan)))
    return Looked(place, rows, found, {}, (rows, found), bounds, (last + 1).squeeze(-1))


def _completed(
    part: tuple[Tensor, ...], ks: Sequence[int], temperature: float | int
) -> tuple[Rows, Unknown, Statistics]:
    """What one thread finds of some rows."""
    rows, unknown = rows_completed(*part, ks, temperature)
    return rows, unknown, of_rows(rows, ks, temperature)
