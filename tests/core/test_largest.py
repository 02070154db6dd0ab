"""Logits by rank, which several analyzers of a batch ask for."""

import weakref

import numpy as np
import torch

from kdanalysis.core.largest import ranked, sorted_once


def test_logits_that_stay_are_sorted_once():
    logits = torch.randn(4, 50)
    with sorted_once():
        found = ranked(logits)
        assert ranked(logits.detach()) is found
        torch.testing.assert_close(found, logits.sort(-1, descending=True).values)
        assert ranked(logits[:2]) is not found
    assert ranked(logits) is not found


def test_no_others_come_to_lie_where_logits_lay_that_were_sorted():
    numbers = np.ones((4, 50))
    alive = weakref.ref(numbers)
    with sorted_once():
        ranked(torch.from_numpy(numbers))
        del numbers
        assert alive() is not None
    assert alive() is None
