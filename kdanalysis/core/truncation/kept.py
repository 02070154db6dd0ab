"""Rows of which the teacher's K largest classes are kept, and exact sums over all others.

Of the others O a loss that sets apart known classes alone needs, at its temperature T, the masses
P_O and Q_O, KL(p|O || q|O), and the inner products of p and e = q - p over O: its gradient there is
a e + b p, where a and b follow from the masses. With those it is exact, whatever the vocabulary.

Beside the K largest one more class is kept: the label, or where that is among them the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.special import entr

from kdanalysis.core.largest import largest
from kdanalysis.core.truncation.algebra import Known, Rows, factors_of, overlap_of, rows_of

SUMS = 9  # over O, as ``Group`` has them

FACTS = SUMS + 4  # of a T: sums over O, that of |q - p|, the teacher's entropy, both logsumexp
SHAPE = 3  # of the student at T = 1: entropy in nats, mean and standard deviation of its logits
ENTRIES = 2**19  # rows x classes that are laid out together


@dataclass(frozen=True)
class Kept:
    """What is kept of n rows at t temperatures, in float64; NaN of a row that held NaN or inf.

    ``ids`` are classes, the teacher's largest first, then the one more; logits are of these.
    ``far`` are, for every K' of ``ks``, sums over O of |f q - p| with the f of the conventions
    "bucket" and "none": what the L1 norm of a lost gradient needs.
    """

    ids: Int[Tensor, "n k"]
    teacher: Float[Tensor, "n k"]
    student: Float[Tensor, "n k"]
    overlap: Float[Tensor, "n s"]  # share of the student's K' largest in the teacher's, by K'
    facts: Float[Tensor, "n t f"]  # see FACTS
    products: Float[Tensor, "n b b"]  # inner products over O of p, e at the first T, then the next
    far: Float[Tensor, "n t s 2"]
    shape: Float[Tensor, "n 3"]  # see SHAPE
    best: Int[Tensor, " n"]  # the class of the student's largest logit

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | Tensor) -> "Kept":
        """Return some rows."""
        return Kept(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    @property
    def finite(self) -> Bool[Tensor, " n"]:
        """Rows whose logits were all numbers."""
        return ~self.shape.isnan().any(-1)

    def slot(self, classes: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Return where one class a row stands among the kept ones; their number if not there."""
        found = self.ids == classes.unsqueeze(-1)
        return torch.where(found.any(-1), found.int().argmax(-1), self.ids.shape[1])


def known_ks(k: int) -> tuple[int, ...]:
    """Return the K' <= K at which overlap and L1 norms are kept: powers of two, and K."""
    return tuple(sorted({2**power for power in range(k.bit_length()) if 2**power <= k} | {k}))


def check_known(k: int, classes: int) -> None:
    """Refuse a K that leaves fewer than two others, of which sums would be worth more than logits.

    Raises:
        ValueError: it does.
    """
    if not 1 <= k <= classes - 3:
        raise ValueError(
            f"TopK({k}) of {classes} classes: to keep K classes, one more and sums over the others "
            f"K must be from 1 to {classes - 3}; of so few classes keep all logits"
        )


