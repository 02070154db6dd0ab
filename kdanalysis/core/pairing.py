"""Do the rows of two sides belong together, and their classes? What the most probable ones say.

Three errors leave every shape right: rows one apart, as logits beside labels that were shifted for
the next token, classes numbered otherwise, as by another tokenizer, and rows in another order, as
of a loader that shuffles. The first two show where the sides agree far more often once the one is
undone. A side that repeats the token it reads, as networks do before they are trained, agrees with
its neighbour too, but not in the second most probable class. The third shows where rows agree by
chance, but of one class both sides have the same second one, as only trained ones do. Labels have
no second one: they are doubted where renaming lets twice as many rows agree.
"""

from collections import Counter

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.largest import top
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.warn import warn
from kdanalysis.core.wording import percent

ROWS = 256  # looked at, from the first on
TOGETHER = 16  # rows that are made wider at once
SURE, LIKELY = 6.0, 3.0  # standard errors of a difference of two counts
TWICE = 2  # fewer: a teacher that takes some classes for others is wrong, its labels are not
MOST = 0.5  # a network that was never trained may take some classes for one other each, not most
SIMILAR = 8  # classes that tell whether their second ones are those of the other side
LABELS = "target"  # what a side of labels is called
UNKNOWN = -1  # a class where the largest logits are equal or NaN: it is no other's
Tops = Int[Tensor, "n _"]
Side = Float[Tensor, "n c"] | Int[Tensor, " n"] | SparseTeacher


def seem_apart(one: Tops, other: Tops) -> bool:
    """Whether the most probable class alone raises a doubt of two sides; the second may settle it.

    Args:
        one: as ``first_of`` gives them.
        other: of as many rows.
    """
    sides = ("", ""), one, other
    return bool(_apart(*sides) or _renamed(*sides) or _by_chance(one, other))


def first_of(side: Side) -> Tops:
    """Return the most probable class of every row, in one pass."""
    if torch.is_tensor(side) and side.dim() == 2:
        return top(side).unsqueeze(-1).cpu()
    return tops_of(side)[:, :1]


def tops_of(side: Side) -> Tops:
    """Return the two most probable classes of every row, as many as are known; of labels one."""
    if isinstance(side, SparseTeacher):
        ordered = side.inside().topk(min(2, side.ids.shape[-1]))
        return known_tops(side.ids.gather(-1, ordered.indices).long(), ordered.values).cpu()
    if side.dim() == 1:
        return side.long().unsqueeze(-1).cpu()
    if side.shape[1] < 2 or not len(side):
        return torch.full((len(side), 1), UNKNOWN)
    return torch.cat([_two(rows) for rows in side.split(TOGETHER)])


def known_tops(classes: Tops, values: Float[Tensor, "n _"]) -> Tops:
    """Return classes, the most probable first, unknown where their numbers are equal or NaN."""
    told = values.isfinite().all(-1) & (values[:, 0] != values[:, -1])
    return classes.where(told.unsqueeze(-1) | (values.shape[1] == 1), UNKNOWN)


def warn_of_mispairing(names: tuple[str, str], one: Tops, other: Tops, of: str = "") -> str:
    """Give a RuntimeWarning where rows or classes of two sides seem not to belong together.

    And return its text, without what they are of; nothing where they do.

    Args:
        names: of the sides.
        one: the most probable classes of the rows, as ``tops_of`` gives them.
        other: of as many rows.
        of: the file or run that both are of.
    """
    found = _apart(names, one, other)
    if found is None and (names[1] == LABELS or min(one.shape[1], other.shape[1]) > 1):
        found = _renamed(names, one, other)
    if found is None and min(one.shape[1], other.shape[1]) > 1:
        found = _shuffled(names, one, other)
    if found is not None:
        warn(f"{of}: {found}" if of else found)
    return found or ""


def _apart(names: tuple[str, str], one: Tops, other: Tops) -> str | None:
    """Say that rows are one apart, where the row before or after agrees far more often."""
    rows = len(one)
    if rows < 3:
        return None
    hits = {d: _same(one[1:-1], other[1 + d : rows - 1 + d]) for d in (-1, 0, 1)}
    best = max((-1, 1), key=lambda d: int(hits[d][0].sum()))
    if not all(_more(hits[best][0], hits[d][0], n) for d, n in ((0, SURE), (-best, LIKELY))):
        return None
    alone = len(hits[0]) == 1  # nothing tells a side that repeats the token it reads
    if not (alone or _more(hits[best][1], hits[0][1], LIKELY)):
        return None
    here, there = (float(hits[d][0].float().mean()) for d in (0, best))
    return (
        f"the rows of {names[0]} and {names[1]} seem to be one apart: the {names[0]}'s most "
        f"probable class is the {names[1]}'s of the same row in {percent(here)} of {rows - 2} rows "
        f"({percent(_chance(one, other)[0])} where rows are unrelated), and of the row "
        f"{'before' if best < 0 else 'after'} in {percent(there)}; need both sides of one sample, "
        f"or token, in one row{' (or one side repeats the token that it reads)' if alone else ''}"
    )


