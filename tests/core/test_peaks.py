"""The classes of the k largest logits are a stable sort's, whichever way they are looked for."""

import pytest
import torch

from kdanalysis.core.peaks import BLOCK, FEW, LINE, SHORT, largest

NEAR = [(LINE + more, 5) for more in (-1, 0, 1)]  # a row of keys is filled up to a line
FURTHER = [(FEW // k + more, k) for k in (2, 5, 64) for more in (0, 1)]  # no longer by keys
BLOCKS = [(BLOCK * k + more, k) for k in (32, 64) for more in (0, BLOCK, BLOCK + 1)]
MANY = [(SHORT + 2, SHORT + 1), (1000, 200), (1000, 999)]


def rows_of(classes: int, dtype: torch.dtype) -> torch.Tensor:
    """Rows of every kind: far apart, tied, a rounding apart, infinite, of both zeros, tiny."""
    generator = torch.Generator().manual_seed(classes)
    usual = torch.randn(4, classes, dtype=torch.float64, generator=generator).to(dtype)
    places = torch.randperm(classes, generator=generator).to(dtype)
    info = torch.finfo(dtype)
    one = torch.ones_like(places)
    return torch.stack(
        [
            *usual,
            3 * usual[0] - 20,  # all negative
            usual[1].round(),  # many ties
            one,
            -one,
            1 + info.eps * places,  # apart by the last digit
            -1 - info.eps * places,
            info.tiny * info.eps * (places - classes // 2),  # below the smallest normal number
            usual[2].masked_fill(usual[3] > -1, -torch.inf),
            torch.full_like(one, -torch.inf),
            torch.where(usual[3] > 0, 0.0, -0.0).to(dtype),
            torch.where(usual[3] > 1, -0.0, -one),
            info.max * usual[0].sign(),
        ]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("classes", "k"), [(3, 2), (65, 64), *NEAR, *FURTHER, *BLOCKS, *MANY])
def test_the_largest_are_those_of_a_stable_sort(classes, k, dtype):
    logits = rows_of(classes, dtype)
    expected = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    assert largest(logits, k).equal(expected)


@pytest.mark.parametrize("classes", [12, 64, 1000])
def test_of_keys_nan_is_the_least(classes):
    logits = rows_of(classes, torch.float32)[:6]
    lost = torch.arange(classes) % 3 == 1
    given, below = (logits.masked_fill(lost, x) for x in (torch.nan, -torch.inf))
    expected = below.sort(dim=-1, descending=True, stable=True).indices[:, :4]
    assert largest(given, 4).equal(expected)
    assert largest(torch.full((1, classes), torch.nan), 4).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("classes", "k"), [(40, 5), (3000, 5), (3000, 64), (1000, 200)])
@pytest.mark.parametrize("step", [1, 3])
def test_a_row_with_nan_has_k_classes_too(classes, k, dtype, step):
    logits = rows_of(classes, dtype)
    logits[:, ::step] = torch.nan
    found = largest(logits, k).sort(-1).values
    assert (found[:, 1:] > found[:, :-1]).all()
    assert ((found >= 0) & (found < classes)).all()