@torch.no_grad()
def keep(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    target: Int[Tensor, " n"],
    k: int,
    temperatures: Sequence[float],
) -> Kept:
    """Reduce rows of logits to what is kept of them; exact in float64, on the processor.

    Args:
        student: logits.
        teacher: logits.
        target: labels, below 0 where there is none.
        k: K.
        temperatures: every T.

    Raises:
        ValueError: a K that leaves fewer than two other classes.
    """
    check_known(k, student.shape[1])
    size = max(1, ENTRIES // student.shape[1])
    sides = [side.detach().cpu().double() for side in (student, teacher)]
    rows = [slice(at, at + size) for at in range(0, max(len(student), 1), size)]
    labels = target.cpu()
    parts = [_keep(*(s[r].contiguous() for s in sides), labels[r], k, temperatures) for r in rows]
    names = [one.name for one in fields(Kept)]
    return Kept(**{n: torch.cat([getattr(part, n) for part in parts]) for n in names})


def _keep(student: Tensor, teacher: Tensor, target: Tensor, k: int, temperatures: Sequence) -> Kept:
    finite = torch.stack([side.isfinite().all(-1) for side in (student, teacher)]).all(0)
    student, teacher = (s.masked_fill(~finite.unsqueeze(-1), 0.0) for s in (student, teacher))
    first = largest(teacher, k + 1)
    has = (target >= 0) & (first[:, :k] != target.unsqueeze(-1)).all(-1)
    ids = torch.cat((first[:, :k], torch.where(has, target, first[:, k]).unsqueeze(-1)), 1)
    theirs = largest(student, k)
    known = Known(ids, overlap_of(first[:, :k], theirs, student.shape[1]), theirs[:, 0])
    ks = known_ks(k)
    sides = [tuple(torch.empty_like(x) for x in (teacher, student)) for _ in temperatures]
    laid = [
        rows_of(student, teacher, t, known, ks, into)
        for t, into in zip(temperatures, sides, strict=True)
    ]
    ends = [torch.stack([(x / t).logsumexp(-1) for x in (teacher, student)], -1)
            for t in temperatures]  # fmt: skip
    facts = [
        torch.cat((rows.tail, rows.entropy.unsqueeze(-1), end), -1)
        for rows, end in zip(laid, ends, strict=True)
    ]
    basis = torch.stack([x for rows in laid for x in (rows.p, rows.q - rows.p)], 1)
    far = [rows.apart.unflatten(1, (2, len(ks))).transpose(1, 2) for rows in laid]
    lost = ~finite
    return Kept(
        ids,
        *(_blank(side.gather(-1, ids), lost) for side in (teacher, student)),
        _blank(known.overlap[:, torch.tensor(known_ks(k)) - 1], lost),
        _blank(torch.stack(facts, 1), lost),
        _blank(basis @ basis.transpose(1, 2), lost),
        _blank(torch.stack(far, 1), lost),
        _blank(shape_of(student), lost),
        theirs[:, 0],
    )


def shape_of(student: Float[Tensor, "n c"]) -> Float[Tensor, "n 3"]:
    """Return the entropy of softmax(student) in nats, and mean and deviation of the logits."""
    mean = student.mean(-1)
    scale = (student - mean.unsqueeze(-1)).square().mean(-1).sqrt()
    return torch.stack((entr(student.softmax(-1)).sum(-1), mean, scale), -1)


def _blank(values: Tensor, lost: Bool[Tensor, " n"]) -> Tensor:
    return values.masked_fill(lost.view(-1, *[1] * (values.dim() - 1)), torch.nan)


def rows_at(kept: Kept, place: int, temperature: float, ks: Sequence[int]) -> Rows:
    """Return rows as ``rows_of`` lays them out, but for both sides at the other classes.

    Args:
        kept: finite rows.
        place: of the temperature among those kept.
        temperature: T.
        ks: every K; L1 norms are NaN at those of which no sums were kept.
    """
    k = kept.ids.shape[1] - 1
    facts = kept.facts[:, place]
    log_p, log_q = logs(kept, place, temperature)
    top = torch.stack((log_p.exp(), log_q.exp(), log_q - log_p))
    overlap = torch.full((len(kept), k), torch.nan, dtype=torch.float64)
    overlap[:, torch.tensor(known_ks(k)) - 1] = kept.overlap
    known = Known(kept.ids, overlap, kept.best)
    tail, entropy = facts[:, : SUMS + 1], facts[:, SUMS + 1].contiguous()
    factors = factors_of(top, tail, ks)
    far = dict(zip(known_ks(k), kept.far[:, place].unbind(1), strict=True))
    unknown = torch.full_like(facts[:, :2], torch.nan)
    apart = torch.stack([far.get(one, unknown) for one in ks], -1).flatten(1)
    return Rows(None, None, known, top, tail, entropy, factors, apart)


def logs(
    kept: Kept, place: int, temperature: float
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Return log p and log q of the kept classes at a temperature."""
    of_teacher, of_student = kept.facts[:, place, SUMS + 2 :, None].unbind(1)
    return kept.teacher / temperature - of_teacher, kept.student / temperature - of_student
