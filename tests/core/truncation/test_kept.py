"""Of rows that keep K classes and sums over the others everything follows as of all logits."""

import pytest
import torch

from kdanalysis.core.truncation.kept import FACTS, Kept, keep, known_ks, rows_at
from kdanalysis.core.truncation.statistics import of_rows, truncate
from kdanalysis.store.info import RunInfo

K, TEMPERATURES = 16, (1.0, 2.0, 4.0)


def sides(rows=24, classes=120):
    """Two students near or equal to their teachers; half of the labels are the teachers'."""
    seed = torch.Generator().manual_seed(3)
    teacher = 3 * torch.randn(rows, classes, generator=seed).double()
    student = teacher + 1.5 * torch.randn(rows, classes, generator=seed).double()
    student[0], student[1] = teacher[0], teacher[1] + 1e-5 * student[1]
    target = torch.randint(0, classes, (rows,), generator=seed)
    target[::2] = teacher[::2].argmax(-1)
    return student, teacher, target


@pytest.mark.parametrize("place", range(len(TEMPERATURES)))
def test_truncation_at_every_k_kept_is_that_of_all_logits(place):
    student, teacher, target = sides()
    kept, temperature = keep(student, teacher, target, K, TEMPERATURES), TEMPERATURES[place]

    found = of_rows(rows_at(kept, place, temperature, known_ks(K)), known_ks(K), temperature)

    exact = truncate(student, teacher, known_ks(K), temperature)
    for name, one in exact._asdict().items():
        torch.testing.assert_close(getattr(found, name), one, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_the_class_beyond_the_k_largest_is_the_label_or_the_next_one():
    student, teacher, target = sides()
    target[3] = -1
    kept = keep(student, teacher, target, K, (1.0,))

    ranked = teacher.argsort(descending=True)
    torch.testing.assert_close(kept.ids[:, :K], ranked[:, :K])
    inside = (ranked[:, :K] == target[:, None]).any(-1) | (target < 0)
    torch.testing.assert_close(kept.ids[:, K], torch.where(inside, ranked[:, K], target))
    assert inside.any()
    assert not inside.all()
    known = target >= 0
    places = kept.slot(target)[known]
    assert (kept.ids[known].gather(1, places[:, None])[:, 0] == target[known]).all()


def test_rows_with_nan_are_known_and_leave_the_others_as_they_are():
    student, teacher, target = sides(6)
    whole = keep(student, teacher, target, K, TEMPERATURES)
    student[2, 5] = torch.nan
    kept = keep(student, teacher, target, K, TEMPERATURES)
    assert kept.finite.tolist() == [True, True, False, True, True, True]
    torch.testing.assert_close(kept[kept.finite].facts, whole[kept.finite].facts)
    assert kept.facts[2].isnan().all()


def test_chunks_of_rows_are_laid_out_as_one(monkeypatch):
    whole = keep(*sides(), K, TEMPERATURES)
    monkeypatch.setattr("kdanalysis.core.truncation.kept.ENTRIES", 120 * 7)
    for one in Kept.__dataclass_fields__:
        torch.testing.assert_close(
            getattr(keep(*sides(), K, TEMPERATURES), one), getattr(whole, one)
        )


def test_a_k_that_leaves_no_two_others_is_refused():
    with pytest.raises(ValueError, match=r"TopK\(118\) of 120 classes: .* K must be from 1 to 117"):
        keep(*sides(), 118, (1.0,))


def test_the_store_gives_the_facts_their_room():
    info = RunInfo(120, kept=K, kept_temperatures=TEMPERATURES, kept_ks=known_ks(K))
    kept, sizes = keep(*sides(), K, TEMPERATURES), info.sizes
    assert kept.facts.shape[1:] == (sizes["temperatures"], sizes["facts"]) == (3, FACTS)
    assert (kept.overlap.shape[1], kept.shape.shape[1]) == (sizes["known"], sizes["shape"])
    assert kept.far[0, 0].numel() == sizes["distances"]
    assert sizes["products"] == 6 * 7 // 2