def _renamed(names: tuple[str, str], one: Tops, other: Tops) -> str | None:
    """Say that classes are numbered otherwise, where renaming those of every other row does it.

    Of two classes the second one follows from the first: so is told a side that is mostly wrong.
    """
    before = _same(one[1::2], other[1::2])
    if int((~before[0]).sum()) <= SURE**2:  # too few rows for more to agree beyond doubt
        return None
    names_of = _matched(one[::2, 0].tolist(), other[::2, 0].tolist())
    plain, other = one[1::2], other[1::2]
    named = torch.tensor([[names_of.get(c, UNKNOWN) for c in row] for row in plain.tolist()])
    hits, chance = _same(named, other), _chance(named, other)
    for rank, errors in zip(range(len(hits)), (SURE, LIKELY), strict=False):
        expected = len(other) * chance[rank]
        beyond = float(hits[rank].sum()) - expected > errors * max(expected, 1.0) ** 0.5
        if not (beyond and _more(hits[rank], before[rank], errors)):
            return None
    plainly, matched = (float(found[0].float().mean()) for found in (before, hits))
    labels = names[1] == LABELS
    if labels and (matched < TWICE * plainly or matched <= MOST):
        return None
    return (
        f"{names[0]} and {names[1]} seem to number their classes otherwise: the most probable one "
        f"is the same in {percent(plainly)} of {len(other)} rows, and in {percent(matched)} "
        "once each class "
        f"of the {names[0]} is numbered as the rows between have it ({percent(chance[0])} where "
        f"sides are unrelated); need one tokenizer, or one order of the classes"
        f"{f' (or the {names[0]} takes most classes for one other each)' if labels else ''}"
    )


def _shuffled(names: tuple[str, str], one: Tops, other: Tops) -> str | None:
    """Say that rows are in another order, where they agree by chance and second classes do not.

    How much more often these are the same is averaged over classes, not rows: two networks that
    were never trained may each have one second class in all rows of a class.
    """
    if not (_by_chance(one, other) and _by_chance(one, other.flip(1))):  # nor each other's second
        return None
    firsts = (one[:, :1] == other[:, 0]) & (one[:, :1] >= 0)
    known = firsts.any(1)
    firsts, (first, second) = firsts[known].double(), one[known].t()
    firsts /= firsts.sum(1, keepdim=True)
    possible = (second != first.unsqueeze(1)).double()
    as_second = firsts @ (second.unsqueeze(1) == other[:, 1]).double().t()
    alike, chance = as_second.diag(), (as_second * possible).sum(1) / possible.sum(1)
    _, places = first.unique(return_inverse=True)
    gain = torch.bincount(places, alike - chance) / torch.bincount(places)
    beyond = len(gain) >= SIMILAR and gain.mean() > LIKELY * gain.std() / len(gain) ** 0.5
    if not beyond or alike.mean() < TWICE * chance.mean():
        return None
    agreed, unrelated = float(_same(one, other)[0].float().mean()), _chance(one, other)[0]
    alike, chance = (percent(float(share.mean())) for share in (alike, chance))
    return (
        f"the rows of {names[0]} and {names[1]} seem to be in another order: the most probable "
        f"class is the same in {percent(agreed)} of {len(one)} rows ({percent(unrelated)} where "
        f"rows are unrelated), but where two rows name one class they name the same second one in "
        f"{alike} ({chance} by chance); need both sides of one sample, or token, in one row"
    )


def _two(rows: Float[Tensor, "n c"]) -> Tops:
    """The two largest of every row; one pass each, where sorting takes some twenty."""
    numbers = rows.detach().float().cpu()
    both = []
    for row in numbers.numpy():  # which is in the cache when the second one is looked for
        first = int(row.argmax())
        sides = (row[:first], 0), (row[first + 1 :], first + 1)
        others = [start + int(part.argmax()) for part, start in sides if len(part)]
        both.append((first, max(others, key=row.__getitem__)))
    classes = torch.tensor(both)
    return known_tops(classes, numbers.gather(-1, classes))


def _same(one: Tops, other: Tops) -> Bool[Tensor, "_ n"]:
    """Whether both name the same class, rank by rank, as far as both have one."""
    ranks = min(one.shape[1], other.shape[1])
    one, other = one[:, :ranks], other[:, :ranks]
    return ((one == other) & (one >= 0)).t()


def _more(hits: Bool[Tensor, " n"], fewer: Bool[Tensor, " n"], errors: float) -> bool:
    """Whether one happens in more rows than the other, beyond so many standard errors."""
    gained, lost = int((hits & ~fewer).sum()), int((fewer & ~hits).sum())
    return gained - lost > errors * (gained + lost) ** 0.5


def _by_chance(one: Tops, other: Tops) -> bool:
    """Whether sides name the same as often as in unrelated rows, rank by rank."""
    chance = len(one) * torch.tensor(_chance(one, other))
    hits = _same(one, other).sum(1)
    return bool(((hits - chance).abs() <= LIKELY * chance.clamp(min=1) ** 0.5).all())


def _chance(one: Tops, other: Tops) -> list[float]:
    """How often unrelated rows of the same classes name the same, rank by rank."""
    found = []
    for mine, theirs in zip(one.t().tolist(), other.t().tolist(), strict=False):
        counts, others = Counter(mine), Counter(theirs)
        pairs = sum(count * others[c] for c, count in counts.items() if c >= 0)
        found.append(pairs / max(1, len(mine) * len(theirs)))
    return found


def _matched(one: list[int], other: list[int]) -> dict[int, int]:
    """Return for each class its one partner, those met together most often first."""
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for (mine, theirs), _ in Counter(zip(one, other, strict=True)).most_common():
        if mine not in partner and theirs not in taken and min(mine, theirs) >= 0:
            partner[mine] = theirs
            taken.add(theirs)
    return partner
