"""Gradients of three terms at two layers, as records of two steps."""

import numpy as np
import pandas as pd
import torch

LAYERS, TERMS, STEPS = ("layer1", "fc"), ("ce", "high", "low"), (0, 10)
PLACES = [(0, 0), (0, 1), (10, 0), (10, 1), (0, 0)]  # step and layer of each record


def made_records() -> dict[str, torch.Tensor]:
    """Five records: the terms' gradients g (5, 3, 9) and what the store keeps of them."""
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(5, 3, 9, dtype=torch.float64, generator=generator)
    step, layer = torch.tensor(PLACES).T.contiguous()
    return {"g": g, "gram": g @ g.mT, "layer": layer, "step": step, "epoch": step // 5}


def given(records, *names) -> dict[str, torch.Tensor]:
    return {name: records[name] for name in (*names, "layer", "step", "epoch")}


def row(table, **where) -> pd.Series:
    keep = np.logical_and.reduce([table[name] == value for name, value in where.items()])
    assert keep.sum() == 1
    return table[keep].iloc[0]
