"""Devices are named as torch names them, and are here."""

import pytest
import torch

from kdanalysis.core.device import as_device


def test_a_device_is_one_that_torch_finds():
    assert as_device("cpu") == as_device(torch.device("cpu")) == torch.device("cpu")
    for name in ("x", "", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{name}' is none that torch finds here"):
            as_device(name)
