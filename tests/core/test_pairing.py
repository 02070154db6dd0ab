"""Rows one apart or in another order and classes numbered otherwise are warned of, others never."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from kdanalysis.core.pairing import ROWS, first_of, seem_apart, tops_of, warn_of_mispairing
from kdanalysis.core.sparse import SparseTeacher

LOGITS = Path(__file__).parents[2] / "notebooks" / "logits"
DRAW = torch.Generator().manual_seed(0)
ZIPF = -torch.arange(1, 41).log()


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=DRAW)


TEACHER = 3 * (ZIPF + normal(ROWS, 40))
STUDENT = TEACHER + 2 * normal(ROWS, 40)
OTHER = torch.randperm(40, generator=DRAW)


def look(one, other, names=("student", "teacher")) -> None:
    """Look at logits, labels, a sparse teacher, or most probable classes (n, 2)."""
    tops = [side if of_classes(side) else tops_of(side) for side in (one, other)]
    if warn_of_mispairing(names, *tops):
        assert seem_apart(*(side[:, :1] for side in tops)), "the first one alone raises the doubt"


def of_classes(side) -> bool:
    return torch.is_tensor(side) and side.dim() == 2 and not side.is_floating_point()


def draw(classes: int, *shape: int) -> torch.Tensor:
    return torch.randint(classes, shape, generator=DRAW)


def sometimes(share: float, these: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.rand(these.shape, generator=DRAW) < share, these, others)


def text(rows: int) -> torch.Tensor:
    """Tokens of which half follow from the one before."""
    tokens, follows = draw(40, rows), torch.rand(rows, generator=DRAW) < 0.5
    for row in range(1, rows):
        tokens[row] = OTHER[tokens[row - 1]] if follows[row] else tokens[row]
    return tokens


def ordered(classes: torch.Tensor, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A teacher that names these classes, and a student that so often does."""
    named = 6.0 * torch.nn.functional.one_hot(classes, 10)
    teacher = named + normal(len(classes), 10)
    return teacher + spread * normal(*teacher.shape), teacher


