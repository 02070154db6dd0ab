"""What analyzers do with a stream of batches."""

import pytest
import torch

from kdanalysis.core import streams
from kdanalysis.core.largest import top
from kdanalysis.core.streams import CACHED, finite_rows, top_of_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_largest_logits_and_finite_rows_are_found_some_rows_at_a_time(dtype):
    classes = CACHED // 8  # 8 rows at a time
    logits = torch.randn(30, classes, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[3, 5], logits[9, 7], logits[20, 1] = torch.nan, torch.inf, -torch.inf
    logits[12, 100:200], logits[29] = 60.0, -0.0  # the first of equal ones
    logits[29, 1] = 0.0
    classes, finite = top_of_finite(logits)
    assert torch.nonzero(~finite).flatten().tolist() == [3, 9, 20]
    assert (finite == finite_rows(logits)).all()
    assert (classes == logits.double().argmax(-1))[finite].all()
    assert classes[[12, 29]].tolist() == [100, 0]


class Elsewhere(torch.Tensor):
    """Logits that say they are on another device."""

    device = property(lambda self: torch.device("cuda"))


def test_only_a_processor_looks_at_some_rows_at_a_time(monkeypatch):
    looked = []
    monkeypatch.setattr(streams, "CACHED", 3 * 5)
    monkeypatch.setattr(streams, "top", lambda rows: looked.append(len(rows)) or top(rows))
    logits = torch.randn(8, 5)
    for given, expected in ((logits, [3, 3, 2]), (logits.as_subclass(Elsewhere), [8])):
        classes, finite = top_of_finite(given)
        assert (classes.tolist(), finite.all()) == (logits.argmax(-1).tolist(), True)
        assert looked == expected
        looked.clear()


def test_a_sum_that_overflows_leaves_no_row_out():
    logits = torch.full((3, 4), 3e38)
    logits[1, 2] = -torch.inf
    assert top_of_finite(logits)[1].tolist() == [True, False, True]
