"""The mass curves are the table's, and the knee is where the gap to uniform is largest."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.teacher.mass_figure import (
    knee_by_temperature,
    mass_by_k,
    mass_number,
    mass_sentence,
)
from tests.analyzers.readback import legend_is_beside, lines, smallest_font


def table(classes: int = 10, powers=(3.0, 1.0)) -> pd.DataFrame:
    """Mass falling with rank as 1 / rank^power, one power a temperature."""
    frames = []
    for temperature, power in zip((1.0, 4.0), powers, strict=True):
        p = np.arange(1, classes + 1) ** -power
        mass = (p / p.sum()).cumsum()
        frames.append(
            pd.DataFrame(
                {
                    "temperature": temperature,
                    "k": np.arange(1, classes + 1),
                    "mean": mass,
                    "q25": mass * 0.9,
                    "q75": np.minimum(mass * 1.1, 1),
                }
            )
        )
    return pd.concat(frames, ignore_index=True).assign(non_finite=0)


def knee(rows: pd.DataFrame) -> int:
    """Number of ranks whose own mass is above 1 / c."""
    return int((np.diff(rows["mean"], prepend=0) > 1 / len(rows)).sum())


@pytest.mark.parametrize("classes", [10, 62, 1000])
def test_curves_bands_and_knees_are_the_tables(classes):
    frame = table(classes)
    ax = mass_by_k(frame)
    drawn = lines(ax)
    for (label, (x, y)), (_, rows) in zip(drawn.items(), frame.groupby("temperature"), strict=True):
        assert x == rows.k.tolist()
        assert y == pytest.approx(rows["mean"].tolist())
        assert label.endswith(f"k = {knee(rows)}")
    rings = [line for line in ax.lines if line.get_marker() == "o"]
    assert [ring.get_xdata()[0] for ring in rings] == list(knee_by_temperature(frame).values())
    assert ax.get_xticks()[-1] == classes
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_sentence_follows_the_table():
    assert "moves right with the temperature: k = 2 at T = 1, 3 at T = 4" in mass_sentence(table())
    assert mass_sentence(table(powers=(1.0, 3.0))).startswith("These data do not show")
    assert mass_sentence(table().query("temperature == 1")).endswith("k = 2 at T = 1.")
    assert mass_number(table()) == "T = 1: k = 2 holds 0.94; T = 4: k = 3 holds 0.63"