def honest() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Sides that belong together, or of which nothing can be said."""
    blocks, turns = torch.arange(ROWS) * 10 // ROWS, torch.arange(ROWS) % 2
    one_side = 6.0 * torch.nn.functional.one_hot(1 - turns, 2) + 0.1 * normal(ROWS, 2)
    read, answers = text(ROWS + 1), torch.tensor([0, 1]).expand(ROWS, 2)
    repeats = torch.stack((read[:-1], draw(40, ROWS)), -1)
    follows = torch.stack((sometimes(0.7, read[1:], OTHER[read[:-1]]), draw(40, ROWS)), -1)
    fine = draw(40, ROWS, 2)
    ahead = fine.roll(-1, 0)
    half = sometimes(0.5, fine[:, 0], ahead[:, 0])
    flipped = torch.where(fine[:, 0] < 16, fine[:, 0] ^ 1, fine[:, 0])
    turned = [sometimes(0.8, answers, answers.flip(1)[:, :1].expand(ROWS, 2)) for _ in range(2)]
    gone = torch.where(torch.arange(ROWS)[:, None] % 2 == 0, torch.nan, STUDENT)
    return {
        "a good student": (STUDENT, TEACHER),
        "the same": (TEACHER, TEACHER),
        "unrelated": (normal(ROWS, 40), TEACHER),
        "classes in order": ordered(blocks, 3.0),
        "classes in order, nothing learnt": ordered(blocks, 1e3),
        "classes in order, one answer": (ZIPF[:10].expand(ROWS, 10), ordered(blocks, 0.0)[1]),
        "one answer each, of their own": (turned[0], 9 - turned[1]),
        "a teacher that tells few classes apart": (fine, fine // 20),
        "half of it looks ahead": (torch.stack((half, ahead[:, 1]), -1), fine),
        "neighbours in turn, worse than chance": (one_side, one_side[:, [1, 0]]),
        "repeats what it reads": (repeats, follows),
        "constant": (torch.zeros(ROWS, 40), TEACHER),
        "a half without numbers": (gone, TEACHER),
        "one row": (STUDENT[:1], TEACHER[:1]),
        "two rows": (STUDENT[1:3], TEACHER[:2]),
        "few rows": (STUDENT[1:21], TEACHER[:20]),
        "no label": (TEACHER, torch.full((ROWS,), -1)),
        "labels": (TEACHER, STUDENT.argmax(-1)),
        "labels, two in five of them wrong in one way": (fine, flipped),
    }


HONEST = honest()


@pytest.mark.parametrize("name", HONEST)
def test_what_belongs_together_says_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(*HONEST[name], ("teacher", "target" if HONEST[name][1].dim() == 1 else "student"))


def real(name: str, by_class: bool) -> dict[str, torch.Tensor]:
    with np.load(LOGITS / f"{name}.npz") as file:
        target = file["target"]
        order = np.argsort(target, kind="stable") if by_class else np.arange(len(target))
        some = order[len(order) // 2 :][:ROWS]
        return {n: torch.from_numpy(file[n][some]) for n in file.files if n != "classes"}


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("name", ["cifar10", "kd", "dkd", "gdkd"])
def test_real_logits_say_nothing(name, by_class):
    sides = real(name, by_class)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(sides["student_logits"], sides["teacher_logits"])
        look(sides["teacher_logits"], sides["target"], ("teacher", "target"))


@pytest.mark.parametrize(
    ("name", "by_class"), [("cifar10", False), ("kd", False), ("kd", True), ("gdkd", True)]
)
def test_real_logits_one_row_apart_are_told(name, by_class):
    sides = real(name, by_class)
    with pytest.warns(RuntimeWarning, match="of the row before in"):
        look(sides["student_logits"][:-1], sides["teacher_logits"][1:])


@pytest.mark.parametrize("name", ["cifar10", "kd", "dkd", "gdkd"])
def test_real_logits_in_another_order_are_told_with_four_numbers(name):
    sides = real(name, by_class=False)
    student, teacher = (sides[f"{side}_logits"].float() for side in ("student", "teacher"))
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(0))
    with pytest.warns(RuntimeWarning, match="student and teacher seem to be in another order") as w:
        look(student[order], teacher)
    found = [float(number) / 100 for number in re.findall(r"([\d.]+) %", str(w[0].message))]
    mine, theirs = student[order].topk(2).indices.tolist(), teacher.topk(2).indices.tolist()
    firsts = [first for first, _ in theirs]
    same = np.mean([one[0] == first for one, first in zip(mine, firsts, strict=True)])
    unrelated = np.mean([one[0] == first for one in mine for first in firsts])
    of = [(one, [b for a, b in theirs if a == one[0]]) for one in mine if one[0] in firsts]
    alike = np.mean([others.count(one[1]) / len(others) for one, others in of])
    seconds = [[two[1] for two in (o for o, _ in of) if two[1] != one[0]] for one, _ in of]
    chance = [
        np.mean([others.count(b) / len(others) for b in some])
        for (_, others), some in zip(of, seconds, strict=True)
    ]
    assert found == pytest.approx([same, unrelated, alike, np.mean(chance)], rel=0.05, abs=6e-4)


@pytest.mark.parametrize("name", ["kd", "dkd", "gdkd"])
def test_a_student_that_takes_the_second_class_in_every_row_is_in_order(name):
    """As of images that were changed until it names another class."""
    tops = tops_of(real(name, by_class=False)["teacher_logits"])
    look(tops.flip(1), tops)


@pytest.mark.parametrize("seed", range(12))
def test_a_student_that_was_never_trained_is_not_taken_for_one_in_another_order(seed):
    """Though it takes classes whose samples look alike for each other, or has the same priors."""
    drawn = torch.Generator().manual_seed(seed)
    sides = real("cifar10", by_class=False)
    teacher = sides["teacher_logits"].float()
    seen = torch.randn(10, 64, generator=drawn)[sides["target"].long()]
    seen += 0.3 * torch.randn(len(seen), 64, generator=drawn)
    first, last = (torch.randn(64, size, generator=drawn) / 8 for size in (64, 10))
    untrained = (seen @ first).relu() @ last
    for student in (untrained, untrained + teacher.mean(0), teacher.mean(0).expand_as(teacher)):
        look(student, teacher)
    look(torch.randn(teacher.shape, generator=drawn), teacher)


@pytest.mark.parametrize(("shift", "where"), [(1, "after"), (-1, "before")])
def test_rows_one_apart_are_told_with_three_numbers(shift, where):
    apart = TEACHER.roll(shift, 0)
    with pytest.warns(
        RuntimeWarning, match="rows of student and teacher seem to be one apart"
    ) as w:
        look(STUDENT, apart)
    message = str(w[0].message)
    assert f"of the row {where} in" in message
    assert "repeats" not in message  # the second most probable classes tell that
    mine, theirs, true = (x.argmax(-1) for x in (STUDENT, apart, TEACHER))
    wanted = [
        (mine == theirs)[1:-1].float().mean(),
        (mine[:, None] == theirs).float().mean(),  # every pair of rows
        (mine == true)[1:-1].float().mean(),
    ]
    found = [float(number) for number in re.findall(r"([\d.]+) %", message)]
    assert found == pytest.approx([100 * float(share) for share in wanted], abs=0.06)


def test_labels_one_apart_are_told_with_what_else_it_may_be():
    labels = STUDENT.argmax(-1).roll(-1, 0)
    with pytest.warns(RuntimeWarning, match=r"the target's of the same row .* repeats the token"):
        look(TEACHER, labels, ("teacher", "target"))


def test_classes_numbered_otherwise_are_told():
    with pytest.warns(RuntimeWarning, match="seem to number their classes otherwise") as w:
        look(STUDENT[:, OTHER], TEACHER)
    plainly, matched, unrelated = map(float, re.findall(r"([\d.]+) %", str(w[0].message)))
    agreement = 100 * float((STUDENT.argmax(-1) == TEACHER.argmax(-1)).float().mean())
    assert plainly < unrelated + 5 < matched
    assert matched == pytest.approx(agreement, abs=8)  # what the right numbers give


def test_labels_numbered_otherwise_are_told_with_what_else_it_may_be():
    sides = real("cifar10", by_class=False)
    target = torch.randperm(10, generator=torch.Generator().manual_seed(1))[sides["target"]]
    with pytest.warns(
        RuntimeWarning, match="teacher and target seem to number .* one other each"
    ) as w:
        look(sides["teacher_logits"], target, ("teacher", "target"))
    plainly, matched, _ = map(float, re.findall(r"([\d.]+) %", str(w[0].message)))
    right = float((sides["teacher_logits"].argmax(-1) == sides["target"]).float().mean())
    assert plainly < 40 < matched == pytest.approx(100 * right, abs=8)


@pytest.mark.parametrize("seed", [1, 5, 6, 8])
def test_labels_are_not_doubted_beside_a_network_that_was_never_trained(seed):
    """It takes some classes for one other each, where their samples look alike."""
    drawn = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (ROWS,), generator=drawn)
    seen = torch.randn(10, 64, generator=drawn)[labels]
    seen += 0.3 * torch.randn(ROWS, 64, generator=drawn)
    first, last = (torch.randn(64, size, generator=drawn) / 8 for size in (64, 10))
    look((seen @ first).relu() @ last, labels, ("teacher", "target"))


def test_a_sparse_teacher_is_looked_at_as_one_of_all_classes():
    sparse = SparseTeacher.from_logits(TEACHER, 4)
    assert torch.equal(tops_of(sparse), tops_of(TEACHER))
    assert tops_of(sparse.top(1)).shape == (ROWS, 1)
    with pytest.warns(RuntimeWarning, match=r"of the row after .* repeats the token"):
        look(STUDENT[:-1], SparseTeacher.from_logits(TEACHER.roll(1, 0)[:-1], 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_two_most_probable_classes_are_found(dtype):
    rows = normal(200, 5000).to(dtype)
    first, second = rows.float().topk(2).indices.t()
    clear = rows.topk(3).values.diff(dim=-1).ne(0).all(-1)
    assert torch.equal(tops_of(rows)[clear], torch.stack((first, second), -1)[clear])


def test_rows_whose_largest_numbers_are_equal_name_nothing():
    rows = torch.tensor([[1.0, 1.0, 0.0], [torch.nan, 1.0, 0.0], [3.0, 2.0, 1.0]])
    assert tops_of(rows).tolist() == [[-1, -1], [-1, -1], [0, 1]]


def test_rows_that_say_nothing_do_not_count_as_equal():
    there = torch.arange(ROWS)[:, None] < 150
    with pytest.warns(RuntimeWarning, match="seem to be one apart") as w:
        look(STUDENT.where(there, 0.0), TEACHER.roll(1, 0).where(there, 0.0))
    assert float(re.search(r"row in ([\d.]+) %", str(w[0].message))[1]) < 20


def test_one_class_and_no_rows_name_nothing():
    assert tops_of(torch.ones(3, 1)).tolist() == [[-1], [-1], [-1]]
    none = torch.ones(0, 5)
    look(none, none)
    seem_apart(first_of(none), first_of(none))


def test_the_first_class_alone_is_that_of_both():
    sparse = SparseTeacher.from_logits(TEACHER, 5)
    for side in (TEACHER, sparse):
        assert torch.equal(first_of(side), tops_of(side)[:, :1])
    assert first_of(torch.tensor([3, -1])).tolist() == [[3], [-1]]
    assert not seem_apart(first_of(TEACHER), first_of(STUDENT))


@pytest.mark.parametrize(("swapped", "told"), [(16, True), (4, False)])
def test_a_few_classes_numbered_otherwise_are_told_of_enough_rows(swapped, told):
    one = torch.randint(40, (ROWS, 1), generator=torch.Generator().manual_seed(0))
    other = torch.where(one < swapped, (one + 1) % swapped, one)
    assert seem_apart(one, other) is told
